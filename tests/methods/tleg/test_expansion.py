"""Networks whose blocks are linear in depth: coefficients, segments, gradients and numbers of parameters."""

import pytest
import torch
from torch.func import functional_call

from germline.architectures import VIT, VitSpec
from germline.methods.tleg.expansion import (
    ExpandedNetwork,
    block_coefficient,
    block_positions,
    expand_blocks,
    expand_tensor,
    split_depth,
)


def make_spec(**changes):
    fields = {"image_size": 16, "channels": 1, "classes": 5, "depth": 4, "width": 16, "heads": 2, "patch_size": 8}
    return VitSpec(**{**fields, **changes})


def make_auxiliary(depth=4, segments=None, grid="zero", **changes):
    torch.manual_seed(0)
    network = ExpandedNetwork(VIT, make_spec(depth=depth), segments or (depth,), grid, **changes)
    with torch.no_grad():  # the slopes of norms start at 0; no tensor may stay at zero
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ("zero", [0.0, 0.25, 0.5, 0.75]),
        ("one", [0.25, 0.5, 0.75, 1.0]),
        ("closed", [0.0, 1 / 3, 2 / 3, 1.0]),
    ],
)
def test_coefficients_of_four_blocks_follow_the_grid(grid, expected):
    assert [block_coefficient(index, 4, grid) for index in range(4)] == expected


def test_coefficient_of_a_single_block_is_an_end_of_the_grid():
    assert [block_coefficient(0, 1, grid) for grid in ("zero", "one", "closed")] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("depth", "segments", "expected"),
    [
        (12, (2, 2, 2, 2, 2), (3, 3, 2, 2, 2)),
        (10, (1, 5), (5, 5)),
        (6, (1, 5), (1, 5)),
        (5, (4, 4, 4), (2, 2, 1)),
        (7, (12,), (7,)),
    ],
)
def test_blocks_are_divided_evenly_among_segments(depth, segments, expected):
    assert split_depth(depth, segments) == expected


def test_each_segment_has_its_own_positions():
    assert block_positions(5, (4, 4), "zero") == [(0, 0.0), (0, 1 / 3), (0, 2 / 3), (1, 0.0), (1, 0.5)]


def test_positions_of_depth_six_are_every_second_of_twelve():
    assert block_positions(6, (12,), "zero") == block_positions(12, (12,), "zero")[::2]
    assert block_positions(4, (12,), "zero") == block_positions(12, (12,), "zero")[::3]
    assert block_positions(3, (12,), "zero") == block_positions(12, (12,), "zero")[::4]


def test_forward_is_the_plain_network_with_expanded_tensors():
    network = make_auxiliary().eval()
    gene, parts = network.state_dict(), VIT.parts(make_spec())
    plain = VIT.build(make_spec()).eval()
    grown = expand_blocks(gene, parts.blocks, block_positions(4, (4,), "zero"))
    frame = {name.removeprefix("frame."): value for name, value in gene.items() if name.startswith("frame.")}
    plain.load_state_dict({**frame, **grown})
    images = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(images), plain(images))


def test_gradients_are_sums_over_the_layers():
    network = make_auxiliary()
    images = torch.rand(3, 1, 16, 16)
    network(images).square().sum().backward()
    plain = VIT.build(make_spec()).train()
    gene, parts = network.state_dict(), VIT.parts(make_spec())
    positions = block_positions(4, (4,), "zero")
    tensors = {name.removeprefix("frame."): value for name, value in gene.items() if name.startswith("frame.")}
    tensors |= expand_blocks(gene, parts.blocks, positions)
    own = {name: value.clone().requires_grad_() for name, value in tensors.items()}
    functional_call(plain, own, (images,)).square().sum().backward()
    for name, parameter in network.offset[0].named_parameters():
        layers = [own[block[name]].grad for block in parts.blocks]
        assert torch.allclose(parameter.grad, sum(layers), rtol=1e-4, atol=1e-5)
        weighted = sum(coefficient * grad for (_, coefficient), grad in zip(positions, layers, strict=True))
        slope = network.slope[0].get_parameter(name).grad
        assert torch.allclose(slope, weighted, rtol=1e-4, atol=1e-5)
        assert float(parameter.grad.abs().max()) > 0


def test_initial_values_are_those_of_the_paper():
    torch.manual_seed(0)
    network = ExpandedNetwork(VIT, make_spec(width=64), (4,))
    for block in (*network.offset, *network.slope):
        weights = torch.cat([value.detach().flatten() for value in block.parameters() if value.ndim > 1])
        assert float(weights.std()) == pytest.approx(0.02, rel=0.02)
    offset, slope = dict(network.offset[0].named_parameters()), dict(network.slope[0].named_parameters())
    assert all(torch.equal(offset[f"norm{i}.weight"], torch.ones(64)) for i in (1, 2))
    assert all(not slope[name].any() for name in slope if slope[name].ndim == 1)
    assert all(not offset[name].any() for name in offset if name.endswith("bias"))


def test_trained_tensors_are_the_frame_and_two_blocks_per_segment():
    names = {name.split(".")[0] for name, _ in make_auxiliary(6, (2, 4)).named_parameters()}
    assert names == {"frame", "offset", "slope"}
    slopes = [name for name, _ in make_auxiliary(6, (2, 4)).named_parameters() if "slope" in name]
    assert {name.split(".")[1] for name in slopes} == {"0", "1"}
    assert not [name for name, _ in make_auxiliary(slopes=False).named_parameters() if "slope" in name]


@pytest.mark.parametrize(
    ("width", "heads", "parameters", "blocks"),
    [(192, 3, 1_268_392, 889_728), (384, 6, 4_305_256, 3_548_928), (768, 12, 15_687_400, 14_175_744)],
    ids=["Ti", "S", "B"],
)
def test_auxiliary_networks_have_the_published_numbers_of_parameters(width, heads, parameters, blocks):
    fields = {"image_size": 224, "channels": 3, "classes": 1000, "patch_size": 16}
    with torch.device("meta"):
        network = ExpandedNetwork(VIT, make_spec(**fields, depth=12, width=width, heads=heads), (12,))
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    assert sum(sizes.values()) == parameters
    assert sum(size for name, size in sizes.items() if not name.startswith("frame")) == blocks
    headless = sum(size for name, size in sizes.items() if not name.startswith("frame.head"))
    assert headless == {192: 1_075_392, 384: 3_920_256, 768: 14_918_400}[width]


def test_position_table_has_no_weight_decay():
    assert make_auxiliary().no_weight_decay() >= {"frame.pos_embed"}


def test_tensor_without_slope_expands_to_its_offset():
    offset = torch.rand(3)
    assert expand_tensor(offset, None, 0.7) is offset
    assert torch.equal(expand_tensor(offset, torch.ones(3), 0.5), offset + 0.5)


def test_paths_are_dropped_only_in_train_mode():
    network = ExpandedNetwork(VIT, make_spec(drop_path=0.9), (4,))
    with torch.no_grad():
        for block in network.offset:
            for parameter in block.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    images = torch.rand(4, 1, 16, 16)
    with torch.no_grad():
        network.train()
        assert not torch.equal(network(images), network(images))
        network.eval()
        assert torch.equal(network(images), network(images))
