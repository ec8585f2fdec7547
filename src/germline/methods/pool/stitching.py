"""Initial stitches: from the matrices of a distillation, from features by least squares, or random."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from germline.methods.pool.paths import Cut, PoolLayout, Stitch, cut_window, list_cuts

StitchInit = Literal["transpose", "pinv", "least-squares", "random"]
# Maps the width of an auxiliary model and normalised images [B, C, H, W] to tokens [B, tokens, width]. The first tokens
# are those before the first block; the others follow each block.
Tokens = Callable[[int, Tensor], Sequence[Tensor]]


class AffineMap(NamedTuple):
    """x -> weight x + bias.

    Attributes:
        weight: Matrix [outputs, inputs].
        bias: Vector [outputs].
    """

    weight: Tensor
    bias: Tensor


def average_maps(maps: Sequence[AffineMap]) -> AffineMap:
    """Return the element-wise mean of several maps."""
    return AffineMap(torch.stack([one.weight for one in maps]).mean(0), torch.stack([one.bias for one in maps]).mean(0))


def copy_affine(layer: nn.Linear) -> AffineMap:
    """Copy the map of a layer to the CPU."""
    return AffineMap(layer.weight.detach().cpu().clone(), layer.bias.detach().cpu().clone())


def stitches_from_matrices(
    kind: Literal["transpose", "pinv"], stitches: Iterable[Stitch], matrices: Mapping[int, Sequence[AffineMap]]
) -> dict[str, Tensor]:
    """Make stitches from the matrices that map the ancestor's hidden maps to those of the auxiliary models.

    Let M be the mean matrix of the front and E that of the end. A stitch is E M^T: up to the ancestor's width and down
    again. It is M^T if the end is as wide as the ancestor. All windows start equal.

    Source: Learngene Pool's public code for M^T, its commented code for E M^T. Departure: the bias is 0, and random in
    the public code. `pinv` uses the pseudo-inverse with its bias: up is x -> M^+ (x - b), down is x -> E x + e.

    Args:
        kind: Inverse that maps up to the ancestor's width.
        stitches: Stitches to make.
        matrices: Maps from the ancestor's width to each auxiliary model's width, one per position.

    Returns:
        Tensors by name: weights [end, front] and biases [end].
    """
    means = {width: average_maps(maps) for width, maps in matrices.items()}
    tensors: dict[str, Tensor] = {}
    for stitch in stitches:
        down, up = means[stitch.end], _invert_map(kind, means[stitch.front])
        if stitch.end != down.weight.shape[1]:
            up = AffineMap(down.weight @ up.weight, down.weight @ up.bias + (down.bias if kind == "pinv" else 0))
        tensors |= _name_tensors(stitch, up)
    return tensors


def _invert_map(kind: str, down: AffineMap) -> AffineMap:
    if kind == "transpose":
        return AffineMap(down.weight.T.contiguous(), torch.zeros_like(down.weight[0]))
    inverse = torch.linalg.pinv(down.weight.double())
    return AffineMap(inverse.float(), (-inverse @ down.bias.double()).float())


@torch.no_grad()
def fit_stitches(tokens: Tokens, layout: PoolLayout, batches: Iterable[Tensor], ridge: float) -> dict[str, Tensor]:
    """Fit stitches from the tokens of one model to those of the next by least squares, in float64.

    For each cut (j, k), W minimises ||[F, 1] W - E||^2. F are the front's tokens after block j, and E the end's tokens
    before block k. A stitch is the mean over the cuts of its window.

    Source: SN-Net (Pan et al., arXiv 2302.06586), with the bias of Learngene Pool's code. Departure: normal equations
    with a small ridge on the weights, instead of a pseudo-inverse of all tokens.

    Args:
        tokens: Function that returns the tokens of an auxiliary model.
        layout: Structure of the pool.
        batches: Batches of normalised images [B, C, H, W].
        ridge: Ridge, as a share of the mean square of the front's tokens.
    """
    pairs = sorted({(stitch.front, stitch.end) for stitch in layout.stitches})
    sums = {(pair, cut): NormalEquations() for pair in pairs for cut in list_cuts(layout.depth)}
    for images in batches:
        features = {
            width: [one.double().cpu().flatten(0, -2) for one in tokens(width, images)] for width in layout.widths
        }
        for ((front, end), (j, k)), one in sums.items():
            one.add(features[front][j], features[end][k - 1])
    tensors: dict[str, Tensor] = {}
    for stitch in layout.stitches:
        shared: list[Cut] = [cut for cut in list_cuts(layout.depth) if cut_window(*cut) == stitch.window]
        tensors |= _name_tensors(
            stitch, average_maps([sums[(stitch.front, stitch.end), cut].solve(ridge) for cut in shared])
        )
    return tensors


class NormalEquations:
    """Normal equations of one least-squares problem, summed over batches."""

    def __init__(self) -> None:
        self._square = self._product = torch.zeros((), dtype=torch.float64)

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Add a batch of rows: inputs [N, inputs] and outputs [N, outputs], in float64."""
        rows = torch.cat((inputs, inputs.new_ones(len(inputs), 1)), dim=1)
        self._square = self._square + rows.T @ rows
        self._product = self._product + rows.T @ outputs

    def solve(self, ridge: float) -> AffineMap:
        """Return the affine map with the least squared error."""
        width = len(self._square) - 1
        square = self._square.clone()
        weights = square.diagonal()[:width]
        # If all tokens are zero, a ridge of 1 avoids a singular matrix, and the map returns the mean.
        weights += ridge * (float(weights.mean()) or 1.0)
        both = torch.linalg.solve(square, self._product)
        return AffineMap(both[:width].T.contiguous(), both[width])


def _name_tensors(stitch: Stitch, value: AffineMap) -> dict[str, Tensor]:
    return {f"{stitch.name}.weight": value.weight.float(), f"{stitch.name}.bias": value.bias.float()}
