"""Our own networks as plain modules; `import germline.timm` registers them with timm.

It imports nothing else of germline, so that whoever loads a saved folder needs this package alone:

    import germline.timm, timm
    timm.create_model("local-dir:FOLDER", pretrained=True)
"""

from germline.timm.staged import VGG, Block, ResNet12, Staged, Unit, make_head
from germline.timm.stitched import StitchedBlock, StitchedViT

__all__ = ["VGG", "Block", "ResNet12", "Staged", "StitchedBlock", "StitchedViT", "Unit", "make_head"]
