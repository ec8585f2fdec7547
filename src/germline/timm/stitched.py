"""A ViT that changes its width on the way: segments of blocks, and a linear layer from each to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import Block, VisionTransformer, checkpoint_filter_fn, init_weights_vit_timm
from torch import Tensor, nn

from germline.timm.staged import resolve_indices

_DEPTHS, _WIDTHS, _HEADS = (3, 3), (192, 768), (3, 12)


class StitchedBlock(Block):  # type: ignore[misc]
    """timm's block behind a linear layer, the stitch, that brings tokens of another width to its own.

    Attributes:
        stitch: The linear layer, with bias.
    """

    def __init__(self, inputs: int, dim: int, *arguments: Any, **settings: Any) -> None:
        super().__init__(dim, *arguments, **settings)
        self.stitch = nn.Linear(inputs, dim, device=settings.get("device"), dtype=settings.get("dtype"))

    def forward(self, tokens: Tensor, **arguments: Any) -> Tensor:
        """Tokens [B, tokens, dim] of tokens [B, tokens, inputs]."""
        found: Tensor = super().forward(self.stitch(tokens), **arguments)
        return found


class StitchedViT(VisionTransformer):  # type: ignore[misc]
    """timm's VisionTransformer in segments, each of its own depth, width and heads.

    The stem has the first segment's width, norm and head the last one's. `blocks` is one sequence; the first block of
    every later segment is a `StitchedBlock`. All weights begin as timm's do, stitches as its other linear layers.

    Source: Pan, Cai and Zhuang, "Stitchable Neural Networks", CVPR 2023, arXiv 2302.06586.

    Args:
        depths: Blocks of each segment.
        widths: Length of a token in each.
        heads: Attention heads of each.
        num_classes: Outputs of the head; 0 for none.
        mlp_ratio: Hidden channels of an MLP over the width.
        arguments: timm's own; `embed_dim`, `depth`, `num_heads` and `block_fn` follow from the segments.

    Attributes:
        embed_dim: Width of the last segment, which norm and head read; also `num_features`.
        mlp_ratio: As given; a width times it, rounded down, is an MLP's hidden channels.
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
        forms = iter(_blocks(depths, widths, heads))

        def block(**given: Any) -> Block:
            inputs, own = next(forms)
            given.update(own)
            return Block(**given) if inputs is None else StitchedBlock(inputs, **given)

        # timm asks for one block after another, and says what it would give each: above all its rate of dropped paths.
        super().__init__(
            embed_dim=widths[0],
            depth=sum(depths),
            num_heads=heads[0],
            num_classes=0,
            mlp_ratio=mlp_ratio,
            block_fn=block,
            **arguments,
        )
        if self.attn_pool is not None:
            raise ValueError(f"global_pool={self.global_pool}: a stitched ViT pools by mean, maximum or class token")
        self.mlp_ratio = mlp_ratio
        self._end(widths[-1], num_classes)
        for info, module in zip(self.feature_info, self.blocks, strict=True):
            info["num_chs"] = module.mlp.fc2.out_features

    def _end(self, width: int, num_classes: int) -> None:
        """Norm and head at the last segment's width."""
        self.embed_dim = self.num_features = self.head_hidden_size = width
        for name in ("norm", "fc_norm"):
            norm: Any = getattr(self, name)
            if not isinstance(norm, nn.Identity):
                setattr(self, name, type(norm)(width, eps=norm.eps).to(norm.weight))
        self.reset_classifier(num_classes)
        init_weights_vit_timm(self.head)

    def forward_intermediates(self, x: Tensor, indices: Any = None, *, norm: bool = False, **arguments: Any) -> Any:
        """timm's own; the final norm can be asked for where all blocks wanted have its width.

        Args:
            x: Normalised pictures [B, C, H, W].
            indices: Blocks wanted; a number means the last so many, None all.
            norm: Whether the final norm is applied to what they give.
            arguments: As timm has them.

        Raises:
            ValueError: The norm is asked for at blocks of another width.
        """
        widths = [self.feature_info[index]["num_chs"] for index in resolve_indices(len(self.blocks), indices)]
        if norm and set(widths) != {self.embed_dim}:
            raise ValueError(f"norm=True: the final norm has width {self.embed_dim}, the blocks wanted have {widths}")
        return super().forward_intermediates(x, indices, norm=norm, **arguments)


def _blocks(depths: Sequence[int], widths: Sequence[int], heads: Sequence[int]) -> list[tuple[int | None, Any]]:
    """For each block the width that its stitch reads, None where it has none, and its own width and heads."""
    if len(depths) < 2:
        raise ValueError(f"depths={depths}: a stitched ViT has two segments or more")
    found: list[tuple[int | None, Any]] = []
    before = None
    for depth, width, count in zip(depths, widths, heads, strict=True):
        found += [(None if index else before, {"dim": width, "num_heads": count}) for index in range(depth)]
        before = width
    return found


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
    """A stitched ViT under timm's interface; arguments are those of `StitchedViT`."""
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
