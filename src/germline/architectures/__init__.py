"""Architectures: how families of networks are put together.

The names below are imported when they are first used: presets and sizes do not need torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from germline.architectures.base import (
        Architecture,
        Parts,
        Spec,
        Target,
        TimmArguments,
        adapt_kernel,
        count_elements,
        read_width,
    )
    from germline.architectures.channel_groups import ChannelGroup, GroupMember, select_channels
    from germline.architectures.conv_base import ConvArchitecture, ConvUnit, StageUnits
    from germline.architectures.features import extract_features, extract_input
    from germline.architectures.meta_device import on_meta_device
    from germline.architectures.preprocess import Preprocess
    from germline.architectures.resnet import ResNetArchitecture, ResNetSpec
    from germline.architectures.resnet12 import ResNet12Architecture, ResNet12Spec
    from germline.architectures.size import Size
    from germline.architectures.staged import StagedSpec
    from germline.architectures.stitched_vit import StitchedSpec, StitchedVitArchitecture
    from germline.architectures.transformer import TransformerArchitecture
    from germline.architectures.transformer_spec import TransformerSpec
    from germline.architectures.vgg import VggArchitecture, VggSpec
    from germline.architectures.vit import VitArchitecture, VitSpec

    VIT: VitArchitecture
    VGG: VggArchitecture
    RESNET12: ResNet12Architecture
    RESNET: ResNetArchitecture
    STITCHED: StitchedVitArchitecture

_PLACES = {
    "base": (
        "Architecture",
        "Parts",
        "Spec",
        "Target",
        "TimmArguments",
        "adapt_kernel",
        "count_elements",
        "read_width",
    ),
    "channel_groups": (
        "ChannelGroup",
        "GroupMember",
        "select_channels",
    ),
    "conv_base": (
        "ConvArchitecture",
        "ConvUnit",
        "StageUnits",
    ),
    "features": ("extract_features", "extract_input"),
    "meta_device": ("on_meta_device",),
    "preprocess": ("Preprocess",),
    "resnet": (
        "ResNetArchitecture",
        "ResNetSpec",
    ),
    "resnet12": (
        "ResNet12Architecture",
        "ResNet12Spec",
    ),
    "size": ("Size",),
    "staged": ("StagedSpec",),
    "stitched_vit": (
        "StitchedSpec",
        "StitchedVitArchitecture",
    ),
    "transformer": ("TransformerArchitecture",),
    "transformer_spec": ("TransformerSpec",),
    "vgg": (
        "VggArchitecture",
        "VggSpec",
    ),
    "vit": (
        "VitArchitecture",
        "VitSpec",
    ),
}
_HOME = {name: module for module, names in _PLACES.items() for name in names}
# The one object of each architecture, by the name of its class.
_OBJECTS = {
    "VIT": "VitArchitecture",
    "VGG": "VggArchitecture",
    "RESNET12": "ResNet12Architecture",
    "RESNET": "ResNetArchitecture",
    "STITCHED": "StitchedVitArchitecture",
}

__all__ = [
    "RESNET",
    "RESNET12",
    "STITCHED",
    "VGG",
    "VIT",
    "Architecture",
    "ChannelGroup",
    "ConvArchitecture",
    "ConvUnit",
    "GroupMember",
    "Parts",
    "Preprocess",
    "ResNet12Architecture",
    "ResNet12Spec",
    "ResNetArchitecture",
    "ResNetSpec",
    "Size",
    "Spec",
    "StageUnits",
    "StagedSpec",
    "StitchedSpec",
    "StitchedVitArchitecture",
    "Target",
    "TimmArguments",
    "TransformerArchitecture",
    "TransformerSpec",
    "VggArchitecture",
    "VggSpec",
    "VitArchitecture",
    "VitSpec",
    "adapt_kernel",
    "count_elements",
    "extract_features",
    "extract_input",
    "on_meta_device",
    "read_width",
    "select_channels",
]


def __getattr__(name: str) -> Any:
    class_name = _OBJECTS.get(name, name)
    if class_name not in _HOME:
        raise AttributeError(f"module 'germline.architectures' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"germline.architectures.{_HOME[class_name]}"), class_name)
    globals()[name] = value() if name in _OBJECTS else value
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
