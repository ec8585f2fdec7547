"""The `vit` architecture: timm's own VisionTransformer, so that descendants carry no germline code."""

from __future__ import annotations

from typing import Any, ClassVar

from timm.models.vision_transformer import Block, VisionTransformer

from germline.architectures.base import Spec
from germline.architectures.size import Size, check_size_keys
from germline.architectures.transformer import TransformerArchitecture, TransformerSpec, read_spec_fields


class _OneSize(Spec):
    # A base of its own, so that these fields stand before those that all ViTs have: stored parts are found by the
    # text of a spec.
    depth: int
    width: int
    heads: int


class VitSpec(TransformerSpec, _OneSize):
    """All that is needed to build one ViT.

    Attributes:
        depth: Number of blocks.
        width: Length of a token, timm's `embed_dim`.
        heads: Attention heads; `width` is a multiple of it.
    """

    @property
    def segments(self) -> tuple[VitSpec, ...]:
        """Itself."""
        return (self,)

    @property
    def _sizes(self) -> tuple[tuple[int, int, int], ...]:
        return ((self.depth, self.width, self.heads),)


class VitArchitecture(TransformerArchitecture[VitSpec]):
    """How a ViT is put together."""

    name: ClassVar[str] = "vit"
    timm_name: ClassVar[str] = "vit_base_patch16_224"
    noun: ClassVar[str] = "plain timm VisionTransformer"
    module = VisionTransformer
    blocks = (Block,)
    spec_type = VitSpec

    def arguments(self, spec: VitSpec, *, blocks: bool = True) -> dict[str, Any]:
        """Width, depth and heads."""
        return {"embed_dim": spec.width, "depth": spec.depth if blocks else 0, "num_heads": spec.heads}

    def block(self, spec: VitSpec, index: int = 0) -> Block:
        """One block, initialised as inside a whole ViT; all are alike."""
        one = self.build(spec.model_copy(update={"depth": 1, "drop_path": 0.0}))
        return one.blocks[0]

    def read(self, model: VisionTransformer) -> VitSpec:
        """The spec of a timm ViT."""
        block = model.blocks[0]
        return VitSpec(
            depth=len(model.blocks),
            width=model.embed_dim,
            heads=block.attn.num_heads,
            mlp_ratio=block.mlp.fc1.out_features / model.embed_dim,
            **read_spec_fields(model),
        )

    def resize(self, spec: VitSpec, size: Size) -> VitSpec:
        """The spec with depth, width or heads changed.

        Raises:
            SettingError: A key that a ViT has not, or a size that cannot be built.
        """
        check_size_keys(self.name, size, ("depth", "width", "heads"), "depth, width or heads")
        return VitSpec(**{**spec.model_dump(), **size})
