"""The `stitched` architecture: a ViT that continues as a wider one, its segments joined by linear layers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from timm.models.vision_transformer import Block
from torch import nn

from germline.architectures.size import Size, check_size_keys
from germline.architectures.transformer import TransformerArchitecture, read_shared_fields
from germline.architectures.transformer_spec import SegmentSize, TransformerSpec, choose_heads
from germline.architectures.vit import VitArchitecture, VitSpec
from germline.errors import SettingError
from germline.timm import StitchedBlock, StitchedViT

_KEYS = ("depth", "width", "heads")
_VIT = VitArchitecture()


class StitchedSpec(TransformerSpec):
    """Everything that is needed to build one stitched ViT of two segments or more.

    Attributes:
        depths: Number of blocks of each segment.
        widths: Length of a token in each segment; the stem has the first width, norm and head the last.
        heads: Number of attention heads in each segment.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    heads: tuple[int, ...]

    def model_post_init(self, context: Any) -> None:
        """Refuse a network that cannot be built."""
        if len(self.depths) < 2 or not len(self.depths) == len(self.widths) == len(self.heads):
            raise SettingError(
                f"depths={self.depths}, widths={self.widths}, heads={self.heads}",
                "a stitched ViT has two segments or more, each of one depth, one width and one number of heads",
                "use for example depths=(3, 3), widths=(192, 768), heads=(3, 12)",
            )
        super().model_post_init(context)

    @property
    def segment_sizes(self) -> tuple[SegmentSize, ...]:
        """Sizes of the segments, in order."""
        return tuple(map(SegmentSize, self.depths, self.widths, self.heads))

    @property
    def segments(self) -> tuple[VitSpec, ...]:
        """Specs of the plain ViTs that have the segments' blocks."""
        return tuple(self.segment(index) for index in range(len(self.depths)))

    def segment(self, index: int) -> VitSpec:
        """Return the spec of a plain ViT with one segment's blocks and the same images and classes."""
        shared = self.model_dump(exclude={"depths", "widths", "heads"})
        return VitSpec(**self.segment_sizes[index]._asdict(), **shared)


class StitchedVitArchitecture(TransformerArchitecture[StitchedSpec]):
    """How a stitched ViT is put together."""

    name: ClassVar[str] = "stitched"
    timm_name: ClassVar[str] = "germline_stitched_vit"
    timm_class = StitchedViT
    block_classes = (Block, StitchedBlock)
    spec_type = StitchedSpec

    def size_arguments(self, spec: StitchedSpec, *, with_blocks: bool = True) -> dict[str, Any]:
        """Return depths, widths and heads under timm's names."""
        depths = list(spec.depths) if with_blocks else [0] * len(spec.depths)
        return {"depths": depths, "widths": list(spec.widths), "heads": list(spec.heads)}

    def block(self, spec: StitchedSpec, index: int = 0) -> Block:
        """Build one block as inside a whole network; the first block of a later segment begins with a stitch."""
        segment = sum(start <= index for start in spec.segment_starts) - 1
        if index not in spec.segment_starts[1:]:
            return _VIT.block(spec.segment(segment))
        one_block_each = {"depths": (1,) * len(spec.depths), "drop_path": 0.0}
        return self.build(spec.model_copy(update=one_block_each)).blocks[segment]

    def read_spec(self, model: StitchedViT) -> StitchedSpec:
        """Read the spec of a stitched ViT from its blocks.

        Raises:
            ArtefactError: No block has a stitch, or the first one has.
        """
        starts = [index for index, block in enumerate(model.blocks) if type(block) is StitchedBlock]
        if not starts or starts[0] == 0 or not all(type(model.blocks[index].stitch) is nn.Linear for index in starts):
            raise self._rebuild_error([f"stitches at blocks {starts}"])
        first_blocks = [model.blocks[index] for index in (0, *starts)]
        return StitchedSpec(
            depths=tuple(after - before for before, after in pairwise((0, *starts, len(model.blocks)))),
            widths=tuple(block.attn.proj.out_features for block in first_blocks),
            heads=tuple(block.attn.num_heads for block in first_blocks),
            mlp_ratio=model.mlp_ratio,
            **read_shared_fields(model),
        )

    def resize(self, spec: StitchedSpec, size: Size) -> StitchedSpec:
        """Return the spec with sizes of segments changed: `depth1=3`, `width2=96`, `heads2=4` each set one.

        `choose_heads` gives the heads of a width alone.

        Raises:
            SettingError: A stitched ViT does not have such a key, or cannot be built in that size.
        """
        count = len(spec.depths)
        text = ", ".join(f"{key}1 to {key}{count}" for key in _KEYS)
        check_size_keys(self.name, size, [f"{key}{n}" for key in _KEYS for n in range(1, count + 1)], text)

        def change_values(key: str, values: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(size.get(f"{key}{number}", value) for number, value in enumerate(values, 1))

        depths, widths = change_values("depth", spec.depths), change_values("width", spec.widths)
        heads = list(change_values("heads", spec.heads))
        deep = spec.model_copy(update={"depths": depths})
        for index, source in enumerate(spec.segment_sizes):
            if f"width{index + 1}" in size and f"heads{index + 1}" not in size:
                heads[index] = choose_heads(widths[index], source, str(index + 1), deep.find_largest_width(index))
        changed = {"depths": depths, "widths": widths, "heads": tuple(heads)}
        return StitchedSpec(**{**spec.model_dump(), **changed})
