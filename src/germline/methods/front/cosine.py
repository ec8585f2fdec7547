"""The cosine transform of stacked tensors, its low frequencies, and the way back at another size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from germline.methods.front.roles import TensorRole
from germline.methods.slicing import choose_indices

ScaleRule = Literal["orthonormal", "public", "smooth", "matched"]
MissingRule = Literal["zero", "gaussian", "repeat"]

# Exponent of n/t by which a matrix is scaled along an axis that changes from n to t elements.
_EXPONENTS: Mapping[ScaleRule, float] = {"orthonormal": 0.0, "public": 0.5, "smooth": -0.5, "matched": -0.5}
# Vectors and tensors with one transformed end: values stay, and a sum over channels that are read stays.
_END_EXPONENTS = {"depth": -0.5, "written": -0.5, "read": 0.5}
_VARIANCE_FLOOR = 1e-5  # added to running variances by BatchNorm itself
PART_ELEMENTS = 2**23  # elements that are computed at a time, which bounds the memory in float64


def cosine_basis(size: int, count: int) -> Tensor:
    """Return the first `count` rows of the orthonormal DCT-II of `size` elements, float64 [count, size]."""
    frequency = torch.arange(count, dtype=torch.float64)[:, None]
    position = torch.arange(size, dtype=torch.float64) + 0.5
    basis = (frequency * position).mul_(math.pi / size).cos_().mul_(math.sqrt(2 / size))
    basis[:1] /= math.sqrt(2)
    return basis


def count_kept(size: int, keep: float) -> int:
    """Return the number of coefficients that are stored along an axis: keep x size, rounded, at least 1."""
    return max(1, int(keep * size + 0.5))


def coefficient_shape(role: TensorRole, keep: float) -> tuple[int, ...]:
    """Return the shape of the stored coefficients of a role."""
    return tuple(count_kept(axis.size, keep) if axis.is_transformed else axis.size for axis in role.axes)


def encode_role(role: TensorRole, tensors: Mapping[str, Tensor], keep: float) -> Tensor:
    """Return the low-frequency coefficients of the tensors of a role, float32; unchanged values if none is transformed.

    Args:
        role: Role of the tensors.
        tensors: The ancestor's tensors by full name.
        keep: Share of the coefficients along each transformed axis.
    """
    values = _stack(role, tensors)
    if not any(axis.is_transformed for axis in role.axes):
        return values.clone()
    values = values.double()
    if role.is_variance:
        values = torch.log(values + _VARIANCE_FLOOR)
    for dim, (axis, count) in enumerate(zip(role.axes, coefficient_shape(role, keep), strict=True)):
        if axis.is_transformed:
            values = _multiply(values, cosine_basis(axis.size, count), dim)
    return values.float().contiguous()


def measure_deviation(role: TensorRole, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the standard deviation of a role's tensors, one value for each element of fixed axes."""
    values = _stack(role, tensors).double()
    return values.std(_moving_dims(role), correction=0).float()


def decode_role(
    coefficients: Tensor,
    source: TensorRole,
    role: TensorRole,
    *,
    scale: ScaleRule,
    missing: MissingRule,
    deviation: Tensor | None,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the tensors of a descendant's role by full name.

    Args:
        coefficients: Stored coefficients of the ancestor's role.
        source: The ancestor's role.
        role: The descendant's role.
        scale: Rule by which matrices are scaled.
        missing: What replaces coefficients of matrices that are not stored.
        deviation: Standard deviation to restore; None restores none.
        generator: Source of Gaussian coefficients.
    """
    if not any(axis.is_transformed for axis in role.axes):
        return _take_tensors(coefficients, source, role)
    rule = missing if role.is_matrix else "zero"
    factors = _list_factors(source, role, scale)
    if rule == "zero" and deviation is None and role.axes[0].kind == "depth":
        return _decode_parts(coefficients, source, role, factors, generator)
    stored = _resize(coefficients.double(), role, rule, generator)
    values = _transform_back(stored, role, _list_bases(stored.shape, role, factors))
    if deviation is not None:
        values = _restore_deviation(values, role, deviation.double())
    return _take_tensors(values, source, role)


def _decode_parts(
    coefficients: Tensor, source: TensorRole, role: TensorRole, factors: Sequence[float], generator: torch.Generator
) -> dict[str, Tensor]:
    """Compute a stack in parts of a few blocks, and return its tensors by name."""
    # Memory that is kept is taken before memory that is freed again. Otherwise gaps stay between the kept tensors.
    tensors = [torch.empty(role.shape) for _ in role.names]
    stored = _resize(coefficients, role, "zero", generator)
    bases = _list_bases(stored.shape, role, factors)
    depth = bases.pop(0)
    step = max(1, PART_ELEMENTS // math.prod(role.shape))
    for start in range(0, len(tensors), step):
        end = start + step
        _write_part(tensors[start:end], _transform_depth(stored, depth[start:end]), source, role, bases)
    return dict(zip(role.names, tensors, strict=True))


def _transform_depth(stored: Tensor, basis: Tensor) -> Tensor:
    """Transform a stack back along depth, for the blocks of the basis; float64."""
    rows = stored.reshape(len(stored), -1)
    chunks = torch.split(rows, max(1, PART_ELEMENTS // len(stored)), dim=1)
    values = torch.empty(rows.shape[1], len(basis), dtype=torch.float64)
    for target, chunk in zip(torch.split(values, chunks[0].shape[1]), chunks, strict=True):
        target.copy_(chunk.double().T @ basis.T)
    return values.reshape(*stored.shape[1:], len(basis)).movedim(-1, 0)


def _write_part(
    tensors: Sequence[Tensor], values: Tensor, source: TensorRole, role: TensorRole, bases: Mapping[int, Tensor]
) -> None:
    """Compute some tensors of a stack from values that are transformed along depth."""
    values = _map_channels(_transform_back(values, role, bases), source, role)
    for tensor, part in zip(tensors, values.reshape(len(tensors), *role.shape), strict=True):
        tensor.copy_(part)


def _list_bases(counts: Sequence[int], role: TensorRole, factors: Sequence[float]) -> dict[int, Tensor]:
    """Return the scaled matrix from coefficients to values for each transformed axis, float64 [size, count]."""
    return {
        dim: cosine_basis(axis.size, count).mul_(factor).T
        for dim, (axis, count, factor) in enumerate(zip(role.axes, counts, factors, strict=True))
        if axis.is_transformed
    }


def _transform_back(values: Tensor, role: TensorRole, bases: Mapping[int, Tensor]) -> Tensor:
    """Transform coefficients back along the axes that have a basis."""
    for dim, basis in bases.items():
        values = _multiply(values, basis, dim)
    return (torch.exp(values) - _VARIANCE_FLOOR).clamp(min=0) if role.is_variance else values


def _map_channels(values: Tensor, source: TensorRole, role: TensorRole) -> Tensor:
    """Apply index maps to values of a stack."""
    for dim, (before, axis) in enumerate(zip(source.axes, role.axes, strict=True)):
        if axis.kind in ("taken", "divided"):
            indices = torch.tensor(choose_indices("even", before.size, axis.size))
            values = values.index_select(dim, indices)
            if axis.kind == "divided":
                copies = torch.bincount(indices, minlength=before.size)[indices]
                values = values / copies.view([-1 if other == dim else 1 for other in range(values.ndim)])
    return values


def _take_tensors(values: Tensor, source: TensorRole, role: TensorRole) -> dict[str, Tensor]:
    """Apply index maps to values of a stack, and return its tensors by name."""
    values = _map_channels(values, source, role)
    if values.is_floating_point():
        values = values.float()
    stack = values.reshape(len(role.names), *role.shape)
    # Kernels are chosen by layout, and a reloaded network has plain layouts.
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in zip(role.names, stack, strict=True)
    }


def _list_factors(source: TensorRole, role: TensorRole, scale: ScaleRule) -> list[float]:
    """Return the factor of the values along each axis; 1 along axes that are not transformed."""
    exponents = _list_exponents(role, scale)
    return [
        (before.size / axis.size) ** exponents[axis.kind] if axis.is_transformed else 1.0
        for before, axis in zip(source.axes, role.axes, strict=True)
    ]


def _list_exponents(role: TensorRole, scale: ScaleRule) -> Mapping[str, float]:
    """Return the exponent of n/t for each kind of transformed axis."""
    if role.is_matrix:
        return dict.fromkeys(_END_EXPONENTS, _EXPONENTS[scale])
    return {**_END_EXPONENTS, "depth": _EXPONENTS[scale]} if role.is_weight else _END_EXPONENTS


def _stack(role: TensorRole, tensors: Mapping[str, Tensor]) -> Tensor:
    stack = torch.stack([tensors[name].detach().cpu() for name in role.names])
    return stack.reshape([axis.size for axis in role.axes])


def _multiply(values: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """Apply a matrix along one dimension."""
    return (values.movedim(dim, -1) @ matrix.T).movedim(-1, dim)


def _moving_dims(role: TensorRole) -> list[int]:
    return [dim for dim, axis in enumerate(role.axes) if axis.kind != "fixed"]


def _resize(coefficients: Tensor, role: TensorRole, missing: MissingRule, generator: torch.Generator) -> Tensor:
    """Truncate coefficients to a role's sizes, and fill in missing ones; zeros need not be written."""
    sizes = [
        axis.size if axis.is_transformed else stored for axis, stored in zip(role.axes, coefficients.shape, strict=True)
    ]
    stored = coefficients[_corner(coefficients.shape, sizes)]
    if missing == "zero" or list(stored.shape) == sizes:
        return stored
    if missing == "gaussian":
        spread = coefficients.square().mean().sqrt()
        filled = torch.randn(sizes, generator=generator, dtype=torch.float64) * spread
        filled[_corner(stored.shape, sizes)] = stored
        return filled
    for dim, size in enumerate(sizes):
        stored = stored.index_select(dim, torch.arange(size) % stored.shape[dim])
    return stored


def _corner(shape: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(min(have, want)) for have, want in zip(shape, sizes, strict=True))


def _restore_deviation(values: Tensor, role: TensorRole, deviation: Tensor) -> Tensor:
    dims = _moving_dims(role)
    mean, spread = values.mean(dims, keepdim=True), values.std(dims, correction=0, keepdim=True)
    # A constant tensor has no deviation that could be scaled.
    factor = torch.where(spread > 0, deviation.reshape(spread.shape) / spread.clamp(min=1e-300), 1.0)
    return mean + (values - mean) * factor
