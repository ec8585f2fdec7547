"""Named specs of the architectures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Preset(NamedTuple):
    """Spec that has a name.

    Attributes:
        architecture: Name of the architecture.
        fields: Fields of the spec besides those of images and classes.
    """

    architecture: str
    fields: Mapping[str, Any]


def _vgg(*depths: int, width: int = 64) -> Preset:
    stages = zip(depths, (1, 2, 4, 8, 8), strict=True)
    return Preset("vgg", {"widths": tuple((width * factor,) * depth for depth, factor in stages)})


def _resnet12(*widths: int) -> Preset:
    return Preset("resnet12", {"depths": (1, 1, 1, 1), "widths": widths})


def _resnet(*depths: int, width: int = 64, **stem: Any) -> Preset:
    widths = tuple(width * factor for factor in (1, 2, 4, 8))
    return Preset("resnet", {"depths": depths, "widths": widths, **stem})


def _open_world(width: int, *stages: tuple[int, ...]) -> Preset:
    """Return a VGG with the two hidden layers of Open-World Learngene; widths are in multiples of the first width."""
    widths = tuple(tuple(width * factor for factor in stage) for stage in stages)
    return Preset("vgg", {"widths": widths, "hidden": (16 * width, 16 * width)})


def _collective(width: int = 64, *, grown: bool = False) -> Preset:
    """Return the network at the start of a stream of tasks, or the VGG16 into which the published widening turns it."""
    if grown:
        return _open_world(width, (1, 1), (2, 2), (4,) * 3, (8,) * 3, (8,) * 3)
    return _open_world(width, (1, 1), (1, 1), (2,) * 3, (4,) * 3, (4,) * 3)


def _individual(width: int = 64, *, large: bool = False) -> Preset:
    """Return four fresh units and the collective's last three; images of 84 pixels need one more pool."""
    last = ((8,), (8,) * 3) if large else ((8,) * 4,)
    return _open_world(width, (1,), (2,), (4,), *last)


# Small networks for images of 28 to 84 pixels. The ViTs have 16 or more tokens at 32 pixels; x025 means a quarter of
# the width. The ViTs with patches of 16 pixels are TLEG's for 224 pixels: mean of the tokens, no class token.
# These names have priority over timm's: vgg11 is ours, timm:vgg11 is timm's; resnet18 and resnet34 equal timm's.
MODELS: dict[str, Preset] = {
    "vit_pico": Preset("vit", {"depth": 6, "width": 64, "heads": 2, "patch_size": 8}),
    "vit_mini": Preset("vit", {"depth": 12, "width": 96, "heads": 4, "patch_size": 8}),
    "vit_nano": Preset("vit", {"depth": 8, "width": 96, "heads": 3, "patch_size": 8}),
    "vit_micro": Preset("vit", {"depth": 12, "width": 192, "heads": 3, "patch_size": 4}),
    "vit_short4": Preset("vit", {"depth": 8, "width": 384, "heads": 6, "patch_size": 4}),
    "vit_small4": Preset("vit", {"depth": 12, "width": 384, "heads": 6, "patch_size": 4}),
    "vit_tiny16": Preset("vit", {"depth": 12, "width": 192, "heads": 3, "patch_size": 16}),
    "vit_small16": Preset("vit", {"depth": 12, "width": 384, "heads": 6, "patch_size": 16}),
    # DINOv2's ViT: LayerScale on the output of every layer.
    "vit_small14": Preset("vit", {"depth": 12, "width": 384, "heads": 6, "patch_size": 14, "init_values": 1e-5}),
    "vit_base16": Preset("vit", {"depth": 12, "width": 768, "heads": 12, "patch_size": 16}),
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "vgg11_x025": _vgg(1, 1, 2, 2, 2, width=16),
    "vgg16_x025": _vgg(2, 2, 3, 3, 3, width=16),
    "collective": _collective(),
    "collective_x025": _collective(16),
    "collective_x0125": _collective(8),
    "collective_grown": _collective(grown=True),
    "collective_grown_x025": _collective(16, grown=True),
    "collective_grown_x0125": _collective(8, grown=True),
    "individual": _individual(),
    "individual_x025": _individual(16),
    "individual_x0125": _individual(8),
    "individual84": _individual(large=True),
    "resnet12": _resnet12(64, 128, 256, 512),
    "resnet12_wide": _resnet12(64, 160, 320, 640),
    "resnet12_x025": _resnet12(16, 32, 64, 128),
    "resnet18": _resnet(2, 2, 2, 2),
    "resnet34": _resnet(3, 4, 6, 3),
    "resnet18_x025": _resnet(2, 2, 2, 2, width=16, stem_type="deep", stem_width=8),
    # For small images: a 3x3 stem that keeps the image size, as most code for CIFAR has it.
    "resnet18_small": _resnet(2, 2, 2, 2, stem_type="small"),
    "resnet34_small": _resnet(3, 4, 6, 3, stem_type="small"),
    "resnet18_small_x025": _resnet(2, 2, 2, 2, width=16, stem_type="small", stem_width=16),
}
