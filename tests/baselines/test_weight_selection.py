"""Weight selection: which element of the ancestor stands where in a descendant."""

import pytest
import torch
from pydantic import ValidationError

from germline.architectures import VIT, ResNet12Spec, ResNetSpec, Size, VggSpec, count_elements
from germline.baselines.weight_selection import WeightSelection
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.methods.slicing import choose_indices, slice_evenly
from germline.training import Run

RUN = Run(device="cpu", quiet=True)


def condense(ancestor, images, **settings):
    return WeightSelection(**settings).condense(ancestor, images, RUN)


@pytest.fixture(scope="module")
def wide(make_network):
    """Six blocks of width 64 in two heads."""
    return make_network(depth=6, width=64, heads=2)


@pytest.fixture(scope="module")
def wide_gene(wide, pico):
    return condense(wide, pico)


def test_even_choice_is_the_floor_of_the_ratio():
    assert choose_indices("even", 8, 4) == (0, 2, 4, 6)
    assert choose_indices("even", 7, 3) == (0, 2, 4)
    assert choose_indices("even", 5, 5) == (0, 1, 2, 3, 4)
    assert choose_indices("first", 7, 3) == (0, 1, 2)
    assert choose_indices("last", 7, 3) == (4, 5, 6)
    taken = slice_evenly(torch.arange(24).view(4, 6), (2, 3))
    assert taken.tolist() == [[0, 2, 4], [12, 14, 16]]
    assert slice_evenly(torch.tensor(7), ()).item() == 7


@pytest.mark.parametrize(("width", "heads"), [(32, 1), (32, 2), (48, 2), (20, 1)])
def test_query_key_and_value_come_from_their_own_and_rows_fit_columns(wide, wide_gene, width, heads):
    child = wide_gene.inherit(size=Size(width=width, heads=heads)).model
    index = torch.tensor([i * 64 // width for i in range(width)])
    ours, theirs = child.blocks[3], wide.model.blocks[3]
    for mine, own in zip(ours.attn.qkv.weight.chunk(3), theirs.attn.qkv.weight.chunk(3), strict=True):
        assert torch.equal(mine, own[index][:, index])
    for mine, own in zip(ours.attn.qkv.bias.chunk(3), theirs.attn.qkv.bias.chunk(3), strict=True):
        assert torch.equal(mine, own[index])
    hidden = torch.tensor([i * 64 // width for i in range(4 * width)])
    assert torch.equal(ours.attn.proj.weight, theirs.attn.proj.weight[index][:, index])
    assert torch.equal(ours.mlp.fc1.weight, theirs.mlp.fc1.weight[hidden][:, index])
    assert torch.equal(ours.mlp.fc2.weight, theirs.mlp.fc2.weight[index][:, hidden])
    assert torch.equal(child.norm.weight, wide.model.norm.weight[index])
    assert torch.equal(child.pos_embed, wide.model.pos_embed[:, :, index])
    assert torch.equal(child.patch_embed.proj.weight, wide.model.patch_embed.proj.weight[index])
    assert torch.equal(child.head.weight, wide.model.head.weight[:, index])


def test_the_stem_of_the_cut_computes_a_cut_of_the_stem(make_network, pico, pixels):
    network = make_network(depth=1, width=16, heads=2)
    child = condense(network, pico).inherit(size=Size(width=8, heads=1)).network
    images = child.preprocess(pixels)
    with torch.no_grad():
        mine = child.model.patch_embed(images) + child.model.pos_embed
        own = network.model.patch_embed(images) + network.model.pos_embed
    assert torch.allclose(mine, own[:, :, ::2], atol=1e-6)


@pytest.mark.parametrize(("layers", "taken"), [("first", (0, 1, 2, 3)), ("even", (0, 1, 3, 4))])
def test_which_blocks_a_shallower_descendant_takes(wide, pico, layers, taken):
    child = condense(wide, pico, layers=layers).inherit(size=Size(depth=4)).model
    for block, index in zip(child.blocks, taken, strict=True):
        own = wide.model.blocks[index].state_dict()
        assert all(torch.equal(value, own[name]) for name, value in block.state_dict().items())


def test_the_ancestor_s_size_is_a_plain_copy(ancestor, pico, pixels):
    child = condense(ancestor, pico).inherit()
    own = ancestor.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in child.model.state_dict().items())
    assert child.ledger.totals() == {"copied": sum(value.numel() for value in own.values())}
    with torch.no_grad():
        assert torch.equal(child.network.logits(pixels), ancestor.logits(pixels))


def test_the_ledger_says_what_was_sliced(wide_gene):
    child = wide_gene.inherit(size=Size(width=32, heads=1, depth=2))
    whole = sum(value.numel() for value in child.model.state_dict().values())
    # The head's bias has an element a class whatever the width.
    assert child.ledger.totals() == {"copied": 10, "sliced": whole - 10}
    fresh = wide_gene.inherit(size=Size(width=32, heads=1, depth=2), classes=3, channels=3, image_size=64)
    stem, table, head = 32 * 3 * 8 * 8, 64 * 32, 32 * 3 + 3
    inside = 2 * (12 * 32**2 + 13 * 32) + 32 + 2 * 32
    assert fresh.ledger.totals() == {"sliced": inside, "resized": table, "adapted": stem, "fresh": head}
    assert fresh.model.pos_embed.shape == (1, 64, 32)


def test_grey_to_colour_after_slicing_keeps_the_function(wide_gene, pixels):
    size = Size(width=32, heads=1)
    grey, colour = wide_gene.inherit(size=size).network, wide_gene.inherit(size=size, channels=3).network
    with torch.no_grad():
        assert torch.allclose(grey.logits(pixels), colour.logits(pixels), atol=1e-5)


@pytest.mark.parametrize("size", [{"depth": 7}, {"width": 128}, {"heads": 4}, {"width": 96, "heads": 1, "depth": 1}])
def test_a_target_that_is_larger_in_any_way_is_refused(wide_gene, size):
    with pytest.raises(SettingError, match=r"'weight-selection' cannot grow .*Use (depth=6|width=64|heads=2) or less"):
        wide_gene.inherit(size=Size(**size))


def test_a_tensor_that_would_have_to_grow_is_refused(make_network, pico):
    gene = condense(make_network(width=32, heads=2, qk_norm=True), pico)
    assert gene.inherit(size=Size(width=16)).model.blocks[0].attn.q_norm.weight.shape == (8,)
    with pytest.raises(SettingError, match=r"q_norm.weight' of shape \(24,\).*has shape \(16,\)"):
        gene.inherit(size=Size(width=24, heads=1))


def test_a_descendant_s_tensors_are_its_own_and_the_gene_survives_the_disk(wide, pico, tmp_path):
    gene = condense(wide, pico, layers="even")
    gene.save(tmp_path / "gene")
    loaded = Learngene.load(tmp_path / "gene")
    assert loaded.bound_method() == WeightSelection(layers="even")
    first, again = (one.inherit(size=Size(depth=3, width=32)) for one in (gene, loaded))
    before = {name: value.clone() for name, value in again.model.state_dict().items()}
    with torch.no_grad():
        for parameter in first.model.parameters():
            parameter.zero_()
    fresh = gene.inherit(size=Size(depth=3, width=32)).model.state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in before.items())
    assert VIT.describe(first.model).width == 32
    assert loaded.describe_sizes() == "any size up to the ancestor's own, of at most 6 blocks"


def test_bad_settings_and_no_ancestor_are_refused(pico):
    with pytest.raises(ValidationError):
        WeightSelection(layers="last")
    with pytest.raises(SettingError, match="'weight-selection' needs an ancestor"):
        WeightSelection().condense_spec(None, pico)


def test_convolutions_and_their_statistics_are_cut_alike(make_convolutional, pico):
    vgg = make_convolutional(VggSpec, widths=((8, 8), (12, 12, 12)))
    child = condense(vgg, pico).inherit(size=Size(width1=4, width2=9, depth2=2))
    narrow, wide = torch.tensor([0, 2, 4, 6]), torch.tensor([0, 1, 2, 4, 5, 6, 8, 9, 10])
    reads = [None, narrow, narrow, wide]
    writes = [narrow, narrow, wide, wide]
    sources = ["stages.0.blocks.0", "stages.0.blocks.1", "stages.1.blocks.0", "stages.1.blocks.1"]
    for source, inputs, outputs in zip(sources, reads, writes, strict=True):
        mine, own = child.model.get_submodule(source), vgg.model.get_submodule(source)
        kernel = own.conv.weight[outputs]
        assert torch.equal(mine.conv.weight, kernel if inputs is None else kernel[:, inputs])
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(getattr(mine.norm, name), getattr(own.norm, name)[outputs])
        assert int(mine.norm.num_batches_tracked) == 1
    assert torch.equal(child.model.head.fc.weight, vgg.model.head.fc.weight[:, wide])
    whole = sum(count_elements(child.model).values())
    assert child.ledger.totals() == {"copied": 4 + 10, "sliced": whole - 4 - 10}


def test_colour_reaches_the_cut_first_convolution(make_convolutional, pico, pixels):
    vgg = make_convolutional(VggSpec, widths=((8,), (12,)))
    resnet = make_convolutional(ResNet12Spec, depths=(1, 1), widths=(8, 12))
    for network, kernels in ((vgg, 4 * 3 * 9), (resnet, 4 * 3 * 9 + 4 * 3)):
        gene = condense(network, pico)
        grey, colour = gene.inherit(size=Size(width=4)), gene.inherit(size=Size(width=4), channels=3)
        assert colour.ledger.totals()["adapted"] == kernels
        with torch.no_grad():
            assert torch.allclose(grey.network.logits(pixels), colour.network.logits(pixels), atol=1e-5)


def test_residual_stages_lose_depth_and_width(make_convolutional, pico):
    resnet = make_convolutional(ResNet12Spec, depths=(1, 4), widths=(4, 8))
    child = condense(resnet, pico, layers="even").inherit(size=Size(depth2=2, width=2))
    own, index = resnet.model.stages[1], torch.tensor([0, 2, 4, 6])
    for mine, source in zip(child.model.stages[1].blocks, (own.blocks[0], own.blocks[2]), strict=True):
        assert torch.equal(mine.units[2].conv.weight, source.units[2].conv.weight[index][:, index])
    shortcut = child.model.stages[1].blocks[0].shortcut
    assert torch.equal(shortcut.conv.weight, own.blocks[0].shortcut.conv.weight[index][:, ::2])
    assert torch.equal(shortcut.norm.running_var, own.blocks[0].shortcut.norm.running_var[index])
    assert child.network.spec.widths == (2, 4)


def test_a_timm_resnet_is_cut_where_its_stem_can_be(make_convolutional, pico):
    widths = {"depths": (2, 1, 1, 1), "widths": (64, 4, 4, 4)}
    plain = condense(make_convolutional(ResNetSpec, **widths), pico)
    with pytest.raises(SettingError, match=r"block 0 as block 0.*own depths and widths"):
        plain.inherit(size=Size(width=32))
    assert plain.inherit(size=Size(depth1=1, width2=2)).network.spec.widths == (64, 2, 4, 4)
    network = make_convolutional(ResNetSpec, **widths, stem_type="deep", stem_width=32)
    child = condense(network, pico).inherit(size=Size(width=32))
    own, kept = network.model.conv1[6].weight, child.model.conv1[6].weight
    assert torch.equal(kept, own[::2, ::2])
    assert torch.equal(child.model.bn1.running_mean, network.model.bn1.running_mean[::2])


def test_channels_that_nobody_else_reads_can_go(make_convolutional, pico, pixels):
    vgg = make_convolutional(VggSpec, widths=((8,), (6,)))
    model = vgg.model
    with torch.no_grad():
        # With the odd channels unread, a network without them computes the same.
        model.stages[1].blocks[0].conv.weight[:, 1::2] = 0
        model.head.fc.weight[:, 1::2] = 0
        child = condense(vgg, pico).inherit(size=Size(width1=4, width2=3))
        assert torch.allclose(child.network.logits(pixels), vgg.logits(pixels), atol=1e-6)
        assert float(vgg.logits(pixels).std()) > 1e-4


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"width": 16}, "'weight-selection' cannot grow widths="),
        ({"depth1": 3}, "cannot grow 3 blocks in a stage.*which has 2. Use 2 or fewer"),
        ({"depth1": 1, "width2": 20}, r"which has widths=\(\(8, 8\), \(12, 12, 12\)\). Use no number of widths above"),
        ({"depth2": 1, "width2": 20}, r"cannot grow .* of shape \(10, 20\).*has shape \(10, 12\)"),
    ],
)
def test_stages_larger_in_any_way_are_refused(make_convolutional, pico, size, words):
    gene = condense(make_convolutional(VggSpec, widths=((8, 8), (12, 12, 12))), pico)
    with pytest.raises(SettingError, match=words):
        gene.inherit(size=Size(**size))
