"""Networks whose blocks lie on straight lines along depth: what TLEG and its siblings train and grow from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from germline.architectures import Architecture, Spec, on_meta_device

Grid = Literal["zero", "one", "closed"]


def coefficient(index: int, length: int, grid: Grid = "zero") -> float:
    """Where a block stands on its line: l/L, (l+1)/L or l/(L-1) for block l of L, counted from 0."""
    if grid == "zero":
        return index / length
    if grid == "one":
        return (index + 1) / length
    return index / (length - 1) if length > 1 else 0.0


def split_depth(depth: int, segments: Sequence[int]) -> tuple[int, ...]:
    """Blocks of each segment in a network of `depth` blocks.

    At the auxiliary depth these are the segments themselves; elsewhere the depth is shared evenly, the first segments
    taking what is left over.
    """
    if depth == sum(segments):
        return tuple(segments)
    share, over = divmod(depth, len(segments))
    return tuple(share + (index < over) for index in range(len(segments)))


def positions(depth: int, segments: Sequence[int], grid: Grid) -> list[tuple[int, float]]:
    """For each block, its segment and its coefficient there."""
    return [
        (segment, coefficient(index, length, grid))
        for segment, length in enumerate(split_depth(depth, segments))
        for index in range(length)
    ]


def expand(offset: Tensor, slope: Tensor | None, place: float) -> Tensor:
    """offset + place x slope; in this one form everywhere, so that grown blocks equal the auxiliary's to the bit."""
    return offset if slope is None else torch.add(offset, slope, alpha=place)


class ExpandedNetwork(nn.Module):
    """A network whose every block tensor is offset + coefficient x slope of its segment.

    Its forward pass is that of the architecture's own network, called with the expanded tensors; the tensors trained
    are the frame (stem, norm, head) and one or two blocks a segment.

    Attributes:
        frame: Stem, norm and head, under the names that they have in the whole network.
        offset: One block a segment.
        slope: One block a segment, all zeros at first but for the weights of linear layers; empty without slopes.
    """

    def __init__(
        self,
        architecture: Architecture[Any],
        spec: Spec,
        segments: Sequence[int],
        grid: Grid = "zero",
        *,
        slopes: bool = True,
    ) -> None:
        super().__init__()
        self.frame = architecture.frame(spec)
        self.offset = nn.ModuleList(architecture.block(spec) for _ in segments)
        self.slope = nn.ModuleList(architecture.block(spec) for _ in segments if slopes)
        self._start()
        parts = architecture.parts(spec)
        self._places = positions(len(parts.blocks), segments, grid)
        self._names = parts.blocks
        with on_meta_device():
            # A tuple hides the shell from torch: it lends its forward pass and holds no tensors of its own.
            self._shell = (architecture.build(spec),)

    @torch.no_grad()
    def _start(self) -> None:
        # Source: the paper's public code as noted in its specification: weights from a normal of deviation 0.02 cut off
        # at two, biases 0; norms start as 1 + l/L x 0.
        for block in (*self.offset, *self.slope):
            for tensor in block.parameters():
                if tensor.ndim > 1:
                    nn.init.trunc_normal_(tensor, std=0.02)
        for block in self.slope:
            for tensor in block.parameters():
                if tensor.ndim == 1:
                    tensor.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of normalised pictures [B, C, H, W]."""
        shell = self._shell[0]
        if shell.training != self.training:
            shell.train(self.training)
        tensors: dict[str, Tensor] = {**dict(self.frame.named_parameters()), **self._expanded()}
        # No architecture shares tensors between layers, so the search for shared ones is spared.
        logits: Tensor = functional_call(shell, tensors, (images,), tie_weights=False)
        return logits

    def _expanded(self) -> dict[str, Tensor]:
        offsets = [dict(block.named_parameters()) for block in self.offset]
        slopes = [dict(block.named_parameters()) for block in self.slope]
        return {
            full: expand(offsets[segment][name], slopes[segment][name] if slopes else None, place)
            for (segment, place), names in zip(self._places, self._names, strict=True)
            for name, full in names.items()
        }

    def no_weight_decay(self) -> set[str]:
        """What the frame itself spares, under our names."""
        spared: set[str] = getattr(self.frame, "no_weight_decay", set)()
        return {f"frame.{name}" for name in spared}


def lines(
    tensors: Mapping[str, Tensor], names: Sequence[Mapping[str, str]], places: Sequence[tuple[int, float]]
) -> dict[str, Tensor]:
    """Block tensors of a network, none shared, from a gene's `offset.<segment>.*` and `slope.<segment>.*`."""
    grown = {}
    for (segment, place), block in zip(places, names, strict=True):
        for name, full in block.items():
            offset, slope = tensors[f"offset.{segment}.{name}"], tensors.get(f"slope.{segment}.{name}")
            grown[full] = offset.clone() if slope is None else expand(offset, slope, place)
    return grown
