"""Architectures: how families of networks are put together."""

from germline.architectures.base import (
    Architecture,
    Parts,
    Spec,
    Target,
    TimmArguments,
    adapt_kernel,
    count_elements,
)
from germline.architectures.channel_groups import ChannelGroup, GroupMember, select_channels
from germline.architectures.conv_base import ConvArchitecture, ConvUnit, StageUnits
from germline.architectures.features import extract_features
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

VIT = VitArchitecture()
VGG = VggArchitecture()
RESNET12 = ResNet12Architecture()
RESNET = ResNetArchitecture()
STITCHED = StitchedVitArchitecture()

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
    "on_meta_device",
    "select_channels",
]
