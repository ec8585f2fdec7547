"""VGG and ResNet12: stages of convolutions, each ending in a pool."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, leaky_relu, relu
from torch.utils.checkpoint import checkpoint

SLOPE = 0.1  # slope of ResNet12's leaky ReLU below zero
VGG11_WIDTHS = ((64,), (128,), (256, 256), (512, 512), (512, 512))
RESNET12_WIDTHS = (64, 128, 256, 512)


class ConvNorm(nn.Module):
    """A convolution without bias and its BatchNorm, from maps [B, inputs, H, W] to [B, outputs, H, W]."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, slope: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.conv.weight, a=slope, mode="fan_out", nonlinearity="leaky_relu")

    def forward(self, maps: Tensor) -> Tensor:
        """Compute normalised maps, before any activation."""
        normed: Tensor = self.norm(self.conv(maps))
        return normed


class Unit(ConvNorm):
    """VGG's unit: convolution, BatchNorm, ReLU."""

    def forward(self, maps: Tensor) -> Tensor:
        """Compute maps of the same height and width, without values below zero."""
        return relu(super().forward(maps))


class Block(nn.Module):
    """ResNet12's block: three units and a shortcut, added before the last leaky ReLU.

    The shortcut is a 1x1 convolution with BatchNorm if `project` is set, and the input itself otherwise.
    """

    def __init__(self, inputs: int, outputs: int, *, project: bool) -> None:
        super().__init__()
        self.units = nn.ModuleList(ConvNorm(width, outputs, 3, SLOPE) for width in (inputs, outputs, outputs))
        self.shortcut = ConvNorm(inputs, outputs, 1, SLOPE) if project else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Compute maps [B, outputs, H, W] of the same height and width."""
        inner = maps
        for unit in self.units[:-1]:
            inner = leaky_relu(unit(inner), SLOPE)
        return leaky_relu(self.units[-1](inner) + self.shortcut(maps), SLOPE)


class Stage(nn.Module):
    """Blocks at one resolution, followed by a 2x2 max-pool.

    Attributes:
        grad_checkpointing: Whether activations inside blocks are computed again in the backward pass.
    """

    grad_checkpointing: bool = False

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.MaxPool2d(2)

    def forward(self, maps: Tensor) -> Tensor:
        """Compute maps of half the height and width, rounded down."""
        if self.grad_checkpointing and self.training:
            for block in self.blocks:
                maps = checkpoint(block, maps, use_reentrant=False)
        else:
            maps = self.blocks(maps)
        pooled: Tensor = self.pool(maps)
        return pooled


class DenseHead(nn.Module):
    """VGG's own classifier: flattened maps, hidden layers with ReLU and dropout, one linear layer.

    Maps of another size than the network was made for are first pooled to that size. Without classes there are no
    hidden layers either, and the maps are averaged.

    Attributes:
        hidden: Widths of the hidden layers.
        dense: Hidden layers; the first reads the maps [side, side] of all channels, one channel after another.
        fc: Last layer.
    """

    def __init__(self, features: int, side: int, hidden: Sequence[int], num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.hidden, self._features, self._side = tuple(hidden), features, side
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int, pool_type: str | None = None) -> None:
        """Replace the layers with fresh ones; 0 classes for none. The kind of pool is ignored."""
        sizes = (self._features * self._side**2, *self.hidden) if num_classes else ()
        self.dense = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.fc = nn.Linear(sizes[-1], num_classes) if num_classes else nn.Identity()

    def forward(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Compute logits [B, num_classes] of maps [B, features, h, w], or the input of the last layer."""
        hidden = adaptive_avg_pool2d(maps, self._side if self.dense else 1).flatten(1)
        for layer in self.dense:
            hidden = self.drop(relu(layer(hidden)))
        return hidden if pre_logits else self.fc(hidden)


def make_head(
    features: int,
    num_classes: int,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    hidden: Sequence[int] = (),
    side: int = 1,
) -> Any:
    """Make timm's pool and linear layer, or VGG's hidden layers on maps of `side` pixels; freshly initialised."""
    if hidden:
        return _initialise(DenseHead(features, side, hidden, num_classes, drop_rate))
    return _initialise(ClassifierHead(features, num_classes, pool_type=global_pool, drop_rate=drop_rate))


def _initialise(head: Any) -> Any:
    if isinstance(head.fc, nn.Linear):
        nn.init.normal_(head.fc.weight, std=0.01)
        nn.init.zeros_(head.fc.bias)
    return head


class Staged(nn.Module):
    """Base class of both networks: stages, a global average pool and one linear head, with timm's interface.

    Attributes:
        num_classes: Number of outputs of the head; 0 for none.
        num_features: Channels of the last stage.
        in_chans: Channels of the images.
        img_size: Height and width that the network was made for, in pixels; others work too.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        widths: Sequence[int],
        *,
        num_classes: int,
        in_chans: int,
        img_size: int | Sequence[int],
        global_pool: str,
        drop_rate: float,
        hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        self.img_size = img_size if isinstance(img_size, int) else img_size[0]
        self.num_features = widths[-1]
        self.head_hidden_size = hidden[-1] if hidden else widths[-1]
        self.stages = nn.Sequential(*stages)
        side = self.img_size >> len(stages)
        self.head = make_head(widths[-1], num_classes, global_pool, drop_rate, hidden, side)
        # The features of a stage are the maps before its pool.
        self.feature_info = [
            {"num_chs": width, "reduction": 2**index, "module": f"stages.{index}.blocks"}
            for index, width in enumerate(widths)
        ]

    def forward_features(self, images: Tensor) -> Tensor:
        """Compute maps [B, num_features, h, w] after the last pool."""
        maps: Tensor = self.stages(images)
        return maps

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Compute logits [B, num_classes], or the pooled features [B, num_features]."""
        outputs: Tensor = self.head(maps, pre_logits=pre_logits)
        return outputs

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, num_classes] of normalised images [B, C, H, W]."""
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """Return the linear layer of the head."""
        layer: nn.Module = self.head.fc
        return layer

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head with a fresh one; 0 classes for none."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        _initialise(self.head)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return timm's grouping of parameters by depth, for learning rates that decrease from layer to layer."""
        return {"stem": r"^$", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.blocks\.(\d+)"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations inside blocks again in the backward pass, or do not."""
        stages: list[Any] = list(self.stages)
        for stage in stages:
            stage.grad_checkpointing = enable

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Compute the features of the stages before their pools, for timm's feature interface.

        Args:
            x: Normalised images [B, C, H, W].
            indices: Indices of the wanted stages; a number means that many last stages, None all.
            norm: Ignored, since there is no norm.
            stop_early: Whether to stop after the last wanted stage.
            output_fmt: Format of the features, which can only be NCHW.
            intermediates_only: Whether to leave out the maps after the last pool.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt={output_fmt}: these networks give NCHW alone")
        wanted = resolve_indices(len(self.stages), indices)
        features = []
        stages: list[Any] = list(self.stages)
        for index, stage in enumerate(stages[: max(wanted) + 1] if stop_early else stages):
            x = stage.blocks(x)
            if index in wanted:
                features.append(x)
            x = stage.pool(x)
        return features if intermediates_only else (x, features)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last wanted one, and the head with them."""
        wanted = resolve_indices(len(self.stages), indices)
        if prune_head or max(wanted) < len(self.stages) - 1:
            self.reset_classifier(0, "")
        self.stages = self.stages[: max(wanted) + 1]
        return wanted


def resolve_indices(count: int, indices: int | Sequence[int] | None) -> list[int]:
    """Resolve timm's indices of stages.

    None means all stages, and a number that many last ones. Negative indices count from the end.
    """
    if indices is None or isinstance(indices, int):
        return list(range(count - (count if indices is None else indices), count))
    return [range(count)[index] for index in indices]


class VGG(Staged):
    """VGG with BatchNorm: stages of 3x3 convolutions, each stage followed by a pool, and one linear head.

    Source: Simonyan and Zisserman, arXiv 1409.1556. The head has one dense layer, as is usual for small images, unless
    `hidden` gives the widths of further layers before it.
    """

    def __init__(
        self,
        widths: Sequence[Sequence[int]] = VGG11_WIDTHS,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | Sequence[int] = 32,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        hidden: Sequence[int] = (),
    ) -> None:
        inputs, stages = in_chans, []
        for stage in widths:
            reads = (inputs, *stage[:-1])
            stages.append(Stage([Unit(*pair) for pair in zip(reads, stage, strict=True)]))
            inputs = stage[-1]
        super().__init__(
            stages,
            [stage[-1] for stage in widths],
            num_classes=num_classes,
            in_chans=in_chans,
            img_size=img_size,
            global_pool=global_pool,
            drop_rate=drop_rate,
            hidden=hidden,
        )


class ResNet12(Staged):
    """ResNet12: residual stages with three 3x3 convolutions per block, each ending in a pool, and one linear head.

    This is the backbone of few-shot learning, without DropBlock. The first block of a stage has a 1x1 shortcut. Further
    blocks do not change the width and add their input unchanged.
    """

    def __init__(
        self,
        depths: Sequence[int] = (1, 1, 1, 1),
        widths: Sequence[int] = RESNET12_WIDTHS,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | Sequence[int] = 32,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        stages = []
        for inputs, width, depth in zip((in_chans, *widths[:-1]), widths, depths, strict=True):
            more = [Block(width, width, project=False) for _ in range(depth - 1)]
            stages.append(Stage([Block(inputs, width, project=True), *more]))
        super().__init__(
            stages,
            widths,
            num_classes=num_classes,
            in_chans=in_chans,
            img_size=img_size,
            global_pool=global_pool,
            drop_rate=drop_rate,
        )


_IMAGE_CFG = {"input_size": (3, 32, 32), "num_classes": 10, "crop_pct": 1.0, "classifier": "head.fc"}
default_cfgs = generate_default_cfgs(
    {
        "germline_vgg": {**_IMAGE_CFG, "first_conv": "stages.0.blocks.0.conv"},
        "germline_resnet12": {
            **_IMAGE_CFG,
            "first_conv": ("stages.0.blocks.0.units.0.conv", "stages.0.blocks.0.shortcut.conv"),
        },
    }
)


def _create(kind: type[Staged], name: str, pretrained: bool, stages: int, **arguments: Any) -> Any:
    features = {"out_indices": tuple(range(stages)), "feature_cls": "getter"}
    return build_model_with_cfg(kind, name, pretrained, feature_cfg=features, **arguments)


def germline_vgg(pretrained: bool = False, **arguments: Any) -> Any:
    """Build a VGG through timm; arguments are those of `VGG`."""
    return _create(VGG, "germline_vgg", pretrained, len(arguments.get("widths", VGG11_WIDTHS)), **arguments)


def germline_resnet12(pretrained: bool = False, **arguments: Any) -> Any:
    """Build a ResNet12 through timm; arguments are those of `ResNet12`."""
    return _create(
        ResNet12, "germline_resnet12", pretrained, len(arguments.get("widths", RESNET12_WIDTHS)), **arguments
    )


register_model(germline_vgg)
register_model(germline_resnet12)
