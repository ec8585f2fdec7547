"""Germline's own networks as plain modules; `import germline.timm` registers them with timm.

This package imports nothing else of germline, so a saved folder needs only these two lines:

    import germline.timm, timm
    timm.create_model("local-dir:FOLDER", pretrained=True)
"""

from germline.timm.resnet import build_small_stem_resnet
from germline.timm.staged import VGG, Block, ResNet12, Staged, Unit, make_head
from germline.timm.stitched import StitchedBlock, StitchedViT

__all__ = [
    "VGG",
    "Block",
    "ResNet12",
    "Staged",
    "StitchedBlock",
    "StitchedViT",
    "Unit",
    "build_small_stem_resnet",
    "make_head",
]
