"""The cosine transform of stacked tensors, its low frequencies, and the way back at another size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    basis = torch.cos(frequency * position * (math.pi / size)) * math.sqrt(2 / size)
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
        return _take_tensors(coefficients, source, role, role.names)
    rule = missing if role.is_matrix else "zero"
    factors = _list_factors(source, role, scale)
    if rule == "zero" and deviation is None and role.axes[0].kind == "depth":
        tensors: dict[str, Tensor] = {}
        for names, part in _cut_depth(coefficients, role, factors[0], generator):
            tensors |= _take_tensors(_transform_back(part, role, factors, first=1), source, role, names)
        return tensors
    values = _transform_back(_resize(coefficients.double(), role, rule, generator), role, factors)
    if deviation is not None:
        values = _restore_deviation(values, role, deviation.double())
    return _take_tensors(values, source, role, role.names)


def _cut_depth(
    coefficients: Tensor, role: TensorRole, factor: float, generator: torch.Generator
) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Transform a stack back along depth, in parts of a few blocks, and yield the names of each with its values."""
    stored = _resize(coefficients, role, "zero", generator)
    basis = factor * cosine_basis(role.axes[0].size, len(stored)).T
    sizes, rows = stored.shape[1:], stored.reshape(len(stored), -1)
    step = max(1, PART_ELEMENTS // math.prod(role.shape))
    for start in range(0, len(role.names), step):
        part = basis[start : start + step]
        chunks = torch.split(rows, max(1, PART_ELEMENTS // len(stored)), dim=1)
        values = torch.empty(rows.shape[1], len(part), dtype=torch.float64)
        for target, chunk in zip(torch.split(values, chunks[0].shape[1]), chunks, strict=True):
            target.copy_(chunk.double().T @ part.T)
        yield role.names[start : start + step], values.reshape(*sizes, len(part)).movedim(-1, 0)


def _transform_back(values: Tensor, role: TensorRole, factors: Sequence[float], first: int = 0) -> Tensor:
    """Transform coefficients back along the axes from `first` on."""
    for dim, (axis, factor) in enumerate(zip(role.axes, factors, strict=True)):
        if axis.is_transformed and dim >= first:
            values = _multiply(values, factor * cosine_basis(axis.size, values.shape[dim]).T, dim)
    return (torch.exp(values) - _VARIANCE_FLOOR).clamp(min=0) if role.is_variance else values


def _take_tensors(values: Tensor, source: TensorRole, role: TensorRole, names: Sequence[str]) -> dict[str, Tensor]:
    """Apply index maps to values of a stack, and return its tensors by name."""
    for dim, (before, axis) in enumerate(zip(source.axes, role.axes, strict=True)):
        if axis.kind in ("taken", "divided"):
            indices = torch.tensor(choose_indices("even", before.size, axis.size))
            values = values.index_select(dim, indices)
            if axis.kind == "divided":
                copies = torch.bincount(indices, minlength=before.size)[indices]
                values = values / copies.view([-1 if other == dim else 1 for other in range(values.ndim)])
    if values.is_floating_point():
        values = values.float()
    stack = values.reshape(len(names), *role.shape)
    # Kernels are chosen by layout, and a reloaded network has plain layouts.
    return {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in zip(names, stack, strict=True)
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
