"""Saved genes are read back bit by bit, and damaged files are refused by name."""

import json
import os
import pickle
import re
import shutil
import tomllib
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import huggingface_hub
import pytest
import torch

import germline
from germline.architectures import Size
from germline.errors import ArtefactError, GermlineError, OutputError, SettingError
from germline.files import write_tensors
from germline.learngene import (
    CARD_FILE,
    FORMAT,
    MANIFEST_FILE,
    TENSORS_FILE,
    Learngene,
    library_versions,
    read_version,
)
from germline.loading import load_network
from germline.seals import hash_json

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(gene, tmp_path):
    gene.save(tmp_path / "gene")
    return tmp_path / "gene"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_refusal(folder, file):
    """Check that loading fails with an ArtefactError that names the file and changes nothing; return the message."""
    before = contents(folder)
    with pytest.raises(ArtefactError) as caught:
        Learngene.load(folder)
    assert str(folder / file) in str(caught.value)
    assert contents(folder) == before
    return str(caught.value)


def change_manifest(folder, **changes):
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, **changes}))
    return manifest


def test_round_trip_is_bitwise(gene, folder):
    found = Learngene.load(folder)
    assert found.tensors.keys() == gene.tensors.keys()
    assert all(torch.equal(value, found.tensors[name]) for name, value in gene.tensors.items())
    assert replace(found, tensors={}) == replace(gene, tensors={}, settings=found.settings)
    assert found.bound_method() == gene.bound_method()
    assert sorted(path.name for path in folder.iterdir()) == sorted([CARD_FILE, MANIFEST_FILE, TENSORS_FILE])


def test_saving_twice_writes_the_same_bytes(folder, tmp_path):
    Learngene.load(folder).save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(folder)


def test_loaded_gene_gives_equal_descendants(gene, folder, pixels):
    with torch.no_grad():
        ours = gene.inherit(size=Size(depth=5), classes=3, seed=4).network.logits(pixels)
        theirs = Learngene.load(folder).inherit(size=Size(depth=5), classes=3, seed=4).network.logits(pixels)
    assert torch.equal(ours, theirs)


def test_gene_can_overwrite_its_own_folder(gene, folder):
    before = contents(folder)
    loaded = Learngene.load(folder)
    with pytest.raises(OutputError, match="is not empty"):
        loaded.save(folder)
    loaded.save(folder, overwrite=True)
    assert contents(folder) == before
    assert all(torch.equal(value, loaded.tensors[name]) for name, value in gene.tensors.items())
    assert [path.name for path in folder.parent.iterdir()] == ["gene"]


def test_descendants_drop_no_paths_as_their_folders_do(gene, pixels, tmp_path):
    trained = replace(gene, spec=gene.spec.model_copy(update={"drop_path": 0.9}))
    child = trained.inherit(Size(depth=3))
    child.save(tmp_path / "child")
    child.model.train()
    with torch.no_grad():
        assert torch.equal(child.network.logits(pixels), child.network.logits(pixels))
    assert load_network(tmp_path / "child").spec == child.network.spec


def test_manifest_describes_the_gene(gene, folder):
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    assert (manifest["format"], manifest["method"], manifest["anatomy"]) == (FORMAT, "tleg", "vit")
    assert manifest["spec"]["depth"] == 4
    assert manifest["grows"] == "depth=1 or more, at width=16,heads=2"
    assert manifest["classes"] == [str(digit) for digit in range(10)]
    facts = manifest["tensors"]["offset.0.mlp.fc1.weight"]
    assert (facts["shape"], facts["dtype"], len(facts["sha256"])) == ([64, 16], "float32", 64)
    card = (folder / CARD_FILE).read_text()
    assert card.startswith("---\n")
    assert "\nlicense: mit\n" in card
    assert f"| bytes | {gene.count_bytes():,} |" in card


def test_gene_without_a_head_needs_classes(gene, tmp_path):
    headless = replace(gene, classes=None, tensors={k: v for k, v in gene.tensors.items() if "head" not in k})
    headless.save(tmp_path / "bare")
    found = Learngene.load(tmp_path / "bare")
    with pytest.raises(SettingError, match="This gene has no head"):
        found.inherit()
    child = found.inherit(classes=("a", "b"))
    assert child.ledger.totals()["fresh"] == 2 * 16 + 2


def test_truncated_file_is_refused_at_any_length(folder):
    content = (folder / TENSORS_FILE).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    lengths = {0, 1, 7, 8, 9, header - 1, header, header + 1, len(content) - 1, len(content) - 4}
    lengths |= {len(content) * part // 10 for part in range(1, 10)}
    assert len(lengths) >= 16
    for length in lengths:
        (folder / TENSORS_FILE).write_bytes(content[:length])
        check_refusal(folder, TENSORS_FILE)


def test_flipped_bit_is_refused_at_any_position(folder):
    content = (folder / TENSORS_FILE).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    places = [0, 1, 7, 8, 20, header // 2, header, header + 1, (header + len(content)) // 2, len(content) - 1]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        (folder / TENSORS_FILE).write_bytes(damaged)
        check_refusal(folder, TENSORS_FILE)


def test_appended_bytes_are_refused(folder):
    with (folder / TENSORS_FILE).open("ab") as stream:
        stream.write(b"\0\0\0\0")
    check_refusal(folder, TENSORS_FILE)


@pytest.mark.parametrize("kind", ["missing", "extra", "shape", "type", "value", "swapped"])
def test_tensors_that_differ_from_the_manifest_are_refused(gene, folder, kind):
    tensors = dict(gene.tensors)
    name, other = "offset.0.mlp.fc1.weight", "slope.0.mlp.fc1.weight"
    if kind == "missing":
        del tensors[name]
    elif kind == "extra":
        tensors["more"] = torch.zeros(1)
    elif kind == "shape":
        tensors[name] = tensors[name].t().contiguous()
    elif kind == "type":
        tensors[name] = tensors[name].double()
    elif kind == "value":
        tensors[name] = tensors[name] + 1
    else:
        tensors[name], tensors[other] = tensors[other], tensors[name]
    write_tensors(folder / TENSORS_FILE, tensors)
    message = check_refusal(folder, TENSORS_FILE)
    assert ("more" if kind == "extra" else name) in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(gene, tmp_path, value):
    tensors = dict(gene.tensors)
    tensors["frame.norm.bias"] = torch.full((16,), value)
    replace(gene, tensors=tensors).save(tmp_path / "wild")
    assert "'frame.norm.bias'" in check_refusal(tmp_path / "wild", TENSORS_FILE)


def test_pickled_tensors_are_refused_and_not_run(gene, folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    for write in (lambda path: path.write_bytes(pickle.dumps(Trap())), lambda path: torch.save(Trap(), path)):
        write(folder / TENSORS_FILE)
        assert "is a pickle" in check_refusal(folder, TENSORS_FILE)
    assert not (tmp_path / "sprung").exists()


def test_newer_format_error_suggests_an_upgrade(folder):
    change_manifest(folder, format=FORMAT + 1)
    assert "pip install --upgrade germline" in check_refusal(folder, MANIFEST_FILE)


@pytest.mark.parametrize("value", [None, "1", 0, -1, True, 1.5, [1]])
def test_invalid_format_is_refused(folder, value):
    change_manifest(folder, format=value)
    check_refusal(folder, MANIFEST_FILE)


@pytest.mark.parametrize(
    "field", ["format", "method", "settings", "anatomy", "spec", "classes", "preprocess", "provenance", "tensors"]
)
def test_missing_field_is_refused(folder, field):
    manifest = change_manifest(folder)
    del manifest[field]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    check_refusal(folder, MANIFEST_FILE)


@pytest.mark.parametrize(
    ("field", "key"), [("settings", "steps"), ("spec", "depth"), ("preprocess", "std"), ("provenance", "metrics")]
)
def test_unknown_or_wrong_entry_of_a_field_is_refused(folder, field, key):
    manifest = change_manifest(folder)
    for value in ({**manifest[field], "no_such_entry": 1}, {**manifest[field], key: "nonsense"}, None, [1]):
        change_manifest(folder, **{field: value})
        check_refusal(folder, MANIFEST_FILE)


@pytest.mark.parametrize("field", ["method", "anatomy"])
@pytest.mark.parametrize("value", ["no_such_thing", 3, None, [1]])
def test_unknown_method_or_architecture_is_refused(folder, field, value):
    change_manifest(folder, **{field: value})
    check_refusal(folder, MANIFEST_FILE)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '"x"', "{", "{}"])
def test_invalid_manifest_is_refused(folder, text):
    (folder / MANIFEST_FILE).write_text(text)
    check_refusal(folder, MANIFEST_FILE)


def test_impossible_spec_is_refused(folder):
    manifest = change_manifest(folder)
    for wrong in ({"depth": 0}, {"heads": 3}, {"image_size": 30}):
        change_manifest(folder, spec={**manifest["spec"], **wrong})
        check_refusal(folder, MANIFEST_FILE)


def test_missing_folders_and_files_are_named(folder, tmp_path):
    with pytest.raises(ArtefactError, match=r"No learngene at '.*missing'"):
        Learngene.load(tmp_path / "missing")
    (folder / TENSORS_FILE).unlink()
    check_refusal(folder, TENSORS_FILE)
    (folder / MANIFEST_FILE).unlink()
    with pytest.raises(ArtefactError, match=r"Cannot read '.*learngene\.json'"):
        Learngene.load(folder)


def test_full_disk_keeps_the_old_gene(gene, folder, monkeypatch):
    before = contents(folder)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("germline.learngene.write_tensors", full)
    with pytest.raises(OutputError, match="No space left on device"):
        gene.save(folder, overwrite=True)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["gene"]


def test_descendant_folder_contains_its_ledger(gene, tmp_path):
    child = gene.inherit(size=Size(depth=3), classes=3, seed=7)
    child.save(tmp_path / "child")
    facts = json.loads((tmp_path / "child" / "descendant.json").read_text())
    assert facts["origins"] == child.ledger.totals()
    assert facts["gene"]["seed"] == 7
    assert facts["gene"]["method"] == "tleg"
    assert sum(sum(row.values()) for row in facts["ledger"].values()) == sum(facts["origins"].values())


class Hub:
    """A hub that is a folder."""

    def __init__(self, root):
        self.root = root
        self.tokens, self.private = [], []

    def api(self, token=None):
        self.tokens.append(token)
        return self

    def create_repo(self, name, exist_ok=False, private=None):
        self.private.append(private)
        (self.root / name).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id, folder_path, commit_message=None):
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return f"hub/{repo_id}/{commit_message}"

    def snapshot_download(self, name, revision=None, allow_patterns=None):
        if not (self.root / name).is_dir():
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"no repository {name}")
        place = self.root.parent / "cache" / name
        place.mkdir(parents=True)
        for pattern in allow_patterns:
            for path in (self.root / name).glob(pattern):
                shutil.copy(path, place)
        return str(place)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub.api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def test_pushed_gene_loads_from_the_hub(gene, hub):
    where = gene.push_to_hub("someone/gene", token="secret", commit_message="first")
    assert where == "hub/someone/gene/first"
    assert hub.tokens == ["secret"]
    found = Learngene.load("hf-hub:someone/gene")
    assert all(torch.equal(value, found.tensors[name]) for name, value in gene.tensors.items())


def test_a_new_repository_can_be_private(gene, hub):
    gene.push_to_hub("someone/gene", private=True)
    gene.push_to_hub("someone/gene")
    assert hub.private == [True, None]


def test_hub_gene_is_verified(gene, hub):
    gene.push_to_hub("someone/gene")
    path = hub.root / "someone" / "gene" / TENSORS_FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=r"learngene\.safetensors"):
        Learngene.load("hf-hub:someone/gene")


def test_missing_hub_gene_is_refused(hub):
    with pytest.raises(ArtefactError, match="Cannot fetch learngene 'hf-hub:someone/else'"):
        Learngene.load("hf-hub:someone/else")


def test_changed_manifest_raises_only_germline_errors(folder):
    # A single flipped bit anywhere in the manifest either does no harm or is refused by a GermlineError.
    content = (folder / MANIFEST_FILE).read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for place in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[place] ^= 4
        Path(folder / MANIFEST_FILE).write_bytes(damaged)
        try:
            Learngene.load(folder)
            outcomes["read"] += 1
        except GermlineError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 30


# Manifests whose parts contradict each other, with a correct hash.

CONTRADICTIONS = {
    "stored-itself": {"method": "stored", "settings": {"gene": "."}},
    "stored-inside": {"method": "random-gene", "settings": {"method": "stored", "settings": {"gene": "."}}},
    "stored-twice": {
        "method": "random-gene",
        "settings": {"method": "random-gene", "settings": {"method": "stored", "settings": {"gene": "x"}}},
    },
    "other-method": {"method": "layers", "settings": {}},
    "method-without-gene": {"method": "scratch", "settings": {}},
    "width-huge": {"spec": {"width": 10**8}},
    "width-large": {"spec": {"width": 60_000}},
    "width-other": {"spec": {"width": 32}},
    "depth-huge": {"spec": {"depth": 10**6}},
    "image-huge": {"spec": {"image_size": 10**6}, "preprocess": {"image_size": 10**6}},
    "image-of-spec": {"spec": {"image_size": 64}},
    "image-of-preprocess": {"preprocess": {"image_size": 64}},
    "channels": {"spec": {"channels": 3}},
    "class-token": {"spec": {"class_token": True}},
    "registers": {"spec": {"reg_tokens": 2}},
    "qk-norm": {"spec": {"qk_norm": True}},
    "mlp-ratio": {"spec": {"mlp_ratio": 1e300}},
    "patch-zero": {"spec": {"patch_size": 0}},
    "patch-other": {"spec": {"patch_size": 16}},
    "classes-of-spec": {"spec": {"classes": 4}},
    "classes-huge": {"spec": {"classes": 10**9}},
    "class-twice": {"classes": ["0", *"023456789"]},
    "class-missing": {"classes": list("012345678")},
    "class-number": {"classes": [0, *"123456789"]},
    "classes-text": {"classes": "0123456789"[:9]},
    "mean-two": {"preprocess": {"mean": [0.5, 0.5]}},
    "std-zero": {"preprocess": {"std": [0.0]}},
    "std-negative": {"preprocess": {"std": [-1.0]}},
    "anatomy": {"anatomy": "stitched"},
}


@pytest.mark.parametrize("changes", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictory_manifest_is_refused(folder, changes):
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    for key, value in changes.items():
        manifest[key] = {**manifest[key], **value} if key in ("spec", "preprocess") else value
    del manifest["sha256"]
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "sha256": hash_json(manifest)}))
    assert len(check_refusal(folder, MANIFEST_FILE)) < 800


@pytest.mark.parametrize("file", [MANIFEST_FILE, TENSORS_FILE])
@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "device"])
def test_special_files_are_refused(folder, file, kind):
    place = folder / file
    place.unlink()
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(file if kind == "loop" else "/dev/zero")
    with pytest.raises(ArtefactError, match="Cannot read '") as caught:
        Learngene.load(folder)
    assert str(place) in str(caught.value)


def test_versions_are_read_without_installed_packages(monkeypatch):
    def find_none(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("germline.learngene.version", find_none)
    read_version.cache_clear()
    try:
        found = library_versions()
    finally:
        read_version.cache_clear()
    assert found["germline"] == germline.__version__
    assert found["torch"] == torch.__version__
    assert all(re.match(r"\d+\.\d+", text) for text in found.values())


def test_version_is_defined_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    place = ROOT / project["tool"]["hatch"]["version"]["path"]
    assert place.samefile(germline.__file__)
    assert f"\nversion: {germline.__version__}\n" in (ROOT / "CITATION.cff").read_text()
