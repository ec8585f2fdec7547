"""TLEG from condense to descendants: what its paper promises, on tiny real genes."""

import pytest
import torch

from germline.architectures import VIT, Size, count_elements
from germline.data import DataSet, Images, load_data
from germline.errors import DataError, SettingError
from germline.methods.checks import label_mismatch_error
from germline.methods.tleg.expansion import ExpandedNetwork
from germline.methods.tleg.method import TLEG
from germline.network import load_strict
from germline.training import Run

SHORT = {"steps": 4, "batch_size": 40, "lr": 3e-3}
BLOCK = 12 * 16**2 + 13 * 16
FRAME = (64 + 1) * 16 + 16 * 16 + 2 * 16


def condense(ancestor, images, **settings):
    return TLEG(**{**SHORT, **settings}).condense(ancestor, images, Run(device="cpu", quiet=True))


def list_block_tensors(descendant, depth):
    tensors = descendant.model.state_dict()
    return [
        {name: tensors[full] for name, full in block.items()}
        for block in VIT.parts(descendant.network.spec).blocks[:depth]
    ]


def rebuild_auxiliary(gene):
    method = gene.bound_method()
    segments = method.segments or (gene.spec.depth,)
    auxiliary = ExpandedNetwork(VIT, gene.spec, segments, method.grid, slopes=method.slopes)
    load_strict(auxiliary, dict(gene.tensors), "gene")
    return auxiliary.eval()


@pytest.mark.parametrize(
    "settings",
    [{}, {"grid": "one"}, {"grid": "closed"}, {"segments": (1, 3)}, {"slopes": False}],
    ids=["zero", "one", "closed", "segments", "no slopes"],
)
def test_descendant_of_the_auxiliary_depth_computes_the_same(ancestor, pico, pixels, settings):
    gene = condense(ancestor, pico, depth=4, **settings)
    auxiliary, child = rebuild_auxiliary(gene), gene.inherit(size=Size(depth=4))
    with torch.no_grad():
        expected = auxiliary(gene.preprocess(pixels))
        assert torch.equal(child.network.logits(pixels), expected)
    assert float(expected.std()) > 1e-3


@pytest.mark.parametrize("depth", [4, 6, 9])
def test_second_difference_along_depth_is_zero(gene, depth):
    blocks = list_block_tensors(gene.inherit(size=Size(depth=depth)), depth)
    largest = 0.0
    for name in blocks[0]:
        stack = torch.stack([block[name] for block in blocks])
        assert float(stack.diff(n=2, dim=0).abs().max()) <= 4 * torch.finfo(torch.float32).eps * float(
            stack.abs().max()
        )
        largest = max(largest, float(stack.diff(dim=0).abs().max()))
    assert largest > 1e-3


def test_layers_of_depth_six_are_every_second_of_twelve(gene):
    six, twelve = (list_block_tensors(gene.inherit(size=Size(depth=depth)), depth) for depth in (6, 12))
    for index, block in enumerate(six):
        assert all(torch.equal(value, twelve[2 * index][name]) for name, value in block.items())
    assert all(torch.equal(value, gene.tensors[f"offset.0.{name}"]) for name, value in six[0].items())


def test_layers_without_slopes_are_equal_but_not_shared(ancestor, pico):
    child = condense(ancestor, pico, depth=3, slopes=False).inherit(size=Size(depth=3))
    first, *rest = list_block_tensors(child, 3)
    assert all(torch.equal(value, block[name]) for block in rest for name, value in first.items())
    with torch.no_grad():
        child.model.blocks[0].mlp.fc1.weight.zero_()
    assert child.model.blocks[1].mlp.fc1.weight.any()


def test_a_zero_slope_gives_equal_layers(gene):
    flat = {name: value * (0 if name.startswith("slope") else 1) for name, value in gene.tensors.items()}
    blocks = list_block_tensors(type(gene)(**{**gene.__dict__, "tensors": flat}).inherit(size=Size(depth=5)), 5)
    assert all(torch.equal(value, blocks[4][name]) for name, value in blocks[0].items())


def test_segments_are_expanded_at_another_depth(ancestor, pico):
    gene = condense(ancestor, pico, depth=4, segments=(2, 2))
    blocks = list_block_tensors(gene.inherit(size=Size(depth=5)), 5)
    name = "mlp.fc1.weight"
    offset, slope = (gene.tensors[f"{kind}.0.{name}"] for kind in ("offset", "slope"))
    assert torch.allclose(blocks[2][name], offset + 2 / 3 * slope, atol=1e-7)
    assert torch.equal(blocks[3][name], gene.tensors[f"offset.1.{name}"])
    with pytest.raises(SettingError, match=r"It has 2 segments, each with at least one block\. Choose depth=2 or more"):
        gene.inherit(size=Size(depth=1))
    assert gene.describe_sizes().startswith("depth=2 or more")


@pytest.mark.parametrize("segments", [(2, 3), (4, 0), (5, -1)])
def test_segments_that_do_not_add_up_are_refused(ancestor, pico, segments):
    with pytest.raises(SettingError, match="segments="):
        condense(ancestor, pico, depth=4, segments=segments)


def test_gene_has_only_two_blocks_and_the_frame(gene, ancestor):
    head = 16 * 10 + 10
    assert gene.count_bytes() == 4 * (2 * BLOCK + FRAME + head)
    assert {name.split(".")[0] for name in gene.tensors} == {"frame", "offset", "slope"}
    assert len(gene.tensors) == 2 * 12 + 7
    own = [value for value in ancestor.model.state_dict().values() if value.ndim > 1]
    found = [value for value in gene.tensors.values() if value.ndim > 1]
    assert not [1 for a in own for b in found if a.shape == b.shape and torch.equal(a, b)]


def test_file_has_only_tensors_and_a_header(gene, tmp_path):
    gene.save(tmp_path / "gene")
    found = (tmp_path / "gene" / "learngene.safetensors").stat().st_size
    # The file has only a header besides the tensors. For a gene this small the header is more than 5 %.
    header = int.from_bytes((tmp_path / "gene" / "learngene.safetensors").read_bytes()[:8], "little")
    assert found - 8 - header == gene.count_bytes()


def test_bytes_on_disk_of_a_larger_gene_are_within_five_percent(pico, tmp_path):
    gene = condense(None, pico, model="vit_pico", distillation="none", steps=0)
    gene.save(tmp_path / "gene")
    found = (tmp_path / "gene" / "learngene.safetensors").stat().st_size
    formula = 4 * (2 * (12 * 64**2 + 13 * 64) + (64 + 1 + 16 + 2 + 10) * 64 + 10)
    assert found == pytest.approx(formula, rel=0.05)
    assert gene.count_bytes() == formula


def test_training_changes_every_tensor(ancestor, pico, gene):
    start = condense(ancestor, pico, depth=4, steps=0)
    assert start.tensors.keys() == gene.tensors.keys()
    # The key's bias has no effect on softmax attention, but its tensor holds query and value biases too.
    assert not [name for name, value in gene.tensors.items() if torch.equal(value, start.tensors[name])]


def test_head_is_inherited_only_for_known_class_names(gene, pico):
    kept = gene.inherit(size=Size(depth=3))
    assert torch.equal(kept.model.head.weight, gene.tensors["frame.head.weight"])
    assert kept.ledger.entries["head.weight"] == {"copied": 160}
    turned = gene.inherit(size=Size(depth=3), classes=pico.classes[::-1])
    assert torch.equal(turned.model.head.weight, gene.tensors["frame.head.weight"].flip(0))
    for classes in (10, (*pico.classes, "a"), ("a", "b")):
        fresh = gene.inherit(size=Size(depth=3), classes=classes)
        assert fresh.ledger.entries["head.weight"].keys() == {"fresh"}
        assert fresh.model.head.weight.shape == (len(fresh.network.classes), 16)
        assert not torch.equal(fresh.model.head.weight, gene.tensors["frame.head.weight"])
        assert torch.equal(fresh.model.norm.weight, gene.tensors["frame.norm.weight"])


def test_fresh_head_depends_on_the_seed(gene):
    one, same, other = (gene.inherit(classes=3, seed=seed).model.head.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("depth", [1, 2, 4, 7, 12])
def test_ledger_adds_up_to_the_network(gene, depth):
    child = gene.inherit(size=Size(depth=depth), classes=3)
    head = 16 * 3 + 3
    assert child.ledger.totals() == {"copied": FRAME, "expanded": depth * BLOCK, "fresh": head}
    child.ledger.check(count_elements(child.model), fresh_allowed=["head.weight", "head.bias"])
    assert sum(child.ledger.totals().values()) == sum(p.numel() for p in child.model.parameters())
    assert all(p.requires_grad for p in child.model.parameters())


@pytest.mark.parametrize(("segments", "depth"), [(None, 2), (None, 6), ((1, 3), 4), ((1, 3), 7)])
def test_ledger_calls_blocks_without_slopes_copied(ancestor, pico, segments, depth):
    child = condense(ancestor, pico, depth=4, slopes=False, segments=segments).inherit(size=Size(depth=depth))
    assert child.ledger.totals() == {"copied": FRAME + depth * BLOCK + 16 * 10 + 10}
    assert child.ledger.entries["blocks.1.attn.qkv.weight"] == {"copied": 3 * 16 * 16}


def test_colour_descendant_of_a_grey_gene_computes_the_same(gene, pixels):
    grey, colour = gene.inherit(), gene.inherit(channels=3)
    assert colour.ledger.entries["patch_embed.proj.weight"] == {"adapted": 3 * 64 * 16}
    with torch.no_grad():
        expected = grey.network.logits(pixels)
        assert torch.allclose(colour.network.logits(pixels.repeat(1, 3, 1, 1)), expected, atol=1e-5)
        assert torch.allclose(colour.network.logits(pixels), expected, atol=1e-5)


def test_grey_descendant_computes_the_same_if_statistics_are_equal(pico, pixels):
    images = pico.train.images.repeat(1, 3, 1, 1)
    coloured = load_data((images, pico.train.labels), classes=pico.classes)
    gene = condense(None, coloured, model="vit_pico", width=16, depth=2, distillation="none")
    grey = gene.inherit(channels=1)
    with torch.no_grad():
        expected = gene.inherit().network.logits(pixels.repeat(1, 3, 1, 1))
        assert torch.allclose(grey.network.logits(pixels), expected, atol=1e-5)


def test_another_image_size_resizes_the_positions(gene, pixels):
    child = gene.inherit(image_size=48)
    assert child.model.pos_embed.shape == (1, 36, 16)
    assert child.ledger.entries["pos_embed"] == {"resized": 36 * 16}
    assert child.network.preprocess.image_size == 48
    with torch.no_grad():
        assert child.network.logits(pixels).shape == (8, 10)
    with pytest.raises(SettingError, match="image_size=20 with patch_size=8"):
        gene.inherit(image_size=20)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"width": 32}, "cannot grow width=32"),
        ({"heads": 4}, "cannot grow heads=4"),
        ({"depth": 1001}, "depth=1001"),
        ({"stages": 2}, "Size key 'stages'"),
    ],
)
def test_sizes_that_the_gene_cannot_grow_are_refused(gene, size, message):
    with pytest.raises(SettingError, match=message):
        gene.inherit(size=Size(**size))


def test_invalid_classes_and_channels_are_refused(gene):
    for target in ({"classes": 0}, {"classes": ()}, {"classes": ("a", "a")}, {"channels": 2}):
        with pytest.raises(SettingError):
            gene.inherit(**target)


def test_labels_without_an_ancestor_give_a_gene(pico):
    gene = condense(None, pico, model="vit_pico", width=16, depth=3, distillation="none", label_smoothing=0.1)
    assert gene.classes == pico.classes
    assert gene.provenance.ancestor == "none"
    assert (gene.spec.depth, gene.spec.width, gene.spec.patch_size) == (3, 16, 8)


def test_gene_from_labels_has_the_classes_of_the_data(make_network, pico):
    gene = condense(make_network(classes="abc"), pico, distillation="none")
    assert gene.classes == pico.classes


def test_unlabelled_images_are_enough_with_alpha_one(ancestor, pico):
    bare = Images(pico.train.images, None, ())
    unlabelled = DataSet("bare", {"train": bare, "val": bare}.__getitem__)
    gene, labelled = condense(ancestor, unlabelled), condense(ancestor, pico)
    assert gene.classes == ancestor.classes
    assert "auxiliary accuracy (val)" not in gene.provenance.metrics
    # Labels are not used. Only augmentation could make the genes differ, and both data sets allow only shifts.
    assert all(torch.equal(value, labelled.tensors[name]) for name, value in gene.tensors.items())
    with pytest.raises(DataError, match="'bare' has no labels"):
        condense(ancestor, unlabelled, alpha=0.5)


def test_images_of_other_classes_give_a_gene_without_accuracy(make_network, pico):
    other = make_network(classes="abc")
    gene = condense(other, pico)
    assert gene.classes == ("a", "b", "c")
    assert not gene.provenance.metrics
    with pytest.raises(DataError, match="The ancestor has 3 classes"):
        condense(other, pico, alpha=0.5)


def test_soft_and_hard_targets_and_labels_give_different_genes(ancestor, pico):
    genes = [condense(ancestor, pico, distillation=kind) for kind in ("soft", "hard", "none")]
    weights = [gene.tensors["offset.0.mlp.fc1.weight"] for gene in genes]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_distillation_reduces_the_divergence_from_the_ancestor(ancestor, pico):
    def measure_divergence(steps):
        child = condense(ancestor, pico, steps=steps, lr=1e-2, width=32).inherit().network
        pixels = pico.val.images.float() / 255
        with torch.no_grad():
            expected, found = ancestor.logits(pixels).log_softmax(1), child.logits(pixels).log_softmax(1)
        return float((expected.exp() * (expected - found)).sum(1).mean())

    assert measure_divergence(80) < 0.6 * measure_divergence(0)


def test_condense_does_not_change_the_ancestor(ancestor, pico):
    before = {name: value.clone() for name, value in ancestor.model.state_dict().items()}
    condense(ancestor, pico)
    assert all(torch.equal(value, before[name]) for name, value in ancestor.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in ancestor.model.parameters())


def test_ancestor_can_have_other_channels_or_an_unknown_spec(make_network, pico):
    colour = make_network(channels=3)
    gene = condense(colour, pico, depth=3)
    assert gene.spec.channels == gene.preprocess.channels == 3
    convolution = type(colour)(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10)), gene.preprocess.adapt(1, 32), pico.classes
    )
    assert condense(convolution, pico, model="vit_pico", width=16, depth=2).spec.width == 16
    with pytest.raises(SettingError, match="The auxiliary network's spec is unknown"):
        condense(convolution, pico)


def test_soft_targets_without_an_ancestor_are_refused(pico):
    with pytest.raises(SettingError, match="distillation=soft without an ancestor"):
        condense(None, pico, model="vit_pico")


@pytest.mark.parametrize("bad", [{"epochs": -1}, {"alpha": 1.5}, {"grid": "two"}, {"temperature": 0}, {"unknown": 1}])
def test_invalid_settings_are_refused(bad):
    with pytest.raises(SettingError):
        TLEG(**bad)


def test_slope_weight_decay_shrinks_only_slopes(ancestor, pico):
    plain, decayed = condense(ancestor, pico), condense(ancestor, pico, slope_weight_decay=50.0)
    norm = {
        kind: [float(g.tensors[f"{kind}.0.mlp.fc1.weight"].norm()) for g in (plain, decayed)]
        for kind in ("offset", "slope")
    }
    assert norm["slope"][1] < 0.9 * norm["slope"][0]
    assert norm["offset"][1] == pytest.approx(norm["offset"][0], rel=0.05)


def test_provenance_has_ancestor_data_and_training(gene, pico):
    origin = gene.provenance
    assert origin.ancestor == "a test"
    assert origin.ancestor_licence == "mit"
    assert origin.data_fingerprint == pico.fingerprint()
    assert (origin.training["steps"], origin.training["samples"], origin.training["threads"]) == (12, 480, 1)
    assert 0 <= origin.metrics["auxiliary accuracy (val)"] <= 1
    assert origin.versions["torch"] == torch.__version__.split("+")[0] or origin.versions["torch"] == torch.__version__


def test_label_mismatch_names_both_sides(ancestor, pico):
    other = DataSet("others", lambda split: Images(pico.train.images, pico.train.labels, tuple("abcdefghij")))
    message = str(label_mismatch_error(ancestor, other))
    assert "'others' has 10 or other names" in message
    assert "0, 1, 2 against a, b, c" in message


@pytest.mark.parametrize("architecture", ["vgg", "resnet12"])
def test_convolutional_ancestor_can_teach_a_vit(architecture, ancestors, pico):
    teacher = ancestors[architecture]
    with pytest.raises(SettingError, match=f"method tleg cannot condense in a {architecture}.*--set model=vit_pico"):
        TLEG(steps=1).condense_spec(teacher, pico)
    with pytest.raises(SettingError, match="cannot condense in a resnet12"):
        TLEG(steps=1, model="resnet12").condense_spec(teacher, pico)
    gene = TLEG(steps=1, batch_size=8, model="vit_pico", depth=2).condense(teacher, pico, Run(device="cpu", quiet=True))
    assert (gene.architecture, gene.classes) == ("vit", teacher.classes)


def test_error_names_the_preset_that_sets_the_segments(ancestor, pico, monkeypatch):
    monkeypatch.setattr(TLEG, "presets", {"tiny": {"segments": (1, 1)}})
    with pytest.raises(SettingError, match="not to depth=3, and the preset tiny sets them"):
        TLEG(preset="tiny", depth=3).condense_spec(ancestor, pico)
    with pytest.raises(SettingError, match=r"not to depth=3\. Give"):
        TLEG(segments=(1, 1), depth=3).condense_spec(ancestor, pico)
