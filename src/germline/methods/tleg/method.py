"""TLEG: a Transformer of any depth as the linear expansion of two blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from germline.methods.presets import Presets
from germline.methods.tleg.base import LinearMethod
from germline.methods.tleg.expansion import CoefficientGrid
from germline.methods.tleg.presets import PRESETS


class TLEG(LinearMethod):
    """TLEG (arXiv 2312.05614): block l of L is offset + (l/L) x slope.

    All blocks of an auxiliary network lie on that line. It is distilled from the ancestor. Its two blocks, stem,
    positions, norm and head are the gene. A descendant of any depth evaluates the line at its own blocks. It is then
    trained without the constraint. With features or tokens as target, the auxiliary network has no head.

    Source: Xia et al., "Transformer as Linear Expansion of Learngene", AAAI 2024, arXiv 2312.05614. There are
    three departures from its public code. The loss is divided by the batch, not by batch x classes (`reduction`). The
    final norm is before pooling in auxiliary network and descendant alike. So a descendant of the auxiliary depth
    computes the same function. All norms have eps 1e-6. `segments` and `slopes` give the stage-wise sharing of arXiv
    2404.16897, which `sws` has under its own name.

    Attributes:
        preset: Values of settings that are not given: `paper`, `lab` (small networks) or `tiny` (tests); None is the
            default of each setting.
        grid: Coefficient of block l of L: l/L (`zero`, the public code), (l+1)/L (`one`), l/(L-1) (`closed`).
        segments: Blocks of each straight piece, adding up to the depth; None is one piece, as in the paper.
        slopes: Whether blocks have slopes; without them the blocks of a segment are shared.
        slope_weight_decay: Weight decay of the slopes; None uses `weight_decay`.
    """

    name: ClassVar[str] = "tleg"
    paper: ClassVar[str] = "arXiv 2312.05614"
    presets: ClassVar[Presets] = PRESETS
    uniform_reason: ClassVar[str] = "linear expansion needs blocks of one shape"

    preset: Literal["paper", "lab", "tiny"] | None = None
    grid: CoefficientGrid = "zero"
    slopes: bool = True
    slope_weight_decay: float | None = Field(default=None, ge=0)

    def line(self) -> tuple[CoefficientGrid, bool]:
        """Return the grid of coefficients along a segment, and whether blocks have slopes."""
        return self.grid, self.slopes

    def weight_decays(self) -> Mapping[str, float]:
        """Return the weight decay of the slopes, if it is set."""
        return {} if self.slope_weight_decay is None else {"slope": self.slope_weight_decay}
