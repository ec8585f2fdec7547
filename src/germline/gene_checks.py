"""Checks of a gene that was read: its settings, its tensors, and whether its parts fit together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germline.architectures import Preprocess, Spec, on_meta_device
from germline.errors import ArtefactError
from germline.registry import architecture_of
from germline.seals import tensor_facts

# Errors of Python, torch and germline's own assertions at content of a wrong kind.
WRONG_CONTENT = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
)
_HEADS = {"head", "fc"}  # names of classifiers, which a gene without class names may lack
_RESTORE = "run germline condense again, or restore a copy"


def check_method_settings(method: Any, settings: Any) -> None:
    """Refuse a method that reads a gene from another folder, which could be the gene's own.

    Raises:
        ValueError: The method, or a method in its settings, is `stored`.
    """
    if method == "stored":
        raise ValueError("a saved gene holds its tensors, and 'stored' only names another folder")
    if isinstance(settings, Mapping) and "settings" in settings:
        check_method_settings(settings.get("method"), settings["settings"])


def verify_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], path: Path, manifest: str) -> None:
    """Compare tensors with the hashes, shapes and types in the manifest.

    Args:
        tensors: Tensors that were read.
        facts: Facts about them in the manifest.
        path: File of the tensors, for messages.
        manifest: Name of the manifest, for messages.

    Raises:
        ArtefactError: A tensor differs, or holds numbers that are not finite.
    """
    odd = sorted(tensors.keys() ^ facts.keys()) or [
        name for name, tensor in tensors.items() if tensor_facts(tensor) != facts[name]
    ]
    if odd:
        raise ArtefactError(
            f"'{path}' is damaged",
            f"hash, shape or type of tensor '{odd[0]}' differ from those in {manifest}",
            _RESTORE,
        )
    wild = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if wild:
        raise ArtefactError(
            f"'{path}' holds numbers that are not finite", f"the first such tensor is '{wild[0]}'", _RESTORE
        )


def check_parts(
    spec: Spec,
    images: Preprocess,
    classes: tuple[str, ...] | None,
    tensors: Mapping[str, Tensor],
    stored: Mapping[str, int] | None,
) -> None:
    """Refuse parts of a gene that contradict each other.

    Args:
        spec: Spec of the gene.
        images: Preprocessing of the gene.
        classes: Class names of its head; None if it has no head.
        tensors: Tensors of the gene.
        stored: Elements of each tensor of a gene of that spec; None if its method does not know them.

    Raises:
        ValueError: The spec does not fit the tensors, the images or the class names.
    """
    if (images.channels, images.image_size) != (spec.channels, spec.image_size):
        raise ValueError("`preprocess` and `spec` are for images of different sizes or channels")
    if stored is None:
        _check_shapes(spec, tensors)
    expected = stored or {}
    for name in [] if stored is None else sorted(expected.keys() | tensors.keys()):
        if classes is None and name not in tensors and _HEADS & set(name.split(".")):
            continue
        count = tensors[name].numel() if name in tensors else 0
        if expected.get(name, 0) != count:
            raise ValueError(f"tensor '{name}' has {count} elements, and the spec has {expected.get(name, 0)}")
    if classes is None:
        return
    if len(classes) != spec.classes or len(set(classes)) != spec.classes:
        raise ValueError(f"`classes` are not {spec.classes} different names, one per output")
    if not all(isinstance(name, str) for name in classes):
        raise ValueError("`classes` are not texts")


def _check_shapes(spec: Spec, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors of another shape than those of the spec's network that have the same names."""
    with on_meta_device():
        state = architecture_of(spec).build(spec).state_dict()
    for name in sorted(state.keys() & tensors.keys()):
        if state[name].shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, and the spec has {tuple(state[name].shape)}"
            raise ValueError(f"tensor '{name}' has the shape {shapes}")
