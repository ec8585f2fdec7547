"""SWS: a Transformer of any depth from one shared block per stage."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from germline.architectures import Size
from germline.methods.presets import Presets
from germline.methods.tleg.base import LinearMethod
from germline.methods.tleg.expansion import CoefficientGrid
from germline.methods.tleg.presets import SWS_PRESETS


class SWS(LinearMethod):
    """SWS (arXiv 2404.16897): blocks of a stage share one block, and descendants repeat it.

    All blocks of a stage of an auxiliary network have the same tensors. It is distilled from the ancestor. One block
    per stage, stem, positions, norm and head are the gene. A descendant divides its depth evenly among the stages, the
    first ones first, and copies each stage's block. It is then trained without sharing.

    Source: Xia et al., "Exploring Learngene via Stage-wise Weight Sharing for Initializing Variable-sized Models",
    arXiv 2404.16897. Loss, norms and start are those of `tleg`, with their departures. That the
    presets of the paper train as TLEG's public code does is an assumption.

    Attributes:
        preset: Values of settings that are not given: `paper` and `paper12` (published stages of 16 and 12 blocks),
            `lab` (small networks) or `tiny` (tests).
        segments: Blocks of each stage of the auxiliary network.
        depth: Number of blocks of the auxiliary network; None is the sum of `segments`.
    """

    name: ClassVar[str] = "sws"
    paper: ClassVar[str] = "arXiv 2404.16897"
    presets: ClassVar[Presets] = SWS_PRESETS
    uniform_reason: ClassVar[str] = "shared blocks need one shape"

    preset: Literal["paper", "paper12", "lab", "tiny"] = "lab"
    segments: tuple[int, ...] = Field(min_length=1)

    def line(self) -> tuple[CoefficientGrid, bool]:
        """Return a grid that has no effect, and that blocks have no slopes."""
        return "zero", False

    def auxiliary_size(self) -> Size:
        """Return the size of the auxiliary network; its depth is that of all stages if it is not set."""
        depth = {} if self.depth is not None or min(self.segments, default=0) < 1 else {"depth": sum(self.segments)}
        return Size(**super().auxiliary_size(), **depth)
