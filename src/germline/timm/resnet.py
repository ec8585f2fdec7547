"""ResNets of basic blocks for small images: timm's ResNet with a stem that keeps the image size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn


def build_small_stem_resnet(stem_width: int = 64, in_chans: int = 3, **arguments: Any) -> ResNet:
    """Build timm's ResNet of basic blocks with one 3x3 convolution as its stem, and no pool behind it.

    This is the usual form for images of 32 pixels. He et al., arXiv 1512.03385, section 4.2, begin with such a stem.

    Args:
        stem_width: Channels of the stem, an even number.
        in_chans: Channels of the images.
        arguments: Further arguments of timm's ResNet.
    """
    # A deep stem is the one stem of timm whose number of channels can be chosen: it is twice its width.
    deep = {"stem_type": "deep", "stem_width": stem_width // 2}
    model = ResNet(BasicBlock, in_chans=in_chans, **{**arguments, **deep})
    model.conv1 = nn.Conv2d(in_chans, stem_width, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    stem, *stages = model.feature_info
    model.feature_info = [
        {**stem, "reduction": 1},
        *({**stage, "reduction": stage["reduction"] // 4} for stage in stages),
    ]
    return model


default_cfgs = generate_default_cfgs(
    {
        "germline_resnet": {
            "input_size": (3, 32, 32),
            "num_classes": 10,
            "crop_pct": 1.0,
            "first_conv": "conv1",
            "classifier": "fc",
        }
    }
)


def germline_resnet(pretrained: bool = False, layers: Sequence[int] = (2, 2, 2, 2), **arguments: Any) -> Any:
    """Build a ResNet for small images through timm; arguments are those of `build_small_stem_resnet`."""
    return build_model_with_cfg(build_small_stem_resnet, "germline_resnet", pretrained, layers=layers, **arguments)


register_model(germline_resnet)
