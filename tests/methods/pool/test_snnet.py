"""SN-Net: separately trained anchors, least-squares stitches, and the paths of a pool."""

from dataclasses import replace

import pytest
import torch

from germline.architectures import Size
from germline.errors import DataError, SettingError
from germline.methods.pool.method import Pool
from germline.methods.pool.snnet import SNNet
from germline.registry import model_spec
from germline.training import CrossEntropy, Run

STITCHED = "front=8,end=16,j=1,k=2"
WITHOUT_ANCESTOR = {"model": "vit_pico", "teach": 0}


def condense(ancestor, images, folder=None, **settings):
    return SNNet(**{"preset": "tiny", **settings}).condense(ancestor, images, Run(folder, device="cpu", quiet=True))


@pytest.fixture(scope="module")
def gene(pico):
    """A gene of two anchors of two blocks, condensed without an ancestor."""
    return condense(None, pico, **WITHOUT_ANCESTOR)


def test_snnet_needs_no_ancestor(gene, pico):
    assert gene.provenance.ancestor == "none"
    assert gene.classes == pico.classes
    assert (gene.spec.patch_size, gene.spec.width, gene.spec.depth) == (8, 16, 2)
    child = gene.inherit(Size.parse(STITCHED))
    assert set(child.ledger.totals()) == {"copied", "stitched"}
    assert len(gene.provenance.record["paths"]["paths"]) == 6
    assert {"anchor 8 (val)", "anchor 16 (val)"} <= gene.provenance.metrics.keys()


def test_each_anchor_is_trained_separately(pico, tmp_path, ancestor):
    """Each anchor is trained in a separate phase and does not depend on the other anchor."""
    settings = {"finetune": {"steps": 0}, **WITHOUT_ANCESTOR}
    gene = condense(None, pico, tmp_path, **settings)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        "anchor-8", "anchor-16", "stitches", "pool", "paths"
    }  # fmt: skip
    other = condense(None, pico, widths=[8, 24], heads=[1, 3], **settings)
    name = "8.blocks.1.mlp.fc1.weight"
    assert torch.equal(gene.tensors[name], other.tensors[name])
    deeper = condense(None, pico, anchor={"steps": 5}, **settings)
    assert not torch.equal(deeper.tensors[name], gene.tensors[name])


def test_anchors_are_trained_from_labels(pico, monkeypatch):
    seen, original = {}, Run.fit

    def record_objective(run, name, network, objective, *rest, **more):
        seen[name] = type(objective)
        return original(run, name, network, objective, *rest, **more)

    monkeypatch.setattr(Run, "fit", record_objective)
    condense(None, pico, **WITHOUT_ANCESTOR)
    assert seen["anchor-8"] is seen["anchor-16"] is CrossEntropy


def test_ancestor_teaches_only_the_fine_tuning(gene, ancestor, pico):
    taught, untaught = condense(ancestor, pico), condense(ancestor, pico, teach=0)
    assert taught.provenance.metrics["anchor 8 (val)"] == untaught.provenance.metrics["anchor 8 (val)"]
    assert not torch.equal(taught.tensors["16.head.weight"], untaught.tensors["16.head.weight"])
    # The ancestor's spec differs from vit_pico only in its size, so the genes are equal.
    assert all(torch.equal(value, gene.tensors[name]) for name, value in untaught.tensors.items())


def test_cost_includes_anchors_and_fine_tuning(gene, pico):
    method, images = gene.bound_method(), len(pico.train)
    rows = gene.provenance.record["paths"]["paths"]
    assert gene.provenance.training["samples"] == method.cost(gene.spec, images, 1000).samples == 2 * 160 + 240
    mean = sum(row["flops"] for row in rows) / len(rows)
    anchors = 160 * 3 * (rows[0]["flops"] + rows[1]["flops"])
    assert method.cost(gene.spec, images, 1000).flops == pytest.approx(anchors + 240 * 3 * mean, abs=1)
    taught = SNNet(preset="tiny")
    assert taught.cost(gene.spec, images, 1000).flops == pytest.approx(anchors + 240 * (3 * mean + 1000), abs=1)


def test_paper_preset_has_71_paths():
    method = SNNet(preset="paper")
    assert len(method.layout.paths) == 71
    assert [str(path) for path in method.layout.paths[:4]] == [
        "width=192", "width=384", "width=768", "front=192,end=384,j=1,k=1"
    ]  # fmt: skip
    assert not [path for path in method.layout.paths if path.widths == (192, 768)]
    spec = model_spec("deit_base_patch16_224", image_size=224, channels=3, classes=1000)
    specs = method.forms(spec)
    millions = [specs.count(path).parameters / 1e6 for path in method.layout.paths[:3]]
    assert millions == pytest.approx([5.72, 22.05, 86.57], abs=0.01)


def test_presets_agree_with_those_of_pool():
    for name in ("paper6", "paper9", "lab", "tiny"):
        snnet, pool = SNNet(preset=name), Pool(preset=name)
        assert (snnet.layout, snnet.heads) == (pool.layout, pool.heads)
        assert snnet.finetune == pool.finetune
        assert snnet.init == "least-squares"
    assert SNNet(preset="paper6").anchor.epochs == 150
    assert SNNet(preset="lab").anchor == Pool(preset="lab").distil
    method = SNNet(preset="paper")
    assert method.teaching == "hard"
    assert method.finetune.lr == pytest.approx(5e-5 * 1024 / 512)


@pytest.mark.parametrize("bad", [{"init": "transpose"}, {"alpha": 0.1}, {"preset": "paper12"}, {"distil": {}}], ids=str)
def test_invalid_settings_are_refused(bad):
    with pytest.raises(SettingError):
        SNNet(**bad)


def test_unsuitable_ancestors_and_settings_are_refused(ancestor, ancestors, make_network, pico):
    for teacher, settings, error, message in (
        (None, {}, SettingError, r"teach=0.5 without an ancestor.*or set teach=0"),
        (None, {"teach": 0}, SettingError, "network of unknown spec. .*Set model, for example"),
        (None, {**WITHOUT_ANCESTOR, "model": "vgg11"}, SettingError, "method snnet cannot condense in a vgg"),
        (ancestors["vgg"], {}, SettingError, "method snnet cannot condense in a vgg"),
        (make_network(classes="abc"), {}, DataError, "The ancestor has 3 classes"),
        (ancestor, {"heads": [3, 4]}, SettingError, "width=8 with heads=3"),
    ):
        with pytest.raises(error, match=message):
            SNNet(**{"preset": "tiny", **settings}).condense_spec(teacher, pico)
    # With teach=0 the ancestor may have other classes. With a model, any classifier can teach.
    assert SNNet(preset="tiny", teach=0).condense_spec(make_network(classes="abc"), pico).classes == 10
    assert SNNet(preset="tiny", model="vit_pico").condense_spec(replace(ancestors["vgg"]), pico).width == 16
