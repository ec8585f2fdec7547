"""Weight selection: which elements of the ancestor each tensor of a descendant takes."""

import pytest
import torch

from germline.architectures import VIT, ResNet12Spec, ResNetSpec, Size, VggSpec, VitSpec, count_elements
from germline.baselines.weight_selection import WeightSelection
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.methods.axis_maps import map_tensors
from germline.methods.slicing import choose_indices, plan_slices, slice_evenly
from germline.registry import model_spec
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
def test_queries_keys_and_values_are_sliced_apart_and_rows_fit_columns(wide, wide_gene, width, heads):
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


def test_sliced_stem_computes_a_slice_of_the_output(make_network, pico, pixels):
    network = make_network(depth=1, width=16, heads=2)
    child = condense(network, pico).inherit(size=Size(width=8, heads=1)).network
    images = child.preprocess(pixels)
    with torch.no_grad():
        mine = child.model.patch_embed(images) + child.model.pos_embed
        own = network.model.patch_embed(images) + network.model.pos_embed
    assert torch.allclose(mine, own[:, :, ::2], atol=1e-6)


@pytest.mark.parametrize(("layers", "taken"), [("first", (0, 1, 2, 3)), ("even", (0, 1, 3, 4))])
def test_shallower_descendant_takes_the_chosen_blocks(wide, pico, layers, taken):
    child = condense(wide, pico, layers=layers).inherit(size=Size(depth=4)).model
    for block, index in zip(child.blocks, taken, strict=True):
        own = wide.model.blocks[index].state_dict()
        assert all(torch.equal(value, own[name]) for name, value in block.state_dict().items())


def test_the_ancestors_size_is_a_copy(ancestor, pico, pixels):
    child = condense(ancestor, pico).inherit()
    own = ancestor.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in child.model.state_dict().items())
    assert child.ledger.totals() == {"copied": sum(value.numel() for value in own.values())}
    with torch.no_grad():
        assert torch.equal(child.network.logits(pixels), ancestor.logits(pixels))


def test_ledger_counts_sliced_elements(wide_gene):
    child = wide_gene.inherit(size=Size(width=32, heads=1, depth=2))
    total = sum(value.numel() for value in child.model.state_dict().values())
    # The head's bias has one element per class at every width.
    assert child.ledger.totals() == {"copied": 10, "sliced": total - 10}
    fresh = wide_gene.inherit(size=Size(width=32, heads=1, depth=2), classes=3, channels=3, image_size=64)
    stem, table, head = 32 * 3 * 8 * 8, 64 * 32, 32 * 3 + 3
    inside = 2 * (12 * 32**2 + 13 * 32) + 32 + 2 * 32
    assert fresh.ledger.totals() == {"sliced": inside, "resized": table, "adapted": stem, "fresh": head}
    assert fresh.model.pos_embed.shape == (1, 64, 32)


def test_colour_after_slicing_keeps_the_logits(wide_gene, pixels):
    size = Size(width=32, heads=1)
    grey, colour = wide_gene.inherit(size=size).network, wide_gene.inherit(size=size, channels=3).network
    with torch.no_grad():
        assert torch.allclose(grey.logits(pixels), colour.logits(pixels), atol=1e-5)


# Sizes in every direction: fewer and more heads, of the same or another length, and widths without a common divisor.
SIZES = [(32, 1), (48, 3), (60, 2), (96, 6), (128, 8), (256, 16), (80, 2), (56, 7), (64, 8), (36, 1), (8, 1)]


@pytest.mark.parametrize(("width", "heads"), SIZES)
def test_slices_keep_heads_and_residual_groups_together(width, heads):
    images = {"image_size": 32, "channels": 1, "classes": 3, "patch_size": 8, "init_values": 0.1, "class_token": True}
    ancestor, spec = VitSpec(depth=1, width=64, heads=4, **images), VitSpec(depth=2, width=width, heads=heads, **images)
    plan = plan_slices(ancestor, spec, (0, 0), is_wider=True)
    maps = map_tensors(plan, ancestor)
    stream = [i * 64 // width for i in range(width)]
    for group in VIT.groups(plan.spec):
        found = []
        for member in group.members:
            axis_map = maps.get(member.tensor, {}).get(member.dim)
            size = plan.shapes[member.tensor][member.dim]
            taken = torch.arange(size) if axis_map is None else axis_map.indices
            parts = taken.view(member.outer, -1)
            # Queries, keys and values each come from their own part, with the same indices.
            step = 64 if member.outer > 1 else 0
            assert all(torch.equal(part, parts[0] + index * step) for index, part in enumerate(parts))
            found.append(parts[0])
        assert all(torch.equal(taken, found[0]) for taken in found)
        if group.name == "stream":
            assert found[0].tolist() == stream
        elif group.name.endswith("heads"):
            rows = found[0].view(heads, width // heads)
            assert (rows // 16 == (rows // 16)[:, :1]).all()
            assert (rows // 16)[:, 0].tolist() == [i * 4 // heads for i in range(heads)]
            assert (rows % 16 == (rows % 16)[:1]).all()
            length = width // heads
            assert (rows % 16)[0].tolist() == [i * 16 // length for i in range(length)]


@pytest.mark.parametrize(
    "size", [{"width": 32, "heads": 1}, {"width": 20, "heads": 2, "depth": 3}, {"width": 63, "heads": 1}]
)
def test_smaller_size_without_a_scale_follows_the_published_rule(wide, wide_gene, size):
    child = wide_gene.inherit(size=Size(**size)).model.state_dict()
    own = wide.model.state_dict()
    assert all(torch.equal(value, slice_evenly(own[name], value.shape)) for name, value in child.items())


def test_whole_heads_can_be_selected(wide, pico):
    child = condense(wide, pico, unit="channel").inherit(size=Size(width=32, heads=1)).model.blocks[0]
    qkv = wide.model.blocks[0].attn.qkv.weight.view(3, 2, 32, 64)
    assert torch.equal(child.attn.qkv.weight.view(3, 32, 32), qkv[:, 0, :, ::2])


def test_larger_sizes_duplicate_heads_channels_and_blocks(wide, wide_gene):
    child = wide_gene.inherit(size=Size(width=96, heads=3, depth=9))
    ours, theirs = child.model.blocks, wide.model.blocks
    stream = torch.tensor([i * 2 // 3 for i in range(96)])
    heads = torch.cat((torch.arange(32), torch.arange(64)))
    for place, block in enumerate(ours):
        source = theirs[place * 6 // 9]
        assert torch.equal(block.norm1.weight, source.norm1.weight[stream])
        for mine, own in zip(block.attn.qkv.weight.chunk(3), source.attn.qkv.weight.chunk(3), strict=True):
            assert torch.equal(mine, own[heads][:, stream])
        assert torch.equal(block.attn.proj.weight, source.attn.proj.weight[stream][:, heads])
    norm, further = child.ledger.entries["blocks.0.norm1.weight"], child.ledger.entries["blocks.1.norm1.weight"]
    assert (norm, further) == ({"copied": 64, "repeated": 32}, {"repeated": 96})
    assert child.ledger.entries["blocks.0.attn.proj.weight"] == {"copied": 64 * 64, "repeated": 96 * 96 - 64 * 64}
    assert child.ledger.entries["head.bias"] == {"copied": 10}
    mixed = wide_gene.inherit(size=Size(width=32, heads=4))
    assert mixed.ledger.entries["blocks.0.attn.qkv.bias"] == {"sliced": 48, "repeated": 48}


def test_divided_duplicates_keep_the_logits_at_integer_multiples(wide, pico, pixels):
    gene = condense(wide, pico, scale="divide")
    child = gene.inherit(size=Size(width=128, heads=4))
    with torch.no_grad():
        assert torch.allclose(child.network.logits(pixels), wide.logits(pixels), atol=1e-5)
    assert child.ledger.entries["blocks.0.mlp.fc1.weight"] == {"divided": 512 * 128}
    partly = gene.inherit(size=Size(width=96, heads=3)).ledger
    # A third of the channels has one copy. The first head has two copies, and the second has one.
    assert partly.entries["norm.weight"] == {"copied": 64, "repeated": 32}
    assert partly.entries["blocks.0.attn.proj.weight"] == {"copied": 64 * 32, "repeated": 32 * 32, "divided": 96 * 64}


def test_scale_applies_to_weights_that_read_channels(wide, wide_gene, pico):
    size = Size(width=16, heads=2)
    plain, own = wide_gene.inherit(size=size).model, wide.model
    fan_in = condense(wide, pico, scale="fan-in").inherit(size=size)
    assert torch.allclose(fan_in.model.blocks[1].mlp.fc2.weight, 2 * plain.blocks[1].mlp.fc2.weight)
    assert torch.equal(fan_in.model.patch_embed.proj.weight, plain.patch_embed.proj.weight)
    assert torch.equal(fan_in.model.blocks[1].mlp.fc2.bias, plain.blocks[1].mlp.fc2.bias)
    assert fan_in.ledger.entries["blocks.1.mlp.fc2.weight"] == {"divided": 16 * 64}
    matched = condense(wide, pico, scale="matched").inherit(size=size).model
    for name in ("attn.qkv.weight", "mlp.fc1.weight"):
        mine, source = matched.blocks[0].get_parameter(name), own.blocks[0].get_parameter(name)
        assert mine.std(correction=0).item() == pytest.approx(source.std(correction=0).item(), rel=1e-5)
    assert torch.equal(matched.norm.weight, plain.norm.weight)


def test_genes_omit_later_settings_at_their_defaults(wide_gene, wide, pico):
    assert wide_gene.settings == {"layers": "first"}
    assert condense(wide, pico, scale="divide").settings == {"layers": "first", "scale": "divide"}


def test_query_norms_have_the_length_of_a_head(make_network, pico):
    gene = condense(make_network(width=32, heads=2, qk_norm=True), pico)
    for width, heads, length in ((16, 2, 8), (24, 1, 24), (64, 2, 32)):
        child = gene.inherit(size=Size(width=width, heads=heads)).model
        assert child.blocks[0].attn.q_norm.weight.shape == (length,)


def test_descendant_owns_its_tensors_and_a_saved_gene_loads(wide, pico, tmp_path):
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
    assert loaded.describe_sizes() == "any size, smaller or larger than the ancestor's"


def test_bad_settings_and_no_ancestor_are_refused(pico):
    with pytest.raises(SettingError):
        WeightSelection(layers="last")
    with pytest.raises(SettingError, match="'weight-selection' needs an ancestor"):
        WeightSelection().condense_spec(None, pico)


def test_convolutions_and_their_statistics_are_sliced_alike(make_convolutional, pico):
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
    total = sum(count_elements(child.model).values())
    assert child.ledger.totals() == {"copied": 4 + 10, "sliced": total - 4 - 10}


def test_colour_adapts_the_sliced_first_convolution(make_convolutional, pico, pixels):
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


def test_timm_resnet_is_sliced_if_its_stem_can_be(make_convolutional, pico):
    widths = {"depths": (2, 1, 1, 1), "widths": (64, 4, 4, 4)}
    plain = condense(make_convolutional(ResNetSpec, **widths), pico)
    with pytest.raises(SettingError, match=r"block 0 as block 0.*Use width2=2,width3=2,width4=2 alone.*the stem, 64"):
        plain.inherit(size=Size(width=32))
    assert plain.inherit(size=Size(depth1=1, width2=2)).network.spec.widths == (64, 2, 4, 4)
    network = make_convolutional(ResNetSpec, **widths, stem_type="deep", stem_width=32)
    child = condense(network, pico).inherit(size=Size(width=32))
    own, sliced = network.model.conv1[6].weight, child.model.conv1[6].weight
    assert torch.equal(sliced, own[::2, ::2])
    assert torch.equal(child.model.bn1.running_mean, network.model.bn1.running_mean[::2])


def test_removing_unread_channels_keeps_the_logits(make_convolutional, pico, pixels):
    vgg = make_convolutional(VggSpec, widths=((8,), (6,)))
    model = vgg.model
    with torch.no_grad():
        # With the odd channels unread, a network without them computes the same.
        model.stages[1].blocks[0].conv.weight[:, 1::2] = 0
        model.head.fc.weight[:, 1::2] = 0
        child = condense(vgg, pico).inherit(size=Size(width1=4, width2=3))
        assert torch.allclose(child.network.logits(pixels), vgg.logits(pixels), atol=1e-6)
        assert float(vgg.logits(pixels).std()) > 1e-4


def test_stages_grow_in_width_and_depth(make_convolutional, pico, pixels):
    vgg = make_convolutional(VggSpec, widths=((8, 8), (12, 12, 12)), hidden=(6,))
    gene = condense(vgg, pico, scale="divide")
    wider = gene.inherit(size=Size(width=16))
    with torch.no_grad():
        assert torch.allclose(wider.network.logits(pixels), vgg.logits(pixels), atol=1e-5)
    deeper = gene.inherit(size=Size(depth1=3, depth2=5)).model.stages
    for stage, taken in ((0, (0, 1, 1)), (1, (0, 1, 1, 2, 2))):
        for unit, index in zip(deeper[stage].blocks, taken, strict=True):
            assert torch.equal(unit.conv.weight, vgg.model.stages[stage].blocks[index].conv.weight)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"depth1": 2}, "cannot grow 2 blocks in a stage. The ancestor's stage has one block.*Use one block"),
        ({"depth3": 2}, "no such key"),
    ],
)
def test_stage_of_one_block_cannot_grow_deeper(make_convolutional, pico, size, words):
    gene = condense(make_convolutional(VggSpec, widths=((8,), (12, 12))), pico)
    assert gene.describe_sizes().endswith("but no deeper stage of one block")
    with pytest.raises(SettingError, match=words):
        gene.inherit(size=Size(**size))


def test_error_for_a_first_stage_unlike_the_stem_names_a_valid_size():
    ancestor = model_spec("resnet18", image_size=32, channels=3, classes=10)
    half = ancestor.model_copy(update={"widths": (32, 64, 128, 256)})
    with pytest.raises(SettingError, match=r"Use width2=64,width3=128,width4=256 alone: .* width of the stem, 64"):
        plan_slices(ancestor, half, range(8))
    later = ancestor.model_copy(update={"widths": (64, 64, 128, 256)})
    plan = plan_slices(ancestor, later, range(8))
    assert plan.shapes["layer4.1.conv2.weight"] == (256, 256, 3, 3)
    assert plan.shapes["conv1.weight"][0] == 64
