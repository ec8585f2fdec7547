"""Cards in the hub's format, and artefacts that hold no place of the machine that they were made on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard
from timm.models import _hub as timm_hub

from germline import Learngene, Network, Size, load_network
from germline.cards import draw_bars
from germline.hub import CARD_FILE
from germline.provenance import Provenance


@pytest.fixture(scope="module")
def outside(ancestor, gene, tmp_path_factory):
    """A gene and a descendant whose ancestor and data have absolute paths outside of the working folder."""
    place = tmp_path_factory.mktemp("my secret place")
    ancestor.save(place / "ancestor")
    source = load_network(place / "ancestor").source
    described = gene.provenance.model_dump() | {
        "ancestor": source,
        "data": f"cifar100:{place}/data,held_out=folder:{place}/birds",
        "data_licence": "CC0 1.0",
    }
    found = replace(gene, provenance=Provenance(**described))
    found.save(place / "gene")
    found.inherit(Size(depth=3), ("a", "b", "c")).save_pretrained(place / "child")
    return place


def shared_text(*folders):
    """The bytes of all files, to search names in."""
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_nothing_shared_holds_a_place(outside):
    text = shared_text(outside / "ancestor", outside / "gene", outside / "child")
    for place in (str(outside), outside.name, str(Path.home()) + "/"):
        assert place.encode() not in text
    assert Learngene.load(outside / "gene").provenance.data == "cifar100,held_out=folder:birds"
    assert load_network(outside / "child").source.startswith("grown by tleg from ancestor (sha256 ")


def test_a_gene_of_an_earlier_version_loses_its_places(gene):
    # `model_copy` checks nothing, as did earlier versions.
    old = gene.provenance.model_copy(
        update={"ancestor": "/home/old/runs/vit", "record": {"paths": {"data": "folder:/home/old/photos"}}}
    )
    assert replace(gene, provenance=old).manifest()["provenance"]["record"] == {"paths": {"data": "folder:photos"}}
    assert Provenance(**old.model_dump()).ancestor == "vit"


def test_the_card_of_a_gene(outside):
    card = ModelCard.load(outside / "gene" / CARD_FILE)
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "germline", "image-classification")
    assert (data.tags, data.datasets, data.base_model) == (["learngene", "tleg"], ["uoft-cs/cifar100"], None)
    assert data.metrics == ["accuracy"]
    result = data.eval_results[0]
    gene = Learngene.from_pretrained(outside / "gene")
    assert result.metric_value == pytest.approx(next(iter(gene.provenance.metrics.values())), abs=1e-4)
    assert (result.metric_name, result.dataset_name) == ("auxiliary accuracy (val)", "cifar100,held_out=folder:birds")
    shares = gene.inherit().ledger.shares()
    assert draw_bars(shares) in card.text
    for part in ("Learngene.from_pretrained", "germline inherit FOLDER", "(licence: CC0 1.0)", "## Unknown"):
        assert part in card.text


def test_the_card_of_a_descendant(outside):
    card = ModelCard.load(outside / "child" / CARD_FILE)
    assert (card.data.library_name, card.data.eval_results) == ("timm", None)
    origins = json.loads((outside / "child/descendant.json").read_text())["origins"]
    for name, count in origins.items():
        assert f"{name} " in card.text
        assert count
    assert "- its accuracy" in card.text
    assert "no accuracy" not in card.text


def test_a_measured_network_gives_its_accuracy(ancestor, tmp_path):
    named = replace(ancestor, source="grown by tleg from timm vit_tiny_patch16_224.augreg_in21k, condensed on x")
    named = replace(named, licence="CC BY-NC 4.0").with_accuracy(0.91234, "cifar10:/home/me/data@32")
    named.save_pretrained(tmp_path / "net")
    card = ModelCard.load(tmp_path / "net" / CARD_FILE)
    assert card.data.eval_results[0].metric_value == 0.9123
    assert card.data.eval_results[0].dataset_name == "cifar10@32"
    assert card.data.base_model == "timm/vit_tiny_patch16_224.augreg_in21k"
    assert (card.data.license, card.data.license_name) == ("other", "cc-by-nc-4.0")
    assert card.data.datasets == ["uoft-cs/cifar10"]
    assert "/home" not in card.content
    assert "- its accuracy\n" not in card.text
    assert Network.from_pretrained(tmp_path / "net").classes == ancestor.classes


def test_the_front_matter_is_plain_yaml(outside):
    for folder in ("gene", "child", "ancestor"):
        _, head, _ = (outside / folder / CARD_FILE).read_text().split("---\n", 2)
        assert "!!" not in head
        assert isinstance(yaml.safe_load(head), dict)


def test_a_pushed_artefact_names_its_repository(outside, monkeypatch):
    pushed = {}

    def upload(folder, name, **options):
        pushed[name] = (folder / CARD_FILE).read_text()
        return f"hub/{name}"

    monkeypatch.setattr("germline.hub.upload_folder", upload)
    assert Learngene.load(outside / "gene").push_to_hub("me/gene") == "hub/me/gene"
    load_network(outside / "child").push_to_hub("me/net")
    assert 'from_pretrained("hf-hub:me/gene")' in pushed["me/gene"]
    assert 'create_model("hf-hub:me/net"' in pushed["me/net"]
    assert "FOLDER" not in pushed["me/gene"] + pushed["me/net"]


@pytest.fixture
def folder_hub(tmp_path, monkeypatch):
    """A hub that is a folder, for uploads and for the files that timm downloads."""

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, name, exist_ok=False):
            (tmp_path / name).mkdir(parents=True)

        def upload_folder(self, *, repo_id, folder_path):
            shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)
            return f"hub/{repo_id}"

    def download(repo_id, filename, **options):
        if not (tmp_path / repo_id / filename).is_file():
            raise huggingface_hub.errors.EntryNotFoundError(filename)
        return str(tmp_path / repo_id / filename)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(timm_hub, "hf_hub_download", download)
    return tmp_path


@pytest.mark.parametrize("name", ["child", "ancestor"])
def test_a_network_goes_to_the_hub_and_back(name, outside, folder_hub):
    sent = load_network(outside / name)
    assert sent.push_to_hub("me/net") == "hub/me/net"
    found = Network.from_pretrained("hf-hub:me/net")
    assert (found.classes, found.spec, found.licence) == (sent.classes, sent.spec, sent.licence)
    pixels = torch.rand(3, 1, 32, 32, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = sent.logits(pixels)
        assert torch.equal(found.logits(pixels), expected)
        plain = timm.create_model("hf-hub:me/net", pretrained=True).eval()
        assert torch.equal(plain(sent.preprocess(pixels)), expected)
    assert ModelCard.load(folder_hub / "me/net" / CARD_FILE).data.library_name == "timm"


def test_push_cleans_a_folder_of_an_earlier_version(outside, tmp_path):
    from germline.cli.push import _stage_model
    from germline.files import read_tensors, write_json, write_tensors
    from germline.network import CONFIG, RECORD, WEIGHTS
    from germline.seals import make_seal

    old, staged = tmp_path / "old", tmp_path / "staged"
    shutil.copytree(outside / "child", old)
    staged.mkdir()
    record = json.loads((old / RECORD).read_text()) | {"source": "grown by tleg from /home/old/vit, condensed on x"}
    write_json(old / RECORD, record)
    # The file that is read stays mapped, so that it is not written in place.
    tensors = {name: tensor.clone() for name, tensor in read_tensors(old / WEIGHTS).items()}
    write_tensors(
        old / WEIGHTS, tensors, make_seal(tensors, {CONFIG: json.loads((old / CONFIG).read_text()), RECORD: record})
    )
    (old / CARD_FILE).write_text("germline: weights of /home/old/vit")
    _stage_model(old, staged, "me/net")
    assert b"/home/old" not in shared_text(staged)
    assert load_network(staged).source == "grown by tleg from vit, condensed on x"
