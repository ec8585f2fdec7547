"""The `stitched` architecture: a ViT that goes on as a wider one, its segments joined by linear layers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

from timm.models.vision_transformer import Block
from torch import nn

from germline.architectures.size import Size, check_size_keys
from germline.architectures.transformer import TransformerArchitecture, TransformerSpec, read_spec_fields
from germline.architectures.vit import VitArchitecture, VitSpec
from germline.errors import SettingError
from germline.timm import StitchedBlock, StitchedViT

_KEYS = ("depth", "width", "heads")
_VIT = VitArchitecture()


class StitchedSpec(TransformerSpec):
    """All that is needed to build one stitched ViT, of two segments or more.

    Attributes:
        depths: Blocks of each segment.
        widths: Length of a token in each; the stem has the first, norm and head the last.
        heads: Attention heads in each.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    heads: tuple[int, ...]

    def model_post_init(self, context: Any) -> None:
        """Refuse what cannot be built."""
        if len(self.depths) < 2 or not len(self.depths) == len(self.widths) == len(self.heads):
            raise SettingError(
                f"depths={self.depths}, widths={self.widths}, heads={self.heads}",
                "a stitched ViT has two segments or more, each of one depth, one width and one number of heads",
                "use for example depths=(3, 3), widths=(192, 768), heads=(3, 12)",
            )
        super().model_post_init(context)

    @property
    def segments(self) -> tuple[VitSpec, ...]:
        """The plain ViTs whose blocks it has."""
        return tuple(self.segment(index) for index in range(len(self.depths)))

    @property
    def _sizes(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(zip(self.depths, self.widths, self.heads, strict=True))

    def segment(self, index: int) -> VitSpec:
        """One segment's blocks as a plain ViT of its own, with the same pictures and classes."""
        depth, width, heads = self._sizes[index]
        shared = self.model_dump(exclude={"depths", "widths", "heads"})
        return VitSpec(depth=depth, width=width, heads=heads, **shared)


class StitchedVitArchitecture(TransformerArchitecture[StitchedSpec]):
    """How a stitched ViT is put together."""

    name: ClassVar[str] = "stitched"
    timm_name: ClassVar[str] = "germline_stitched_vit"
    noun: ClassVar[str] = "germline StitchedViT"
    module = StitchedViT
    blocks = (Block, StitchedBlock)
    spec_type = StitchedSpec

    def arguments(self, spec: StitchedSpec, *, blocks: bool = True) -> dict[str, Any]:
        """Depths, widths and heads."""
        depths = list(spec.depths) if blocks else [0] * len(spec.depths)
        return {"depths": depths, "widths": list(spec.widths), "heads": list(spec.heads)}

    def block(self, spec: StitchedSpec, index: int = 0) -> Block:
        """One block, initialised as inside a whole network; the first of a later segment begins with a stitch."""
        segment = sum(start <= index for start in spec.starts) - 1
        if index not in spec.starts[1:]:
            return _VIT.block(spec.segment(segment))
        each_one = {"depths": (1,) * len(spec.depths), "drop_path": 0.0}
        return self.build(spec.model_copy(update=each_one)).blocks[segment]

    def read(self, model: StitchedViT) -> StitchedSpec:
        """The spec of a stitched ViT, read from its blocks.

        Raises:
            ArtefactError: No block has a stitch, or the first one has.
        """
        starts = [index for index, block in enumerate(model.blocks) if type(block) is StitchedBlock]
        if not starts or starts[0] == 0 or not all(type(model.blocks[index].stitch) is nn.Linear for index in starts):
            raise self._cannot_rebuild([f"stitches at blocks {starts}"])
        firsts = [model.blocks[index] for index in (0, *starts)]
        return StitchedSpec(
            depths=tuple(after - before for before, after in pairwise((0, *starts, len(model.blocks)))),
            widths=tuple(block.attn.proj.out_features for block in firsts),
            heads=tuple(block.attn.num_heads for block in firsts),
            mlp_ratio=model.mlp_ratio,
            **read_spec_fields(model),
        )

    def resize(self, spec: StitchedSpec, size: Size) -> StitchedSpec:
        """The spec with depths, widths or heads changed: `depth1=3`, `width2=96`, `heads2=4` set one segment's.

        Raises:
            SettingError: A key that a stitched ViT has not, or a size that cannot be built.
        """
        count = len(spec.depths)
        text = ", ".join(f"{key}1 to {key}{count}" for key in _KEYS)
        check_size_keys(self.name, size, [f"{key}{n}" for key in _KEYS for n in range(1, count + 1)], text)

        def sized(key: str, own: tuple[int, ...]) -> Iterator[int]:
            return (size.get(f"{key}{number}", value) for number, value in enumerate(own, 1))

        changed = {
            "depths": tuple(sized("depth", spec.depths)),
            "widths": tuple(sized("width", spec.widths)),
            "heads": tuple(sized("heads", spec.heads)),
        }
        return StitchedSpec(**{**spec.model_dump(), **changed})
