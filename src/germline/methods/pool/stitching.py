"""How stitches begin: from the matrices of a distillation, from features by least squares, or at random."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from germline.methods.pool.paths import Cut, Layout, Stitch, cuts, window

Init = Literal["transpose", "pinv", "least-squares", "random"]
# Width of an auxiliary model and normalised pictures [B, C, H, W] to its tokens [B, tokens, width]: before block 1, and
# after each block.
Tokens = Callable[[int, Tensor], Sequence[Tensor]]


class Affine(NamedTuple):
    """x -> weight x + bias.

    Attributes:
        weight: [outputs, inputs].
        bias: [outputs].
    """

    weight: Tensor
    bias: Tensor


def mean(maps: Sequence[Affine]) -> Affine:
    """The mean of several maps, element by element."""
    return Affine(torch.stack([one.weight for one in maps]).mean(0), torch.stack([one.bias for one in maps]).mean(0))


def affine(layer: nn.Linear) -> Affine:
    """What a layer computes, apart from it and on the CPU."""
    return Affine(layer.weight.detach().cpu().clone(), layer.bias.detach().cpu().clone())


def from_matrices(
    kind: Literal["transpose", "pinv"], stitches: Iterable[Stitch], matrices: Mapping[int, Sequence[Affine]]
) -> dict[str, Tensor]:
    """Stitches from the matrices that project the ancestor's hidden maps down to those of the auxiliary models.

    With M the mean matrix of the front and E that of the end, a stitch leads up to the ancestor's width and down again:
    E M^T, or M^T alone where the end is as wide as the ancestor; all windows begin alike.

    Source: Learngene Pool's public code for M^T, its commented code for E M^T. We depart in the bias: it is 0 here and
    left at random there. With `pinv` the pseudo-inverse stands for the transpose, and the bias is the one that belongs
    to it: up is x -> M^+ (x - b), down is x -> E x + e.

    Args:
        kind: How the way up is found.
        stitches: To be begun.
        matrices: By the auxiliary model's width: maps from the ancestor's width to its own, one a position.

    Returns:
        Tensors by name, weights [end, front] and biases [end].
    """
    means = {width: mean(maps) for width, maps in matrices.items()}
    found: dict[str, Tensor] = {}
    for stitch in stitches:
        down, up = means[stitch.end], _up(kind, means[stitch.front])
        if stitch.end != down.weight.shape[1]:
            up = Affine(down.weight @ up.weight, down.weight @ up.bias + (down.bias if kind == "pinv" else 0))
        found |= _named(stitch, up)
    return found


def _up(kind: str, down: Affine) -> Affine:
    if kind == "transpose":
        return Affine(down.weight.T.contiguous(), torch.zeros_like(down.weight[0]))
    inverse = torch.linalg.pinv(down.weight.double())
    return Affine(inverse.float(), (-inverse @ down.bias.double()).float())


@torch.no_grad()
def least_squares(tokens: Tokens, layout: Layout, batches: Iterable[Tensor], ridge: float) -> dict[str, Tensor]:
    """Stitches that lead as near as can be from the tokens of one model to those of the next, in float64.

    For each cut (j, k) that is W in min ||[F, 1] W - E||^2 with F the front's tokens after block j and E the end's
    before block k; a stitch is the mean over the cuts of its window.

    Source: SN-Net (Pan et al., arXiv 2302.06586), with the bias of Learngene Pool's code. We depart in solving the
    normal equations with a small ridge on the weights, where the public code takes a pseudo-inverse of all tokens.

    Args:
        tokens: Of each auxiliary model.
        layout: Of the pool.
        batches: Normalised pictures [B, C, H, W].
        ridge: As a share of the mean square of the front's tokens.
    """
    pairs = sorted({(stitch.front, stitch.end) for stitch in layout.stitches})
    sums = {(pair, cut): Sums() for pair in pairs for cut in cuts(layout.depth)}
    for images in batches:
        seen = {width: [one.double().cpu().flatten(0, -2) for one in tokens(width, images)] for width in layout.widths}
        for ((front, end), (j, k)), one in sums.items():
            one.add(seen[front][j], seen[end][k - 1])
    found: dict[str, Tensor] = {}
    for stitch in layout.stitches:
        shared: list[Cut] = [cut for cut in cuts(layout.depth) if window(*cut) == stitch.window]
        found |= _named(stitch, mean([sums[(stitch.front, stitch.end), cut].solve(ridge) for cut in shared]))
    return found


class Sums:
    """The normal equations of one least-squares problem, gathered batch by batch."""

    def __init__(self) -> None:
        self._square = self._product = torch.zeros((), dtype=torch.float64)

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Take in rows [N, inputs] that are to be led to rows [N, outputs]; float64."""
        rows = torch.cat((inputs, inputs.new_ones(len(inputs), 1)), dim=1)
        self._square = self._square + rows.T @ rows
        self._product = self._product + rows.T @ outputs

    def solve(self, ridge: float) -> Affine:
        """The affine map of least squares."""
        width = len(self._square) - 1
        square = self._square.clone()
        weights = square.diagonal()[:width]
        # Tokens that are all zero say nothing, and lead to the mean.
        weights += ridge * (float(weights.mean()) or 1.0)
        both = torch.linalg.solve(square, self._product)
        return Affine(both[:width].T.contiguous(), both[width])


def _named(stitch: Stitch, value: Affine) -> dict[str, Tensor]:
    return {f"{stitch.name}.weight": value.weight.float(), f"{stitch.name}.bias": value.bias.float()}
