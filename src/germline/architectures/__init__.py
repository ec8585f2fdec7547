"""How families of architectures are put together."""

from germline.architectures.base import (
    Anatomy,
    Parts,
    Spec,
    Target,
    TimmForm,
    count_parameters,
    tensor_sizes,
    to_channels,
)
from germline.architectures.channel_groups import Group, Member, select
from germline.architectures.conv_base import Convolutional, ConvUnit, StageUnits
from germline.architectures.features import tapped
from germline.architectures.meta_device import hollow
from germline.architectures.preprocess import Preprocess
from germline.architectures.resnet import ResNetAnatomy, ResNetSpec
from germline.architectures.resnet12 import ResNet12Anatomy, ResNet12Spec
from germline.architectures.size import Size
from germline.architectures.staged import StagedSpec
from germline.architectures.stitched_vit import Stitched, StitchedSpec
from germline.architectures.transformer import Transformer, TransformerSpec
from germline.architectures.vgg import Vgg, VggSpec
from germline.architectures.vit import Vit, VitSpec

VIT = Vit()
VGG = Vgg()
RESNET12 = ResNet12Anatomy()
RESNET = ResNetAnatomy()
STITCHED = Stitched()

__all__ = [
    "RESNET",
    "RESNET12",
    "STITCHED",
    "VGG",
    "VIT",
    "Anatomy",
    "ConvUnit",
    "Convolutional",
    "Group",
    "Member",
    "Parts",
    "Preprocess",
    "ResNet12Anatomy",
    "ResNet12Spec",
    "ResNetAnatomy",
    "ResNetSpec",
    "Size",
    "Spec",
    "StageUnits",
    "StagedSpec",
    "Stitched",
    "StitchedSpec",
    "Target",
    "TimmForm",
    "Transformer",
    "TransformerSpec",
    "Vgg",
    "VggSpec",
    "Vit",
    "VitSpec",
    "count_parameters",
    "hollow",
    "select",
    "tapped",
    "tensor_sizes",
    "to_channels",
]
