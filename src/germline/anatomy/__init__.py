"""How families of architectures are put together."""

from germline.anatomy.base import (
    Anatomy,
    Parts,
    Spec,
    Target,
    TimmForm,
    count_parameters,
    tensor_sizes,
    to_channels,
)
from germline.anatomy.channels import Group, Member, select
from germline.anatomy.convolutional import Convolutional, ConvUnit, StageUnits
from germline.anatomy.hollow import hollow
from germline.anatomy.preprocess import Preprocess
from germline.anatomy.resnet import ResNetAnatomy
from germline.anatomy.resnet12 import ResNet12Anatomy, ResNet12Spec
from germline.anatomy.resnet_spec import ResNetSpec
from germline.anatomy.size import Size
from germline.anatomy.stages import StagedSpec
from germline.anatomy.stitched import Stitched, StitchedSpec
from germline.anatomy.taps import tapped
from germline.anatomy.transformer import Transformer
from germline.anatomy.transformer_spec import TransformerSpec
from germline.anatomy.vgg import Vgg, VggSpec
from germline.anatomy.vit import Vit, VitSpec
from germline.anatomy.widening import Widening, deepen, draw_widening, group_of, shaken, widen, wider_spec

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
    "Widening",
    "count_parameters",
    "deepen",
    "draw_widening",
    "group_of",
    "hollow",
    "select",
    "shaken",
    "tapped",
    "tensor_sizes",
    "to_channels",
    "widen",
    "wider_spec",
]
