"""The `vit` architecture: timm's own VisionTransformer, so that descendants need no germline code."""

from __future__ import annotations

from typing import Any, ClassVar

from timm.models.vision_transformer import Block, VisionTransformer

from germline.architectures.base import Spec
from germline.architectures.size import Size, check_size_keys
from germline.architectures.transformer import TransformerArchitecture, find_mlp_ratio, read_shared_fields
from germline.architectures.transformer_spec import SegmentSize, TransformerSpec, choose_heads


class _OneSize(Spec):
    # A separate base class puts these fields before those of TransformerSpec: stores are keyed by the text of a spec.
    depth: int
    width: int
    heads: int


class VitSpec(TransformerSpec, _OneSize):
    """Everything that is needed to build one ViT.

    Attributes:
        depth: Number of blocks.
        width: Length of a token, timm's `embed_dim`.
        heads: Number of attention heads; `width` is a multiple of it.
    """

    @property
    def segment_sizes(self) -> tuple[SegmentSize, ...]:
        """Size of the only segment."""
        return (SegmentSize(self.depth, self.width, self.heads),)


class VitArchitecture(TransformerArchitecture[VitSpec]):
    """How a plain ViT is put together."""

    name: ClassVar[str] = "vit"
    timm_name: ClassVar[str] = "vit_base_patch16_224"
    timm_class = VisionTransformer
    block_classes = (Block,)
    spec_type = VitSpec

    def size_arguments(self, spec: VitSpec, *, with_blocks: bool = True) -> dict[str, Any]:
        """Return width, depth and heads under timm's names."""
        return {"embed_dim": spec.width, "depth": spec.depth if with_blocks else 0, "num_heads": spec.heads}

    def block(self, spec: VitSpec, index: int = 0) -> Block:
        """Build one block, initialised as inside a whole ViT; all blocks are alike."""
        network = self.build(spec.model_copy(update={"depth": 1, "drop_path": 0.0}))
        return network.blocks[0]

    def read_spec(self, model: VisionTransformer) -> VitSpec:
        """Read the spec of a timm ViT."""
        block = model.blocks[0]
        return VitSpec(
            depth=len(model.blocks),
            width=model.embed_dim,
            heads=block.attn.num_heads,
            mlp_ratio=find_mlp_ratio(block.mlp.fc1.out_features, model.embed_dim),
            **read_shared_fields(model),
        )

    def resize(self, spec: VitSpec, size: Size) -> VitSpec:
        """Return the spec with depth, width or heads changed; `choose_heads` gives the heads of a width alone.

        Raises:
            SettingError: A ViT does not have such a key, or cannot be built in that size.
        """
        check_size_keys(self.name, size, ("depth", "width", "heads"), "depth, width or heads")
        changed: dict[str, int] = dict(size)
        if "width" in size and "heads" not in size:
            most = spec.model_copy(update={"depth": size.get("depth", spec.depth)}).find_largest_width()
            changed["heads"] = choose_heads(size["width"], spec.segment_sizes[0], most=most)
        return VitSpec(**{**spec.model_dump(), **changed})
