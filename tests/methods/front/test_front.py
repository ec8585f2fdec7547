"""FRONT: the ancestor's size, planted low frequencies, scale rules, separate query, key and value, and gene size."""

import math

import pytest
import torch

from germline.architectures import VIT, ResNet12Spec, ResNetSpec, Size, VggSpec
from germline.errors import SettingError
from germline.export import export
from germline.learngene import Learngene
from germline.methods.front import cosine
from germline.methods.front.cosine import cosine_basis, count_kept
from germline.methods.front.method import FRONT
from germline.methods.front.roles import list_roles
from germline.training import Run

RUN = Run(device="cpu", quiet=True)
FREQUENCIES = 2  # number of frequencies of a planted network along every axis
# Depth, width and heads; every axis has at least as many elements as there are frequencies.
SIZES = [(4, 16, 4), (5, 24, 4), (2, 8, 2)]
# Power of an axis' size by which a matrix is scaled. It makes the coefficients the same at every size.
POWERS = {"orthonormal": -0.5, "public": -1.0, "smooth": 0.0, "matched": 0.0}


def condense(network, data, **settings):
    return FRONT(**settings).condense(network, data, RUN)


def list_matrices(gene):
    roles = list_roles(gene.spec, gene.bound_method().hidden)
    return {key: role for key, role in roles.items() if role.is_matrix}


def sample(sizes, powers, seed):
    """Sample one sum of low-frequency cosines on a grid; `powers` scale each axis."""
    values = torch.randn([FREQUENCIES] * len(sizes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for size, power in zip(sizes, powers, strict=True):
        points = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        waves = torch.cos(math.pi * torch.arange(FREQUENCIES, dtype=torch.float64)[:, None] * points) * size**power
        values = torch.tensordot(values, waves, dims=([0], [0]))
    return values.float()


def plant(network, scale):
    """Write low-frequency cosines into every tensor. The scale rules are written here independently of FRONT."""
    spec, matrix = network.spec, POWERS[scale]
    depth, width, heads = spec.depth, spec.width, spec.heads
    length, hidden, state = width // heads, 4 * width, network.model.state_dict()
    inner = {
        "attn.proj.weight": (width, heads, length),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc2.weight": (width, hidden),
        "mlp.fc1.bias": (hidden,),
    }
    for seed, name in enumerate(VIT.parts(spec).blocks[0]):
        if name.startswith("attn.qkv"):
            # Query, key and value have different random values.
            axes = (depth, heads, length, width) if name.endswith("weight") else (depth, heads, length)
            power = matrix if name.endswith("weight") else 0.0
            stack = torch.stack([sample(axes, [power] * len(axes), 100 + 10 * seed + i) for i in range(3)], dim=1)
        else:
            axes = (depth, *inner.get(name, (width,)))
            stack = sample(axes, [matrix if len(axes) > 2 else 0.0] * len(axes), seed)
        for index, values in enumerate(stack):
            target = state[f"blocks.{index}.{name}"]
            target.copy_(values.reshape(target.shape))
    for seed, name in enumerate(("norm.weight", "norm.bias"), 50):
        state[name].copy_(sample((width,), (0.0,), seed))
    for seed, name in enumerate(("cls_token", "pos_embed"), 60):
        for token in range(state[name].shape[1]):
            state[name][0, token].copy_(sample((width,), (0.0,), seed + token))
    for row in range(spec.classes):
        state["head.weight"][row].copy_(sample((width,), (-1.0,), 80 + row))
    return network


@pytest.fixture(scope="module")
def build(make_network):
    def build_size(size, seed=0, **changes):
        depth, width, heads = size
        return make_network(depth=depth, width=width, heads=heads, seed=seed, **changes)

    return build_size


@pytest.fixture(scope="module")
def random_network(build):
    """Blocks of one width with LayerScale, class token and norms of queries and keys."""
    return build((3, 16, 2), class_token=True, init_values=0.1, qk_norm=True)


@pytest.fixture(scope="module")
def full_gene(random_network, pico):
    return condense(random_network, pico)


def test_basis_is_orthonormal_and_a_smaller_basis_is_its_first_rows():
    basis = cosine_basis(7, 7)
    assert torch.allclose(basis @ basis.T, torch.eye(7, dtype=torch.float64), atol=1e-14)
    assert torch.equal(cosine_basis(7, 3), basis[:3])
    assert [count_kept(size, 0.5) for size in (1, 3, 4, 5)] == [1, 2, 2, 3]
    assert count_kept(30, 0.1) == 3


@pytest.mark.parametrize(
    "settings", [{}, {"hidden": "units"}, *({"scale": scale} for scale in ("public", "smooth", "matched"))], ids=str
)
def test_descendant_of_the_ancestor_s_size_has_the_same_logits(ancestor, pico, pixels, settings):
    child = condense(ancestor, pico, **settings).inherit()
    with torch.no_grad():
        assert torch.allclose(child.network.logits(pixels), ancestor.logits(pixels), atol=1e-5)
    totals = child.ledger.totals()
    assert set(totals) == {"generated", "copied"}
    assert totals["copied"] == 10  # the elements of the head's bias


@pytest.mark.parametrize("architecture", ["vgg", "resnet12", "resnet"])
def test_descendant_of_a_cnn_s_size_has_the_same_logits(ancestors, architecture, pico, pixels):
    network = ancestors[architecture]
    with torch.no_grad():
        logits = condense(network, pico).inherit().network.logits(pixels)
        assert torch.allclose(logits, network.logits(pixels), atol=1e-5)


@pytest.mark.parametrize("scale", POWERS)
def test_planted_low_frequencies_are_recovered_at_every_size(build, pico, scale):
    planted = {size: plant(build(size, seed, class_token=True), scale) for seed, size in enumerate(SIZES)}
    # A share of the coefficients is enough if it has the planted ones.
    for size, keep in ((SIZES[0], 0.5), (SIZES[1], 0.4), (SIZES[2], 1.0)):
        gene = condense(planted[size], pico, scale=scale, keep=keep)
        for (depth, width, heads), other in planted.items():
            tensors = gene.inherit(size=Size(depth=depth, width=width, heads=heads)).model.state_dict()
            for name, values in other.model.state_dict().items():
                if not name.startswith(("head.bias", "patch_embed")):
                    assert torch.allclose(tensors[name], values, atol=2e-5), (size, other.spec, name)


@pytest.mark.parametrize("limit", [1, 500])
def test_stacks_computed_in_parts_have_the_same_values(full_gene, monkeypatch, limit):
    size = Size(depth=5, width=24, heads=2)
    expected = full_gene.inherit(size).model.state_dict()
    monkeypatch.setattr(cosine, "PART_ELEMENTS", limit)
    tensors = full_gene.inherit(size).model.state_dict()
    assert list(tensors) == list(expected)
    for name, values in expected.items():
        assert torch.allclose(tensors[name], values, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("scale", "power"), [("orthonormal", 0.0), ("public", 1.0), ("smooth", -1.0)])
def test_energy_of_matrices_follows_the_scale_rule(random_network, pico, scale, power):
    gene = condense(random_network, pico, scale=scale)
    for size in (Size(depth=5, width=24, heads=3), Size(depth=2, width=8, heads=2)):
        child = gene.inherit(size=size)
        state, roles = child.model.state_dict(), list_roles(child.network.spec, "transform")
        for key, source in list_matrices(gene).items():
            stored, ratio = gene.tensors[key].double(), 1.0
            for dim, (before, after) in enumerate(zip(source.axes, roles[key].axes, strict=True)):
                stored = stored.narrow(dim, 0, min(before.size, after.size))
                ratio *= before.size / after.size
            energy = sum(state[name].double().square().sum() for name in roles[key].names)
            assert energy.item() == pytest.approx(stored.square().sum().item() * ratio**power, rel=1e-5), key
    # With hidden=units, matrices follow the rule only along depth.
    units = condense(random_network, pico, scale=scale, hidden="units")
    deeper = units.inherit(size=Size(depth=6)).model.state_dict()
    for name in ("mlp.fc1.weight", "mlp.fc2.weight"):
        energy = sum(deeper[f"blocks.{block}.{name}"].double().square().sum() for block in range(6)).item()
        assert energy == pytest.approx(units.tensors[f"blocks.{name}"].square().sum().item() * 0.5**power, rel=1e-5)


def test_matched_scale_restores_the_deviation_of_query_key_and_value(random_network, pico):
    child = condense(random_network, pico, scale="matched", keep=0.5).inherit(size=Size(depth=5, width=8))
    for name in ("attn.qkv", "mlp.fc2"):
        stacks = [
            torch.stack([block.get_submodule(name).weight for block in network.blocks])
            for network in (child.model, random_network.model)
        ]
        parts = [stack.chunk(3, 1) if name == "attn.qkv" else (stack,) for stack in stacks]
        for child_part, ancestor_part in zip(*parts, strict=True):
            deviation = ancestor_part.std(correction=0).item()
            assert child_part.std(correction=0).item() == pytest.approx(deviation, rel=1e-5)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_query_key_and_value_have_separate_coefficients(build, pico, part):
    network = build((2, 16, 2))
    before = condense(network, pico, keep=0.75)
    rows = slice(16 * part, 16 * (part + 1))
    with torch.no_grad():
        for block in network.model.blocks:
            block.attn.qkv.weight[rows] += 1
            block.attn.qkv.bias[rows] += 1
    after = condense(network, pico, keep=0.75)
    changed = {key for key, value in after.tensors.items() if not torch.equal(value, before.tensors[key])}
    assert changed == {"blocks.attn.qkv.weight", "blocks.attn.qkv.bias"}
    for key in changed:
        same = [torch.equal(after.tensors[key][:, i], before.tensors[key][:, i]) for i in range(3)]
        assert same == [i != part for i in range(3)]
    size = Size(depth=3, width=24, heads=3)
    mine, own = (gene.inherit(size=size).model.blocks[1].attn.qkv.weight for gene in (after, before))
    assert [torch.equal(a, b) for a, b in zip(mine.chunk(3), own.chunk(3), strict=True)] == same


def resample(stream, width):
    """Sample a smooth signal along the last axis at another number of points."""
    own = stream.shape[-1]
    matrix = math.sqrt(width / own) * cosine_basis(width, own).T @ cosine_basis(own, own)
    return stream @ matrix.T.float()


def test_layers_compute_the_same_on_resampled_streams(random_network, pico):
    stream = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    own = random_network.model.blocks[1]
    child = condense(random_network, pico, hidden="units").inherit(size=Size(width=24, heads=3)).model.blocks[1]
    heads = resample(stream.unflatten(-1, (2, 8)).transpose(-1, -2), 3).transpose(-1, -2).flatten(-2)
    with torch.no_grad():
        assert torch.allclose(child.attn.proj(heads), resample(own.attn.proj(stream), 24), atol=1e-5)
        assert torch.allclose(child.mlp(resample(stream, 24)), resample(own.mlp(stream), 24), atol=1e-5)


def test_hidden_units_are_repeated_or_dropped_as_units(random_network, pico):
    gene = condense(random_network, pico, hidden="units", keep=0.5)
    assert gene.tensors["blocks.mlp.fc1.weight"].shape == (2, 64, 8)
    wide = gene.inherit(size=Size(width=32)).model.blocks[0].mlp
    assert torch.equal(wide.fc1.weight[0::2], wide.fc1.weight[1::2])
    assert torch.equal(wide.fc2.weight[:, 0::2], wide.fc2.weight[:, 1::2])
    narrow = gene.inherit(size=Size(width=8)).model.blocks[0].mlp
    own = gene.inherit().model.blocks[0].mlp
    assert torch.allclose(narrow.fc1.bias, own.fc1.bias[::2], atol=1e-6)


@pytest.mark.parametrize("missing", ["gaussian", "repeat"])
def test_missing_coefficients_are_noise_or_repeated(random_network, pico, missing):
    gene = condense(random_network, pico, missing=missing)
    child, other = (gene.inherit(size=Size(width=32, heads=2), seed=seed) for seed in (0, 1))
    state, plain = child.model.state_dict(), condense(random_network, pico).inherit(size=Size(width=32)).model
    for name, values in plain.state_dict().items():
        is_matrix = name.startswith("blocks") and values.ndim == 2
        assert torch.equal(state[name], values) != is_matrix, name
    assert torch.equal(other.model.blocks[0].mlp.fc1.weight, child.model.blocks[0].mlp.fc1.weight) == (
        missing == "repeat"
    )
    found = condense(child.network, pico).tensors["blocks.mlp.fc1.weight"]
    stored = gene.tensors["blocks.mlp.fc1.weight"]
    assert torch.allclose(found[:, :64, :16], stored, atol=1e-5)
    if missing == "repeat":
        assert torch.allclose(found, stored.repeat(1, 2, 2), atol=1e-5)
    else:
        assert found[:, 64:].square().mean().sqrt().item() == pytest.approx(
            stored.square().mean().sqrt().item(), rel=0.1
        )


@pytest.mark.parametrize("keep", [0.25, 0.5, 1.0])
def test_keep_is_the_share_of_each_axis_and_the_cost_includes_it(random_network, pico, keep, tmp_path):
    gene = condense(random_network, pico, keep=keep, scale="matched")
    stored = gene.bound_method().cost(gene.spec, 0, 0).stored
    assert stored == {key: value.numel() for key, value in gene.tensors.items()}
    depth = {0.25: 1, 0.5: 2, 1.0: 3}[keep]
    assert gene.tensors["blocks.mlp.fc1.weight"].shape == (depth, 64 * keep, 16 * keep)
    gene.save(tmp_path / "gene")
    loaded = Learngene.load(tmp_path / "gene")
    assert all(torch.equal(value, loaded.tensors[key]) for key, value in gene.tensors.items())
    file = (tmp_path / "gene" / "learngene.safetensors").stat().st_size
    assert file < gene.count_bytes() + 4096
    total = sum(value.numel() for value in random_network.model.state_dict().values())
    if keep < 1:  # every matrix shrinks along at least three axes
        assert gene.count_bytes() / 4 < total * keep


def test_logits_are_the_same_when_blocks_add_nothing(build, pico, pixels):
    network = build((2, 16, 2))
    with torch.no_grad():
        for block in network.model.blocks:
            block.attn.proj.weight.zero_()
            block.mlp.fc2.weight.zero_()
        child = condense(network, pico).inherit(size=Size(depth=3, width=40, heads=5))
        assert torch.allclose(child.network.logits(pixels), network.logits(pixels), atol=1e-5)


def test_descendant_can_have_other_images_and_classes(full_gene, random_network, pixels):
    child = full_gene.inherit(size=Size(width=24, heads=3), classes=3, channels=3, image_size=64)
    assert set(child.ledger.totals()) == {"generated", "resized", "adapted", "fresh"}
    assert child.ledger.entries["pos_embed"] == {"resized": child.model.pos_embed.numel()}
    assert full_gene.bound_method().check_size(full_gene, child.network.spec) is None
    assert "larger" in full_gene.describe_sizes()


def test_descendant_can_be_exported(full_gene, tmp_path):
    child = full_gene.inherit(size=Size(depth=1, width=24, heads=3))
    assert export(child.network, tmp_path / "net.pt2", "torch.export") <= 1e-5


def test_stages_gain_and_lose_blocks_of_one_shape(make_convolutional, pico, pixels):
    vgg = make_convolutional(VggSpec, widths=((4,), (8, 8, 8)))
    # With these values, a transform of the variances themselves gives negative numbers.
    for unit in vgg.model.stages[1].blocks:
        unit.norm.running_var.copy_(torch.tensor([1e-3, 4.0, 1e-3, 1e-3, 4.0, 4.0, 1e-3, 1e-3]))
    gene = condense(vgg, pico)
    assert gene.tensors["stages.1.rest.conv.weight"].shape == (2, 8, 8, 3, 3)
    child = gene.inherit(size=Size(depth2=5, width=6))
    assert {"generated", "copied"} == set(child.ledger.totals())
    for state in (gene.inherit(size=Size(width=16)).model.state_dict(), child.model.state_dict()):
        assert all(bool((value > 0).all()) for name, value in state.items() if name.endswith("running_var"))
    assert state["stages.1.blocks.4.norm.num_batches_tracked"] == 1
    assert child.ledger.entries["stages.1.blocks.4.norm.num_batches_tracked"] == {"copied": 1}
    assert child.network.logits(pixels).isfinite().all()
    assert gene.inherit(size=Size(depth2=1)).network.spec.stages == (1, 1)


@pytest.mark.parametrize(
    ("spec_type", "sizes", "size", "message"),
    [
        (VggSpec, {"widths": ((4,), (8,))}, {"depth1": 2}, "depth1=2. Stage 1 .* has one block.* Use depth1=1.$"),
        (VggSpec, {"widths": ((4,), (8, 6, 8))}, {"depth2": 2}, "depth2=2.*several shapes.*=1 or depth2=3.$"),
        (
            VggSpec,
            {"widths": ((4,), (8,)), "hidden": (8,)},
            {"width": 8},
            "width=8. .*head.dense.0.weight.*Use width=4.$",
        ),
        (
            ResNet12Spec,
            {"depths": (1, 1), "widths": (4, 8)},
            {"depth2": 2},
            "depth2=2. Stage 2 .*one block.*Use depth2=1.$",
        ),
        (
            ResNetSpec,
            {"depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "stem_type": "small", "stem_width": 8},
            {"width1": 4},
            "width1=4. .*needs 'layer1.0.downsample.*no tensor.*Use width1=8, or width alone",
        ),
        (
            ResNetSpec,
            {"depths": (1, 1, 1, 1), "widths": (4, 8, 8, 8), "stem_type": "small", "stem_width": 8},
            {"width1": 8},
            "width1=8. .*has no 'layer1.0.downsample.*Use width1=4, or width alone",
        ),
    ],
    ids=["one unit", "several widths", "hidden layers", "one block", "new shortcut", "lost shortcut"],
)
def test_sizes_without_a_source_are_refused(make_convolutional, pico, spec_type, sizes, size, message):
    gene = condense(make_convolutional(spec_type, **sizes), pico)
    with pytest.raises(SettingError, match=f"(?s)cannot grow {message}"):
        gene.inherit(size=Size(**size))


def test_first_block_of_one_stage_is_apart(make_convolutional, pico, pixels):
    """It reads the images, so that its kernel has another shape than the others'."""
    network = make_convolutional(VggSpec, widths=((4, 4, 4),))
    gene = condense(network, pico)
    child = gene.inherit()
    with torch.no_grad():
        assert torch.allclose(child.network.logits(pixels), network.logits(pixels), atol=1e-5)
    assert gene.inherit(size=Size(depth1=5)).network.spec.widths == ((4,) * 5,)


def test_stitched_ancestor_is_refused(ancestors, pico):
    with pytest.raises(SettingError, match=r"'front' cannot condense a stitched. It knows .*of vit, vgg, resnet12"):
        condense(ancestors["stitched"], pico)


def test_settings_outside_their_range_are_refused(full_gene, pico):
    for settings in ({"keep": 0}, {"keep": 1.5}, {"keep": float("nan")}, {"scale": "other"}, {"missing": "ones"}):
        with pytest.raises(SettingError, match=next(iter(settings))):
            FRONT(**settings)
    with pytest.raises(SettingError, match="width=18 with heads=4"):
        full_gene.inherit(size=Size(width=18, heads=4))
    with pytest.raises(SettingError, match="'front' needs an ancestor"):
        FRONT().condense(None, pico, RUN)


def test_preset_sets_only_settings_that_are_not_given():
    assert (FRONT(preset="paper").scale, FRONT().scale) == ("public", "orthonormal")
    assert (FRONT(preset="tiny").keep, FRONT(preset="tiny", keep=0.5).keep) == (0.75, 0.5)
