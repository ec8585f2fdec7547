"""Weights that nothing can be learned from are refused, and so are those of another network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from germline.errors import ArtefactError
from germline.network import load_strict

_SHOWN = 2  # names per kind of mismatch


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load weights whose names and shapes must be exactly the network's.

    Counters of BatchNorm may be missing, as in old checkpoints.

    Raises:
        ArtefactError: Names what is missing, unknown or of another shape, with both shapes.
    """
    state = model.state_dict()
    counters = {name: state[name] for name in state.keys() - tensors.keys() if name.endswith("num_batches_tracked")}
    given = {**counters, **tensors}
    missing = [f"{name} {list(state[name].shape)}" for name in state if name not in given]
    unknown = [f"{name} {list(given[name].shape)}" for name in given if name not in state]
    shapes = [
        f"{name} {list(given[name].shape)} where {list(state[name].shape)} is expected"
        for name in state
        if name in given and state[name].shape != given[name].shape
    ]
    kinds = (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
    texts = [f"{len(names)} tensors are {kind}, {', '.join(names[:_SHOWN])}" for kind, names in kinds if names]
    if texts:
        raise mismatch_error(path, "; ".join(texts))
    load_strict(model, given, path)


def mismatch_error(path: Path, reason: str, hint: str = "") -> ArtefactError:
    """Return the error for weights that do not belong to the named network."""
    fix = "choose the network that the weights belong to with --model"
    return ArtefactError(f"'{path}' does not fit the network", reason, f"{fix}; {hint}" if hint else fix)


def check_weights(model: nn.Module) -> None:
    """Refuse weights without values, and weights that are not finite.

    Raises:
        ArtefactError: Names the first such tensor.
    """
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            continue
        if tensor.is_meta:
            raise ArtefactError(
                f"the ancestor's '{name}' has no values", "it is on the meta device", "load its weights first"
            )
        if tensor.is_complex() or tensor.is_quantized:
            raise ArtefactError(
                f"the ancestor's '{name}' has the type {tensor.dtype}",
                "weights are real floating-point numbers",
                "pass the network before it was quantised",
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.detach()).all()):
            raise ArtefactError(
                f"the ancestor's '{name}' holds values that are not finite",
                "nothing can be learned from them",
                "use a checkpoint from before its training failed",
            )
