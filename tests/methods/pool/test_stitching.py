"""Initial stitches: each rule gives the known right answer."""

import pytest
import torch
from torch import nn

from germline.methods.pool.paths import PoolLayout, cut_window, list_cuts
from germline.methods.pool.stitching import (
    AffineMap,
    NormalEquations,
    average_maps,
    copy_affine,
    fit_stitches,
    stitches_from_matrices,
)

RIDGE = 1e-9
LAYOUT = PoolLayout((4, 12), 3)


def draw_map(outputs, inputs, seed=0):
    source = torch.Generator().manual_seed(seed)
    return AffineMap(torch.randn(outputs, inputs, generator=source), torch.randn(outputs, generator=source))


def apply(one, rows):
    return rows @ one.weight.to(rows.dtype).T + one.bias.to(rows.dtype)


def test_least_squares_recovers_a_planted_affine_map():
    planted, rows = draw_map(12, 4), torch.randn(500, 4, generator=torch.Generator().manual_seed(1)).double()
    sums = NormalEquations()
    for part in rows.split(64):
        sums.add(part, apply(planted, part))
    found = sums.solve(RIDGE)
    assert found.weight.dtype == torch.float64
    assert float((found.weight - planted.weight.double()).abs().max()) <= 1e-6
    assert float((found.bias - planted.bias.double()).abs().max()) <= 1e-6


def test_least_squares_recovers_maps_planted_in_a_pool():
    """The end's tokens before block k are a map of the front's tokens after block j. One pass fits all windows."""
    planted = {0: draw_map(12, 4, 1), 1: draw_map(12, 4, 2)}
    batches = list(torch.randn(6, 8, 5, generator=torch.Generator().manual_seed(3)).split(2))

    def tokens(width, images):
        front = [torch.stack([images * scale for scale in (1, 2, 3, 4)], -1).sin() for _ in range(4)]
        # The first map holds before blocks 1 and 2, the second before block 3. All front tokens are equal.
        return front if width == 4 else [apply(planted[index > 1], front[0]) for index in range(4)]

    found = fit_stitches(tokens, LAYOUT, batches, RIDGE)
    assert set(found) == {f"stitch.4-12.{number}.{kind}" for number in (0, 1) for kind in ("weight", "bias")}
    assert found["stitch.4-12.0.weight"].dtype == torch.float32
    assert float((found["stitch.4-12.0.weight"] - planted[0].weight).abs().max()) <= 1e-5
    # Window 1 has the cuts (2, 3), (3, 2) and (3, 3), so k = 3 in two of the three.
    both = average_maps([planted[0], planted[1], planted[1]])
    assert sorted(k for j, k in list_cuts(3) if cut_window(j, k) == 1) == [2, 3, 3]
    assert float((found["stitch.4-12.1.weight"] - both.weight).abs().max()) <= 1e-5
    assert float((found["stitch.4-12.1.bias"] - both.bias).abs().max()) <= 1e-5


def test_more_ridge_shrinks_the_weights_but_keeps_the_mean():
    rows = torch.randn(300, 4, generator=torch.Generator().manual_seed(1)).double() + 3
    sums = NormalEquations()
    sums.add(rows, apply(draw_map(6, 4), rows))
    exact, shrunk = sums.solve(RIDGE), sums.solve(10.0)
    assert float(shrunk.weight.norm()) < 0.5 * float(exact.weight.norm())
    centre = rows.mean(0, keepdim=True)
    assert torch.allclose(apply(shrunk, centre), apply(exact, centre), atol=1e-8)


def test_constant_tokens_give_the_mean():
    sums, outputs = NormalEquations(), torch.randn(50, 3, generator=torch.Generator().manual_seed(1)).double()
    sums.add(torch.zeros(50, 2).double(), outputs)
    found = sums.solve(RIDGE)
    assert not found.weight.any()
    assert torch.allclose(found.bias, outputs.mean(0))


def test_transpose_is_that_of_the_mean_matrix_without_bias():
    maps = [draw_map(4, 12, seed) for seed in range(3)]
    found = stitches_from_matrices("transpose", LAYOUT.stitches, {4: maps, 12: [draw_map(12, 12)]})
    expected = sum(one.weight for one in maps) / 3
    for number in (0, 1):
        assert torch.allclose(found[f"stitch.4-12.{number}.weight"], expected.T, atol=1e-7)
        assert not found[f"stitch.4-12.{number}.bias"].any()
        assert found[f"stitch.4-12.{number}.bias"].shape == (12,)
    assert len(found) == 4


def test_stitches_between_small_models_use_both_matrices():
    matrices = {4: [draw_map(4, 12, 1)], 8: [draw_map(8, 12, 2), draw_map(8, 12, 3)], 12: [draw_map(12, 12, 4)]}
    found = stitches_from_matrices("transpose", PoolLayout((4, 8, 12), 2, "all").stitches, matrices)
    down = (matrices[8][0].weight + matrices[8][1].weight) / 2
    assert torch.allclose(found["stitch.4-8.0.weight"], down @ matrices[4][0].weight.T, atol=1e-6)
    assert not found["stitch.4-8.0.bias"].any()
    assert torch.equal(found["stitch.8-12.0.weight"], down.T.contiguous())
    assert torch.equal(found["stitch.4-12.0.weight"], matrices[4][0].weight.T.contiguous())


def test_pinv_inverts_the_matrix():
    """Tokens that are mapped down, up and down again equal the tokens that are mapped down once."""
    matrices = {4: [draw_map(4, 12, 1)], 8: [draw_map(8, 12, 2)], 12: [draw_map(12, 12, 4)]}
    found = stitches_from_matrices("pinv", PoolLayout((4, 8, 12), 2, "all").stitches, matrices)
    rows = torch.randn(7, 12, generator=torch.Generator().manual_seed(5))
    small = apply(matrices[4][0], rows)
    up = apply(AffineMap(found["stitch.4-12.0.weight"], found["stitch.4-12.0.bias"]), small)
    assert torch.allclose(apply(matrices[4][0], up), small, atol=1e-4)
    middle = apply(AffineMap(found["stitch.4-8.0.weight"], found["stitch.4-8.0.bias"]), small)
    assert torch.allclose(middle, apply(matrices[8][0], up), atol=1e-4)


def test_copied_map_does_not_share_memory_with_the_layer():
    layer = nn.Linear(3, 2)
    read = copy_affine(layer)
    before = read.weight.clone()
    with torch.no_grad():
        layer.weight.zero_()
    assert torch.equal(read.weight, before)
    assert not read.weight.requires_grad


@pytest.mark.parametrize("kind", ["transpose", "pinv"])
def test_all_windows_of_a_pair_start_equal(kind):
    found = stitches_from_matrices(kind, LAYOUT.stitches, {4: [draw_map(4, 12)], 12: [draw_map(12, 12)]})
    assert torch.equal(found["stitch.4-12.0.weight"], found["stitch.4-12.1.weight"])
