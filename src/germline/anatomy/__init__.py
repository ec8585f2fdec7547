"""How families of architectures are put together."""

from germline.anatomy.base import Anatomy, Parts, Spec, Target, count_parameters, tensor_sizes
from germline.anatomy.preprocess import Preprocess
from germline.anatomy.size import Size
from germline.anatomy.vit import Vit, VitSpec

VIT = Vit()

__all__ = [
    "VIT",
    "Anatomy",
    "Parts",
    "Preprocess",
    "Size",
    "Spec",
    "Target",
    "Vit",
    "VitSpec",
    "count_parameters",
    "tensor_sizes",
]
