"""Networks whose blocks lie on straight lines along depth, and the expansion of these lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from germline.architectures import Architecture, Spec
from germline.methods.generated_network import GeneratedNetwork

CoefficientGrid = Literal["zero", "one", "closed"]


def block_coefficient(index: int, length: int, grid: CoefficientGrid = "zero") -> float:
    """Return the coefficient of block l of L, counted from 0: l/L, (l+1)/L or l/(L-1)."""
    if grid == "zero":
        return index / length
    if grid == "one":
        return (index + 1) / length
    return index / (length - 1) if length > 1 else 0.0


def split_depth(depth: int, segments: Sequence[int]) -> tuple[int, ...]:
    """Return the number of blocks in each stage of a network of `depth` blocks.

    At the auxiliary depth these are `segments`. Other depths are divided evenly. The first stages get one
    block more if the division leaves a remainder.
    """
    if depth == sum(segments):
        return tuple(segments)
    share, over = divmod(depth, len(segments))
    return tuple(share + (index < over) for index in range(len(segments)))


def block_positions(depth: int, segments: Sequence[int], grid: CoefficientGrid) -> list[tuple[int, float]]:
    """Return the stage and the coefficient of each block."""
    return [
        (segment, block_coefficient(index, length, grid))
        for segment, length in enumerate(split_depth(depth, segments))
        for index in range(length)
    ]


def expand_tensor(offset: Tensor, slope: Tensor | None, place: float) -> Tensor:
    """Return offset + place x slope.

    All code uses this one function, so that expanded blocks equal those of the auxiliary model bitwise.
    """
    return offset if slope is None else torch.add(offset, slope, alpha=place)


class ExpandedNetwork(GeneratedNetwork):
    """A network whose block tensors are offset + coefficient x slope of their stage.

    The trained tensors are the frame (stem, norm, head) and one or two blocks per stage.

    Source: Xia et al., arXiv 2312.05614.

    Attributes:
        offset: One block per stage.
        slope: One block per stage, in which all but the weights of linear layers start at zero; empty without slopes.
    """

    def __init__(
        self,
        architecture: Architecture[Any],
        spec: Spec,
        segments: Sequence[int],
        grid: CoefficientGrid = "zero",
        *,
        slopes: bool = True,
    ) -> None:
        super().__init__(architecture, spec, architecture.frame(spec))
        self.offset = nn.ModuleList(architecture.block(spec) for _ in segments)
        self.slope = nn.ModuleList(architecture.block(spec) for _ in segments if slopes)
        self._initialise()
        parts = architecture.parts(spec)
        self._places = block_positions(len(parts.blocks), segments, grid)
        self._names = parts.blocks

    @torch.no_grad()
    def _initialise(self) -> None:
        # As in the paper's public code: weights from a normal of deviation 0.02 truncated at 2, biases 0. Norms start
        # as 1 + l/L x 0.
        for block in (*self.offset, *self.slope):
            for tensor in block.parameters():
                if tensor.ndim > 1:
                    nn.init.trunc_normal_(tensor, std=0.02)
        for block in self.slope:
            for tensor in block.parameters():
                if tensor.ndim == 1:
                    tensor.zero_()

    def generate(self) -> dict[str, Tensor]:
        """Return the frame as it is, and the blocks evaluated on the lines of their stages."""
        offsets = [dict(block.named_parameters()) for block in self.offset]
        slopes = [dict(block.named_parameters()) for block in self.slope]
        expanded = {
            full: expand_tensor(offsets[segment][name], slopes[segment][name] if slopes else None, place)
            for (segment, place), names in zip(self._places, self._names, strict=True)
            for name, full in names.items()
        }
        return {**dict(self.frame.named_parameters()), **expanded}


def expand_blocks(
    tensors: Mapping[str, Tensor], names: Sequence[Mapping[str, str]], places: Sequence[tuple[int, float]]
) -> dict[str, Tensor]:
    """Return the block tensors of a network from a gene's `offset.<stage>.*` and `slope.<stage>.*`; none is shared."""
    expanded = {}
    for (segment, place), block in zip(places, names, strict=True):
        for name, full in block.items():
            offset, slope = tensors[f"offset.{segment}.{name}"], tensors.get(f"slope.{segment}.{name}")
            expanded[full] = offset.clone() if slope is None else expand_tensor(offset, slope, place)
    return expanded
