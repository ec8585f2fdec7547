"""The pool as a network: paths equal their parts, sizes equal the published ones, and caps choose the best path."""

import statistics
import time

import pytest
import torch
from torch import nn

from germline.architectures import STITCHED, VIT, Size, StitchedSpec, VitSpec
from germline.errors import SettingError
from germline.methods.pool.paths import PoolLayout, PoolPath
from germline.methods.pool.sizes import PathSpecs
from germline.methods.pool.supernet import PoolNetwork
from germline.randomness import generator, use_generator
from germline.registry import architecture_of
from helpers.architecture_cases import count_parameters

FIELDS = {"image_size": 32, "channels": 1, "classes": 10, "patch_size": 8}
SPEC = VitSpec(depth=2, width=16, heads=2, **FIELDS)
DEIT = VitSpec(
    image_size=224,
    channels=3,
    classes=1000,
    depth=12,
    width=768,
    heads=12,
    patch_size=16,
    class_token=True,
    global_pool="token",
)
SIX = """44.08, 36.99, 44.52, 37.43, 30.35, 37.88, 30.79, 23.70, 31.24, 24.15, 17.06, 24.59, 17.50, 10.42, 17.95,
10.86"""
NINE = """65.34, 58.25, 65.78, 58.70, 51.61, 59.14, 52.05, 44.97, 52.50, 45.41, 38.32, 45.86, 38.77, 31.68, 39.21,
32.13, 25.04, 32.57, 25.48, 18.39, 25.93, 18.84, 11.75, 19.28, 12.20"""


def make_pool(layout=None, heads=(1, 2, 4), **changes):
    layout = layout or PoolLayout((8, 16, 24), 3, "all", 3)
    specs = PathSpecs.of(layout, SPEC.model_copy(update=changes), heads[: len(layout.widths)])
    with use_generator(generator(0, "pool")):
        models = {width: VIT.build(spec) for width, spec in specs.models.items()}
        pool = PoolNetwork(models, layout)
    with torch.no_grad():  # initial biases and tokens are zero and could hide a mistake
        for parameter in pool.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return pool.eval(), specs


def build_standalone(pool, specs, path):
    """Build the network of a path and copy its tensors by name."""
    spec, front, end = specs.spec(path), pool.model(path.widths[0]), pool.model(path.widths[-1])
    model, parts = architecture_of(spec).build(spec), architecture_of(spec).parts(spec)
    tensors = {name: front.state_dict()[name] for name in parts.stem}
    tensors |= {name: end.state_dict()[name] for name in (*parts.norm, *parts.head)}
    target = 0
    for index, (width, run) in enumerate(path.block_ranges(pool.layout.depth)):
        for at, block in enumerate(run):
            tensors |= {f"blocks.{target}.{k}": v for k, v in pool.model(width).blocks[block].state_dict().items()}
            if index and at == 0:
                stitch = pool.get_submodule(path.stitches()[index - 1].name)
                tensors |= {f"blocks.{target}.stitch.{k}": v for k, v in stitch.state_dict().items()}
            target += 1
    model.load_state_dict(tensors)
    return model.eval()


@pytest.fixture
def images():
    return torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


CHANGES = [
    {},
    {"class_token": True, "global_pool": "token", "init_values": 1e-5},
    {"norm_first": False, "reg_tokens": 2},
]


@pytest.mark.parametrize(("changes", "depth"), [(CHANGES[0], 2), (CHANGES[1], 1), (CHANGES[2], 1)], ids=str)
@torch.no_grad()
def test_every_path_equals_its_standalone_network(images, changes, depth):
    pool, specs = make_pool(PoolLayout((8, 16, 24), depth, "all", 3), **changes)
    seen = []
    for path in pool.layout.paths:
        pool.choose(path)
        seen.append(pool(images))
        assert torch.equal(seen[-1], build_standalone(pool, specs, path)(images)), path
    distinct = torch.stack(seen).flatten(1)
    assert len(distinct.unique(dim=0)) == len(pool.layout.paths)


@torch.no_grad()
def test_stitched_path_is_the_composition_of_its_parts(images):
    pool, _ = make_pool()
    pool.choose(PoolPath((8, 24), ((2, 3),)))
    small, large = pool.model(8), pool.model(24)
    tokens = small.patch_embed(images) + small.pos_embed
    tokens = small.blocks[1](small.blocks[0](tokens))
    tokens = large.blocks[2](pool.stitch["8-24"][1](tokens))
    assert torch.equal(pool(images), large.head(large.norm(tokens).mean(dim=1)))


@torch.no_grad()
def test_path_of_one_width_is_the_auxiliary_model(images):
    pool, _ = make_pool()
    for width in (8, 16, 24):
        pool.choose(PoolPath((width,)))
        assert torch.equal(pool(images), pool.model(width)(images))


@torch.no_grad()
def test_every_path_applies_the_final_norm(images):
    pool, _ = make_pool()
    for path in (PoolPath((24,)), PoolPath((8, 24), ((2, 3),))):
        pool.choose(path)
        before = pool(images)
        pool.model(24).norm.weight.mul_(3)
        assert not torch.allclose(pool(images), before)


@torch.no_grad()
def test_one_call_computes_several_paths(images):
    pool, _ = make_pool()
    paths = pool.layout.paths[:3]
    pool.choose(*paths)
    together = pool(images)
    assert isinstance(together, tuple)
    for path, logits in zip(paths, together, strict=True):
        pool.choose(path)
        assert torch.equal(pool(images), logits)


@torch.no_grad()
def test_tokens_are_those_between_blocks(images):
    pool, _ = make_pool()
    tokens = pool.tokens(16, images)
    assert [tuple(one.shape) for one in tokens] == [(3, 16, 16)] * 4
    assert torch.equal(pool.model(16).blocks[1](tokens[1]), tokens[2])
    assert torch.equal(pool.model(16).forward_features(images), pool.model(16).norm(tokens[3]))


def test_choosing_a_path_copies_no_weights_and_is_fast(images):
    pool, _ = make_pool(PoolLayout((8, 16), 12), heads=(1, 2))
    addresses = {name: parameter.data_ptr() for name, parameter in pool.named_parameters()}
    seconds = []
    for path in pool.layout.paths:  # each path is chosen for the first time
        start = time.perf_counter()
        pool.choose(path)
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 1e-3
    assert {name: parameter.data_ptr() for name, parameter in pool.named_parameters()} == addresses
    own = {id(parameter) for parameter in pool.parameters()}
    assert {id(p) for step in pool.route(pool.layout.paths[-1]).steps for p in step.parameters()} <= own


@pytest.mark.parametrize("pairs", ["nearest", "all"])
def test_only_tensors_of_the_path_have_gradients(images, pairs):
    pool, _ = make_pool(PoolLayout((8, 16, 24), 2, pairs, 3))
    reached = set()
    for path in pool.layout.paths:
        pool.zero_grad()
        pool.choose(path)
        pool(images).square().sum().backward()
        own = {id(p) for step in pool.route(path).steps for p in step.parameters()}
        for name, parameter in pool.named_parameters():
            in_block_or_stitch = ".blocks." in name or name.startswith("stitch.")
            assert not in_block_or_stitch or (parameter.grad is not None) == (id(parameter) in own), (path, name)
        for stitch in path.stitches():
            assert pool.get_submodule(stitch.name).weight.grad.abs().max() > 0
            reached.add(stitch)
    assert reached == set(pool.layout.stitches)
    assert len(reached) == len([name for name in pool.state_dict() if name.startswith("stitch.")]) // 2


def test_step_with_weight_decay_changes_only_the_path(images):
    pool, _ = make_pool(PoolLayout((8, 16), 3), heads=(1, 2))
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    optimizer = torch.optim.AdamW(pool.parameters(), lr=0.1, weight_decay=0.5)
    pool.choose(PoolPath((8, 16), ((1, 2),)))
    pool(images).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in pool.state_dict().items() if not torch.equal(value, before[name])}
    parts = {".".join(name.split(".")[:3]) for name in changed if ".blocks." in name or "stitch" in name}
    assert parts == {"8.blocks.0", "stitch.8-16.0", "16.blocks.1", "16.blocks.2"}
    assert {name.split(".")[0] for name in changed if "head" in name} == {"16"}
    assert {name.split(".")[0] for name in changed if "pos_embed" in name} == {"8"}


def test_unknown_path_is_refused(images):
    pool, _ = make_pool()
    for path in (PoolPath((8, 24), ((1, 3),)), PoolPath((9,)), PoolPath((24, 8), ((1, 1),))):
        with pytest.raises(SettingError, match=f"has no path {path}"):
            pool.choose(path)
    assert pool.chosen == (PoolPath((24,)),)


def test_pool_has_no_weight_decay_where_its_models_have_none():
    pool, _ = make_pool(PoolLayout((8, 16), 2), heads=(1, 2), class_token=True)
    assert pool.no_weight_decay() == {
        f"{width}.{name}" for width in (8, 16) for name in pool.model(8).no_weight_decay()
    }
    assert {"8.pos_embed", "16.cls_token"} <= pool.no_weight_decay()


@pytest.mark.parametrize(("depth", "listed"), [(6, SIX), (9, NINE)])
def test_paths_have_the_published_parameters(depth, listed):
    """Parameters of every path agree to 0.01 million; stitched paths have the published order."""
    layout = PoolLayout((192, 768), depth)
    specs = PathSpecs.of(layout, DEIT, (3, 12))
    found = [specs.count(path).parameters / 1e6 for path in layout.paths]
    expected = [{6: 3.05, 9: 4.38}[depth], {6: 44.04, 9: 65.30}[depth], *map(float, listed.split(","))]
    assert len(found) == len(expected) == {6: 18, 9: 27}[depth]
    assert max(abs(one - other) for one, other in zip(found, expected, strict=True)) < 0.01


def test_pools_have_the_published_parameters():
    for depth, millions in ((6, 47.83), (9, 70.87)):
        specs = PathSpecs.of(PoolLayout((192, 768), depth), DEIT, (3, 12))
        with torch.device("meta"):
            pool = PoolNetwork({width: VIT.build(spec) for width, spec in specs.models.items()}, specs.layout)
        assert sum(parameter.numel() for parameter in pool.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_counts_equal_those_of_built_networks(changes):
    layout = PoolLayout((8, 16, 24), 3, "all", 3)
    specs = PathSpecs.of(layout, SPEC.model_copy(update=changes), (1, 2, 4))
    for path in layout.paths[::9]:
        spec, count = specs.spec(path), specs.count(path)
        architecture = architecture_of(spec)
        assert count.parameters == count_parameters(architecture, spec)
        assert count.headless == count.parameters - (path.widths[-1] + 1) * 10
        assert count.flops == architecture.flops(spec)


def test_path_has_the_spec_of_its_parts():
    specs = PathSpecs.of(
        PoolLayout((8, 16, 24), 3, "nearest", 3), SPEC.model_copy(update={"class_token": True}), (1, 2, 4)
    )
    assert specs.spec(PoolPath((8,))) == SPEC.model_copy(
        update={"class_token": True, "depth": 3, "width": 8, "heads": 1}
    )
    stitched = specs.spec(PoolPath((8, 16, 24), ((2, 1), (2, 3))))
    assert isinstance(stitched, StitchedSpec)
    assert (stitched.depths, stitched.widths, stitched.heads) == ((2, 2, 1), (8, 16, 24), (1, 2, 4))
    assert stitched.class_token
    assert sum(p.numel() for p in STITCHED.build(stitched).parameters()) > 0
    with pytest.raises(SettingError, match="width=8 with heads=3"):
        PathSpecs.of(PoolLayout((8, 16), 2), SPEC, (3, 2))


def make_record(specs, accuracies):
    return [
        {"size": str(path), "accuracy": accuracy} for path, accuracy in zip(specs.layout.paths, accuracies, strict=True)
    ]


def test_cap_chooses_the_most_accurate_path_below_it():
    specs = PathSpecs.of(PoolLayout((8, 16), 2), SPEC, (1, 2))
    paths = specs.layout.paths
    counts = [specs.count(path) for path in paths]
    rising = make_record(specs, [0.1 * index for index in range(6)])
    everything = Size(max_params=10**9)
    assert specs.best_below(everything, rising) == paths[5]
    assert specs.best_below(Size(max_params=counts[0].parameters), rising) == paths[0]
    for index in range(6):
        caps = Size(max_params=counts[index].parameters)
        fitting = [at for at in range(6) if counts[at].parameters <= counts[index].parameters]
        assert specs.best_below(caps, rising) == paths[max(fitting)]
        by_flops = [at for at in range(6) if counts[at].flops <= counts[index].flops]
        assert specs.best_below(Size(max_flops=counts[index].flops), rising) == paths[max(by_flops)]
        both = Size(max_params=counts[index].parameters, max_flops=counts[0].flops)
        assert specs.best_below(both, rising) == paths[0]
    # The smaller of two equally accurate paths is chosen.
    assert specs.best_below(everything, make_record(specs, [0.5] * 6)) == paths[0]


def test_error_of_a_small_cap_names_the_smallest_path():
    specs = PathSpecs.of(PoolLayout((8, 16), 2), SPEC, (1, 2))
    smallest = specs.count(PoolPath((8,)))
    for caps in (Size(max_params=smallest.parameters - 1), Size(max_flops=smallest.flops - 1)):
        message = f"cannot grow {caps}. Its smallest path, width=8, has {smallest.parameters:,} parameters"
        with pytest.raises(SettingError, match=message):
            specs.best_below(caps, make_record(specs, [0.5] * 6))


def test_pool_loads_a_state_dict_of_another_pool(images):
    pool, specs = make_pool(PoolLayout((8, 16), 2), heads=(1, 2))
    with torch.device("meta"):
        other = PoolNetwork({width: VIT.build(spec) for width, spec in specs.models.items()}, specs.layout)
    other.load_state_dict(pool.state_dict(), assign=True)
    path = PoolPath((8, 16), ((2, 2),))
    pool.choose(path)
    other.eval().choose(path)
    assert torch.equal(pool(images), other(images))
    assert isinstance(other.get_submodule("stitch.8-16.0"), nn.Linear)
    assert set(pool.state_dict()) >= {"8.pos_embed", "16.blocks.1.attn.qkv.weight", "stitch.8-16.0.bias"}
