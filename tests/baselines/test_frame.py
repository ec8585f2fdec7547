"""The frame: stem, positions, norm and head are the ancestor's, and every block is fresh."""

import pytest
import torch

from germline.architectures import ResNetSpec, Size, count_elements
from germline.baselines.frame import Frame
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.registry import architecture_of
from germline.training import Run

RUN = Run(device="cpu", quiet=True)


@pytest.fixture(scope="module")
def vit(make_network):
    return make_network(depth=3)


@pytest.fixture(scope="module")
def gene(vit, pico):
    return Frame().condense(vit, pico, RUN)


def parts_of(network):
    return architecture_of(network.spec).parts(network.spec)


def test_gene_has_all_tensors_except_those_of_blocks(gene, vit, tmp_path):
    gene.save(tmp_path / "gene")
    loaded, own = Learngene.load(tmp_path / "gene"), vit.model.state_dict()
    assert loaded.tensors.keys() == {name for name in own if not name.startswith("blocks.")}
    assert all(torch.equal(value, own[name]) for name, value in loaded.tensors.items())
    assert Frame().cost(gene.spec, 0, 0).stored == {name: value.numel() for name, value in loaded.tensors.items()}
    assert Frame().cost(gene.spec, 1000, 5).samples == 0


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_blocks_are_fresh_at_every_depth(gene, vit, depth):
    child, other = (gene.inherit(size=Size(depth=depth), classes=vit.classes, seed=seed) for seed in (0, 1))
    own, sizes, redrawn = vit.model.state_dict(), count_elements(child.model), other.model.state_dict()
    blocks = 0
    for name, tensor in child.model.state_dict().items():
        is_block = name.startswith("blocks.")
        blocks += is_block
        assert child.ledger.entries[name] == {"fresh" if is_block else "copied": sizes[name]}
        if is_block:
            assert tensor.ndim < 2 or not torch.equal(tensor, redrawn[name])
        else:
            assert torch.equal(tensor, own[name])
    assert blocks == depth * len(parts_of(vit).blocks[0])


def test_new_classes_have_a_fresh_head(gene):
    child = gene.inherit(classes=("a", "b", "c"))
    head = parts_of(child.network).head
    assert all(set(child.ledger.entries[name]) == {"fresh"} for name in head)
    assert child.ledger.totals()["copied"] == sum(
        value.numel() for name, value in gene.tensors.items() if name not in head
    )


def test_frame_adapts_to_other_channels(gene, vit):
    child = gene.inherit(classes=("a", "b"), channels=1 if vit.spec.channels == 3 else 3)
    assert child.ledger.totals()["adapted"] == child.model.state_dict()["patch_embed.proj.weight"].numel()


def test_another_width_is_refused(gene):
    with pytest.raises(SettingError, match=r"'frame' cannot grow (width|heads)="):
        gene.inherit(size=Size(width=32, heads=4), classes=("a", "b"))


def test_a_network_without_stem_is_refused(ancestors, pico):
    for name in ("vgg", "resnet12"):
        with pytest.raises(SettingError, match="no stem"):
            Frame().condense_spec(ancestors[name], pico)


def test_a_resnet_keeps_its_stem_with_its_statistics(ancestors, pico):
    ancestor = ancestors["resnet"]
    assert isinstance(ancestor.spec, ResNetSpec)
    made = Frame().condense(ancestor, pico, RUN)
    child = made.inherit(classes=ancestor.classes)
    own = ancestor.model.state_dict()
    stem = parts_of(ancestor).stem
    assert any("running_mean" in name for name in stem)
    assert all(torch.equal(child.model.state_dict()[name], own[name]) for name in stem)
    with pytest.raises(SettingError, match="cannot grow"):
        made.inherit(size=Size(width=2), classes=ancestor.classes)
