"""The network that a file's weights belong to, built to their sizes: an architecture's, a preset, or timm's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from timm.models.resnet import ResNet
from torch import Tensor, nn

from germline.architectures import Spec
from germline.architectures.presets import MODELS
from germline.errors import GermlineError, SettingError, UnknownNameError
from germline.loading.build import build_timm_model
from germline.loading.infer import INFERRED, infer_spec
from germline.loading.request import ModelRequest
from germline.loading.tensor_names import rename_tensors
from germline.registry import ARCHITECTURES

# Names of a spec's fields among the arguments of timm's ViTs.
_TIMM_NAMES = {"width": "embed_dim", "heads": "num_heads", "image_size": "img_size", "classes": "num_classes"}
_STEM = ("stem_type", "stem_width")
_SMALL_SIDE = 32  # image size of a preset whose tensors do not show it

Built = tuple[Any, dict[str, Tensor], tuple[str, ...]]


def build_for_weights(request: ModelRequest, tensors: Mapping[str, Tensor], path: Path) -> Built:
    """Build the network that weights belong to.

    Args:
        request: Architecture, preset or name in timm, with fields that no shape shows.
        tensors: Tensors by the names that the file gives.
        path: File of the tensors, for messages.

    Returns:
        The network, the tensors under its names, and what was assumed or renamed.

    Raises:
        SettingError: Something that no shape shows is not given, or a field is wrong.
        ArtefactError: The tensors belong to another network.
        UnknownNameError: There is no such model.
    """
    name = request.name.removeprefix("timm:")
    is_timm = name != request.name
    if is_timm or (name not in ARCHITECTURES and name not in MODELS):
        return _build_timm(name, request, tensors, path)
    preset = {} if name in ARCHITECTURES else dict(MODELS[name].fields)
    architecture = name if name in ARCHITECTURES else MODELS[name].architecture
    if architecture not in INFERRED:
        return _build_preset(architecture, {**preset, **request.fields}, request, tensors, path)
    named = rename_tensors(tensors, path, request.entry)
    # A preset names a family for weights: its stem is the one that the weights have.
    given = {**{key: value for key, value in preset.items() if key not in _STEM}, **request.fields}
    spec, notes = infer_spec(architecture, named.tensors, given, path)
    return _build_spec(architecture, spec), dict(named.tensors), (*named.notes, *notes)


def _build_spec(architecture: str, spec: Spec) -> Any:
    model = ARCHITECTURES[architecture].build(spec)
    return model.eval()


def _build_preset(
    architecture: str, fields: dict[str, Any], request: ModelRequest, tensors: Mapping[str, Tensor], path: Path
) -> Built:
    """Build a network whose sizes are not read from tensors; only channels and classes are."""
    kind: type[Spec] = ARCHITECTURES[architecture].spec_type
    images = {"image_size": _SMALL_SIDE, "channels": 3, "classes": 1}
    try:
        spec = kind.model_validate({**images, **fields})
    except (ValidationError, TypeError) as error:
        raise SettingError(
            f"model '{request.name}'",
            f"{architecture}: {str(error).splitlines()[-1].strip() or 'its fields are wrong'}",
            "use a preset of `germline list models`, or give a model folder",
        ) from error
    first = next(iter(ARCHITECTURES[architecture].parts(spec).image_kernels))
    named = rename_tensors(tensors, path, request.entry, (first,))
    kernel = named.tensors.get(first)
    found = {"classes": _count_head(named.tensors), "channels": 3 if kernel is None else kernel.shape[1]}
    spec = kind.model_validate({**images, **found, **fields})
    return _build_spec(architecture, spec), dict(named.tensors), named.notes


def _count_head(tensors: Mapping[str, Tensor]) -> int:
    heads = [name for name in ("head.fc.weight", "head.weight", "fc.weight", "classifier.weight") if name in tensors]
    return tensors[heads[0]].shape[0] if heads else 0


def _build_timm(name: str, request: ModelRequest, tensors: Mapping[str, Tensor], path: Path) -> Built:
    """Build a model of timm with the channels, classes and image size of the weights."""
    arguments = {_TIMM_NAMES.get(key, key): value for key, value in request.fields.items()}
    model = _create(name, arguments)
    first = next(iter(model.state_dict()))
    config = getattr(model, "pretrained_cfg", None) or {}
    kernel_name, head = f"{_first_of(config.get('first_conv'))}.weight", f"{_first_of(config.get('classifier'))}.weight"
    named = rename_tensors(tensors, path, request.entry, (first, kernel_name))
    found, notes = dict(named.tensors), list(named.notes)
    own, changes = model.state_dict(), {}
    kernel, weight = found.get(kernel_name), found.get(head)
    if kernel is not None and kernel.ndim == 4 and kernel.shape[1] != own[kernel_name].shape[1]:
        changes["in_chans"] = kernel.shape[1]
    classes = int(model.num_classes) if weight is None and found.keys() >= own.keys() else _rows(weight)
    if classes != model.num_classes:
        changes["num_classes"] = classes
    if (side := _read_side(model, found)) is not None:
        changes["img_size"] = side
    if changes:
        model = _create(name, {**arguments, **changes})
    if isinstance(model, ResNet) and _has_small_stem(model, found):
        stem = found["conv1.weight"]
        convolution: Any = nn.Conv2d(stem.shape[1], stem.shape[0], 3, padding=1, bias=False)
        model.conv1, model.maxpool = convolution, nn.Identity()
        notes.append("assumed stem: 3 x 3 pixels with stride 1 and no pool")
    return model.eval(), found, tuple(notes)


def _create(name: str, arguments: dict[str, Any]) -> Any:
    try:
        return build_timm_model(name, **arguments)
    except UnknownNameError as error:
        known = f"{error.fix.rstrip('?.')}? Or {', '.join(ARCHITECTURES)}, or a preset of `germline list models`?"
        raise UnknownNameError(error.what, error.why, known) from error
    except GermlineError:
        raise
    except Exception as error:  # timm does not check its arguments
        text = f"{name},{','.join(f'{key}={value}' for key, value in arguments.items())}".rstrip(",")
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SettingError(
            f"model '{text}'", f"timm cannot build it: {reason}", "remove what timm does not know"
        ) from error


def _first_of(names: Any) -> str:
    """Return the first of the module names that timm gives as a text or a list."""
    return names if isinstance(names, str) else names[0] if names else ""


def _rows(weight: Tensor | None) -> int:
    return 0 if weight is None else weight.shape[0]


def _read_side(model: Any, tensors: Mapping[str, Tensor]) -> int | None:
    """Read the image size of a ViT's position table if it is not the model's own."""
    table, own = tensors.get("pos_embed"), getattr(model, "pos_embed", None)
    patches = getattr(model, "patch_embed", None)
    if table is None or own is None or patches is None or table.ndim != 3 or table.shape[1] == own.shape[1]:
        return None
    prefix = own.shape[1] - patches.num_patches
    side = round(max(table.shape[1] - prefix, 0) ** 0.5)
    return side * patches.patch_size[0] if side and side * side + prefix == table.shape[1] else None


def _has_small_stem(model: Any, tensors: Mapping[str, Tensor]) -> bool:
    stem = tensors.get("conv1.weight")
    return isinstance(model.conv1, nn.Conv2d) and stem is not None and stem.ndim == 4 and stem.shape[-1] == 3
