"""Cards have the hub's format, and artefacts contain no path of the machine that made them."""

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
from germline.cli.push import _stage_model
from germline.errors import ArtefactError
from germline.files import read_json, read_metadata, read_tensors, write_json, write_tensors
from germline.hub import CARD_FILE
from germline.network import CONFIG, RECORD, WEIGHTS
from germline.provenance import Provenance
from germline.seals import make_seal


@pytest.fixture(scope="module")
def outside_folder(ancestor, gene, tmp_path_factory):
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


def read_all_bytes(*folders):
    """Return the bytes of all files, to search for names."""
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_saved_artefacts_contain_no_absolute_path(outside_folder):
    text = read_all_bytes(outside_folder / "ancestor", outside_folder / "gene", outside_folder / "child")
    for place in (str(outside_folder), outside_folder.name, str(Path.home()) + "/"):
        assert place.encode() not in text
    assert Learngene.load(outside_folder / "gene").provenance.data == "cifar100,held_out=folder:birds"
    assert load_network(outside_folder / "child").source.startswith("grown by tleg from ancestor (sha256 ")


def test_paths_of_an_earlier_gene_are_removed(gene):
    # `model_copy` skips the checks, as earlier versions did.
    old = gene.provenance.model_copy(
        update={"ancestor": "/home/old/runs/vit", "record": {"paths": {"data": "folder:/home/old/photos"}}}
    )
    assert replace(gene, provenance=old).manifest()["provenance"]["record"] == {"paths": {"data": "folder:photos"}}
    assert Provenance(**old.model_dump()).ancestor == "vit"


def test_gene_card_has_metadata_and_commands(outside_folder):
    card = ModelCard.load(outside_folder / "gene" / CARD_FILE)
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "germline", "image-classification")
    assert (data.tags, data.datasets, data.base_model) == (["learngene", "tleg"], ["uoft-cs/cifar100"], None)
    assert data.metrics == ["accuracy"]
    result = data.eval_results[0]
    gene = Learngene.from_pretrained(outside_folder / "gene")
    assert result.metric_value == pytest.approx(next(iter(gene.provenance.metrics.values())), abs=1e-4)
    assert (result.metric_name, result.dataset_name) == ("auxiliary accuracy (val)", "cifar100,held_out=folder:birds")
    shares = gene.inherit().ledger.shares()
    assert draw_bars(shares) in card.text
    for part in ("Learngene.from_pretrained", "germline inherit FOLDER", "(licence: CC0 1.0)", "## Unknown"):
        assert part in card.text


def test_descendant_card_lists_origins(outside_folder):
    card = ModelCard.load(outside_folder / "child" / CARD_FILE)
    assert (card.data.library_name, card.data.eval_results) == ("timm", None)
    origins = json.loads((outside_folder / "child/descendant.json").read_text())["origins"]
    for name, count in origins.items():
        assert f"{name} " in card.text
        assert count
    assert "- its accuracy" in card.text
    assert "no accuracy" not in card.text


def test_network_card_has_the_measured_accuracy(ancestor, tmp_path):
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


def test_front_matter_is_plain_yaml(outside_folder):
    for folder in ("gene", "child", "ancestor"):
        _, head, _ = (outside_folder / folder / CARD_FILE).read_text().split("---\n", 2)
        assert "!!" not in head
        assert isinstance(yaml.safe_load(head), dict)


def test_pushed_card_names_its_repository(outside_folder, monkeypatch):
    pushed = {}

    def upload(folder, name, **options):
        pushed[name] = (folder / CARD_FILE).read_text()
        return f"hub/{name}"

    monkeypatch.setattr("germline.hub.upload_folder", upload)
    assert Learngene.load(outside_folder / "gene").push_to_hub("me/gene") == "hub/me/gene"
    load_network(outside_folder / "child").push_to_hub("me/net")
    assert 'from_pretrained("hf-hub:me/gene")' in pushed["me/gene"]
    assert 'create_model("hf-hub:me/net"' in pushed["me/net"]
    assert "FOLDER" not in pushed["me/gene"] + pushed["me/net"]


@pytest.fixture
def folder_hub(tmp_path, monkeypatch):
    """A hub that is a folder, for uploads and for the files that germline and timm download."""

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, name, exist_ok=False, private=None):
            (tmp_path / name).mkdir(parents=True)

        def upload_folder(self, *, repo_id, folder_path):
            shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)
            return f"hub/{repo_id}"

    def download(repo_id, filename, **options):
        if not (tmp_path / repo_id / filename).is_file():
            raise huggingface_hub.errors.EntryNotFoundError(filename)
        return str(tmp_path / repo_id / filename)

    def snapshot(repo_id, revision=None, allow_patterns=()):
        if not (tmp_path / repo_id).is_dir():
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"no repository {repo_id}")
        place = tmp_path / "cache" / f"{len(list(tmp_path.glob('cache/*')))}-{revision}"
        place.mkdir(parents=True)
        for name in allow_patterns:
            if (tmp_path / repo_id / name).is_file():
                shutil.copy(tmp_path / repo_id / name, place)
        return str(place)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(timm_hub, "hf_hub_download", download)
    return tmp_path


@pytest.mark.parametrize("name", ["child", "ancestor"])
def test_pushed_network_loads_with_equal_outputs(name, outside_folder, folder_hub):
    sent = load_network(outside_folder / name)
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


def change_weight(folder):
    """Change one number of the weights, and keep their header with the hashes."""
    tensors, metadata = read_tensors(folder / WEIGHTS), read_metadata(folder / WEIGHTS)
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed["head.bias"][0] += 1
    write_tensors(folder / WEIGHTS, changed, metadata)


def rename_class(folder):
    config = read_json(folder / CONFIG)
    config["label_names"][0] = "another"
    write_json(folder / CONFIG, config)


def remove_record(folder):
    (folder / RECORD).unlink()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("hf-hub:me/net", change_weight),
        ("hf-hub:me/net@32", rename_class),
        ("hf-hub:me/net@main", remove_record),
        ("timm:hf_hub:me/net", change_weight),
    ],
)
def test_changed_hub_network_is_refused(name, damage, outside_folder, folder_hub):
    load_network(outside_folder / "child").push_to_hub("me/net")
    shutil.copy(outside_folder / "child" / RECORD, folder_hub / "me/net")
    shutil.copy(outside_folder / "child" / WEIGHTS, folder_hub / "me/net")
    assert load_network(name).source == load_network(outside_folder / "child").source + (
        " at 32 pixels" if "@32" in name else ""
    )
    damage(folder_hub / "me/net")
    with pytest.raises(ArtefactError, match=r"is damaged or was changed.* hash in model\.safetensors\. Remove .*cache"):
        load_network(name)


def test_hub_network_loads_at_another_size(outside_folder, folder_hub):
    sent = load_network(outside_folder / "ancestor")
    sent.push_to_hub("me/net")
    wide = load_network("hf-hub:me/net@64")
    assert (wide.preprocess.image_size, wide.classes, wide.source) == (64, sent.classes, "hf-hub:me/net at 64 pixels")
    grey = load_network("hf-hub:me/net", mean=(0.25,), std=(0.5,))
    assert (grey.preprocess.mean, grey.preprocess.std, grey.source) == ((0.25,), (0.5,), "hf-hub:me/net")


def test_foreign_hub_network_loads_through_timm(outside_folder, folder_hub):
    load_network(outside_folder / "ancestor").push_to_hub("me/net")
    write_tensors(folder_hub / "me/net" / WEIGHTS, read_tensors(folder_hub / "me/net" / WEIGHTS))
    assert load_network("hf-hub:me/net").source == "timm hf-hub:me/net"


@pytest.mark.parametrize("name", ["hf-hub:me/none", "timm:hf-hub:me/none"])
def test_missing_hub_network_is_named(name, folder_hub):
    with pytest.raises(ArtefactError, match="Cannot fetch network 'hf-hub:me/none'"):
        load_network(name)


def test_push_removes_paths_of_an_earlier_version(outside_folder, tmp_path):
    old, staged = tmp_path / "old", tmp_path / "staged"
    shutil.copytree(outside_folder / "child", old)
    staged.mkdir()
    record = json.loads((old / RECORD).read_text()) | {"source": "grown by tleg from /home/old/vit, condensed on x"}
    write_json(old / RECORD, record)
    # The read file stays mapped, so the new tensors are copies.
    tensors = {name: tensor.clone() for name, tensor in read_tensors(old / WEIGHTS).items()}
    write_tensors(
        old / WEIGHTS, tensors, make_seal(tensors, {CONFIG: json.loads((old / CONFIG).read_text()), RECORD: record})
    )
    (old / CARD_FILE).write_text("germline: weights of /home/old/vit")
    _stage_model(old, staged, "me/net")
    assert b"/home/old" not in read_all_bytes(staged)
    assert load_network(staged).source == "grown by tleg from vit, condensed on x"
