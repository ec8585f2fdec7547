"""A ViT of several widths: segments of blocks, and a linear layer from each segment to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import Block, VisionTransformer, checkpoint_filter_fn, init_weights_vit_timm
from torch import Tensor, nn

from germline.timm.staged import resolve_indices

_DEPTHS, _WIDTHS, _HEADS = (3, 3), (192, 768), (3, 12)


class StitchedBlock(Block):  # type: ignore[misc]
    """timm's block behind a linear layer, the stitch, which maps tokens of another width to the block's width.

    Attributes:
        stitch: Linear layer with bias.
    """

    def __init__(self, inputs: int, dim: int, *arguments: Any, **settings: Any) -> None:
        super().__init__(dim, *arguments, **settings)
        self.stitch = nn.Linear(inputs, dim, device=settings.get("device"), dtype=settings.get("dtype"))

    def forward(self, tokens: Tensor, **arguments: Any) -> Tensor:
        """Compute tokens [B, tokens, dim] of tokens [B, tokens, inputs]."""
        outputs: Tensor = super().forward(self.stitch(tokens), **arguments)
        return outputs


class StitchedViT(VisionTransformer):  # type: ignore[misc]
    """timm's VisionTransformer in segments, each with its own depth, width and heads.

    The stem has the first segment's width, norm and head have the last one's. `blocks` is one sequence, and the first
    block of every later segment is a `StitchedBlock`. All weights are initialised as in timm, stitches as its other
    linear layers.

    Source: Pan, Cai and Zhuang, "Stitchable Neural Networks", CVPR 2023, arXiv 2302.06586.

    Args:
        depths: Number of blocks of each segment.
        widths: Length of a token in each segment.
        heads: Number of attention heads in each segment.
        num_classes: Number of outputs of the head; 0 for none.
        mlp_ratio: Hidden channels of an MLP divided by the width.
        arguments: Further arguments of timm's class; `embed_dim`, `depth`, `num_heads` and `block_fn` follow from the
            segments.

    Attributes:
        embed_dim: Width of the last segment, which norm and head read; also `num_features`.
        mlp_ratio: Hidden channels of an MLP divided by the width, before rounding down.
    """

    def __init__(
        self,
        depths: Sequence[int] = _DEPTHS,
        widths: Sequence[int] = _WIDTHS,
        heads: Sequence[int] = _HEADS,
        num_classes: int = 1000,
        mlp_ratio: float = 4.0,
        **arguments: Any,
    ) -> None:
        sizes = iter(_list_block_sizes(depths, widths, heads))

        def build_block(**given: Any) -> Block:
            inputs, size = next(sizes)
            given.update(size)
            return Block(**given) if inputs is None else StitchedBlock(inputs, **given)

        # timm builds one block after another and passes each one's settings, such as its rate of dropped paths.
        super().__init__(
            embed_dim=widths[0],
            depth=sum(depths),
            num_heads=heads[0],
            num_classes=0,
            mlp_ratio=mlp_ratio,
            block_fn=build_block,
            **arguments,
        )
        if self.attn_pool is not None:
            raise ValueError(f"global_pool={self.global_pool}: a stitched ViT pools by mean, maximum or class token")
        self.mlp_ratio = mlp_ratio
        self._build_end(widths[-1], num_classes)
        for info, module in zip(self.feature_info, self.blocks, strict=True):
            info["num_chs"] = module.mlp.fc2.out_features

    def _build_end(self, width: int, num_classes: int) -> None:
        """Replace norm and head with those of the last segment's width."""
        self.embed_dim = self.num_features = self.head_hidden_size = width
        for name in ("norm", "fc_norm"):
            norm: Any = getattr(self, name)
            if not isinstance(norm, nn.Identity):
                setattr(self, name, type(norm)(width, eps=norm.eps).to(norm.weight))
        self.reset_classifier(num_classes)
        init_weights_vit_timm(self.head)

    def forward_intermediates(self, x: Tensor, indices: Any = None, *, norm: bool = False, **arguments: Any) -> Any:
        """Compute the outputs of blocks as timm does; the final norm needs blocks of its own width.

        Args:
            x: Normalised images [B, C, H, W].
            indices: Indices of the wanted blocks; a number means that many last blocks, None all.
            norm: Whether to apply the final norm to the outputs.
            arguments: Further arguments of timm's method.

        Raises:
            ValueError: The norm is to be applied to blocks of another width.
        """
        widths = [self.feature_info[index]["num_chs"] for index in resolve_indices(len(self.blocks), indices)]
        if norm and set(widths) != {self.embed_dim}:
            raise ValueError(f"norm=True: the final norm has width {self.embed_dim}, the blocks wanted have {widths}")
        return super().forward_intermediates(x, indices, norm=norm, **arguments)


def _list_block_sizes(
    depths: Sequence[int], widths: Sequence[int], heads: Sequence[int]
) -> list[tuple[int | None, Any]]:
    """List, for each block, the width that its stitch reads (None without a stitch), and its own width and heads."""
    if len(depths) < 2:
        raise ValueError(f"depths={depths}: a stitched ViT has two segments or more")
    sizes: list[tuple[int | None, Any]] = []
    before = None
    for depth, width, count in zip(depths, widths, heads, strict=True):
        sizes += [(None if index else before, {"dim": width, "num_heads": count}) for index in range(depth)]
        before = width
    return sizes


default_cfgs = generate_default_cfgs(
    {
        "germline_stitched_vit": {
            "input_size": (3, 224, 224),
            "num_classes": 1000,
            "crop_pct": 1.0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "fixed_input_size": True,
        }
    }
)


def germline_stitched_vit(pretrained: bool = False, **arguments: Any) -> Any:
    """Build a stitched ViT through timm; arguments are those of `StitchedViT`."""
    features = {"out_indices": min(3, sum(arguments.get("depths", _DEPTHS))), "feature_cls": "getter"}
    return build_model_with_cfg(
        StitchedViT,
        "germline_stitched_vit",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=features,
        **arguments,
    )


register_model(germline_stitched_vit)
