"""Model folders are as safe as genes: changed, contradictory or outward-reaching folders are refused in one message."""

import json
import os
import re
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from germline.architectures import Size
from germline.errors import ArtefactError, GermlineError
from germline.files import write_tensors
from germline.loading import load_network
from germline.network import CONFIG, RECORD, WEIGHTS
from germline.seals import SEAL_KEY

HUGE = 10**8


@pytest.fixture(scope="module")
def saved_folders(ancestor, gene, ancestors, tmp_path_factory):
    """Folders with hashes: a ViT, a descendant with its record, a ResNet; and the ViT without hashes."""
    place = tmp_path_factory.mktemp("made")
    ancestor.save(place / "vit")
    gene.inherit(Size(depth=3), ("a", "b", "c")).save(place / "child")
    ancestors["resnet"].save(place / "resnet")
    shutil.copytree(place / "vit", place / "foreign")
    write_tensors(place / "foreign" / WEIGHTS, load_file(place / "foreign" / WEIGHTS))
    return place


@pytest.fixture
def copy_folder(saved_folders, tmp_path):
    """Function that copies one of the saved folders."""

    def copy(name):
        shutil.copytree(saved_folders / name, tmp_path / name)
        return tmp_path / name

    return copy


def load_refused(folder):
    """Return the message that refuses a folder, and check that the folder stays unchanged."""
    before = sorted(folder.iterdir())
    with pytest.raises(GermlineError) as caught:
        load_network(folder)
    assert caught.value.exit_code == 2
    assert sorted(folder.iterdir()) == before
    return str(caught.value)


def change_config(folder, change):
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))


def change_tensors(folder, change):
    tensors = load_file(folder / WEIGHTS)
    with safe_open(folder / WEIGHTS, "pt") as file:
        metadata = file.metadata()
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS, metadata)


# Unchanged folders.


@pytest.mark.parametrize("name", ["vit", "child", "resnet"])
def test_saved_folders_have_a_hash_of_every_tensor_and_file(saved_folders, name):
    with safe_open(saved_folders / name / WEIGHTS, "pt") as file:
        seal = json.loads(file.metadata()[SEAL_KEY])
        assert len(seal["tensors"].split()) == len(set(seal["tensors"].split())) == len(list(file.keys()))
    assert set(seal["files"]) == ({CONFIG, RECORD} if name == "child" else {CONFIG})
    assert "without hashes" not in load_network(saved_folders / name).source


def test_foreign_folder_loads_with_a_note_about_hashes(saved_folders):
    ours, theirs = load_network(saved_folders / "vit"), load_network(saved_folders / "foreign")
    assert re.fullmatch(r"foreign \(sha256 [0-9a-f]{12}\) \(read without hashes\)", theirs.source)
    assert (theirs.classes, theirs.spec, theirs.preprocess) == (ours.classes, ours.spec, ours.preprocess)
    assert all(torch.equal(one, other) for one, other in zip(*both_states(ours, theirs), strict=True))


def both_states(*networks):
    return [list(network.model.state_dict().values()) for network in networks]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_foreign_half_precision_is_read_exactly(copy_folder, dtype):
    folder = copy_folder("foreign")
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    state = load_network(folder).model.state_dict()
    assert all(state[name].dtype == torch.float32 for name in tensors)
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in tensors.items())


# Files that differ from their hashes.


@pytest.mark.parametrize("name", ["vit", "child", "resnet"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_flipped_bit_in_the_weights_is_refused(copy_folder, name, share):
    folder = copy_folder(name)
    data = bytearray((folder / WEIGHTS).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + int((len(data) - start - 1) * share)] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    assert "differs from the hash in" in load_refused(folder)


CHANGED_TENSORS = {
    "value": lambda tensors: tensors["norm.bias"].add_(1e-6),
    "swapped": lambda tensors: tensors.update(
        {"norm.bias": tensors["norm.weight"], "norm.weight": tensors["norm.bias"]}
    ),
    "half": lambda tensors: tensors.update({name: tensor.half() for name, tensor in tensors.items()}),
    "bfloat16": lambda tensors: tensors.update({"norm.bias": tensors["norm.bias"].bfloat16()}),
}


@pytest.mark.parametrize("change", CHANGED_TENSORS.values(), ids=CHANGED_TENSORS)
def test_changed_tensors_are_refused(copy_folder, change):
    folder = copy_folder("vit")
    change_tensors(folder, change)
    assert f"differs from the hash in {WEIGHTS}" in load_refused(folder)


CHANGED_CONFIGS = {
    "label": lambda config: config["label_names"].__setitem__(0, "zero"),
    "labels-swapped": lambda config: config["label_names"].reverse(),
    "labels-removed": lambda config: config.pop("label_names"),
    "mean": lambda config: config["pretrained_cfg"].update(mean=[0.5]),
    "std": lambda config: config["pretrained_cfg"].update(std=[0.5]),
    "licence": lambda config: config["pretrained_cfg"].update(license="mine"),
    "heads": lambda config: config["model_args"].update(num_heads=4),
    "key-removed": lambda config: config["pretrained_cfg"].pop("crop_pct"),
    "key-added": lambda config: config.update(more=1),
}


@pytest.mark.parametrize("change", CHANGED_CONFIGS.values(), ids=CHANGED_CONFIGS)
def test_changed_configuration_is_refused(copy_folder, change):
    folder = copy_folder("vit")
    change_config(folder, change)
    assert f"'{folder / CONFIG}' is damaged or was changed" in load_refused(folder)


def test_reformatted_configuration_is_read(copy_folder):
    folder = copy_folder("vit")
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(dict(reversed(config.items())), indent=7))
    assert load_network(folder).classes == tuple("0123456789")


@pytest.mark.parametrize("kind", ["source", "ledger", "removed"])
def test_changed_record_is_refused(copy_folder, kind):
    folder = copy_folder("child")
    record = json.loads((folder / RECORD).read_text())
    record.update({"source": "elsewhere"} if kind == "source" else {"ledger": {}})
    (folder / RECORD).write_text(json.dumps(record))
    if kind == "removed":
        (folder / RECORD).unlink()
    assert f"'{folder / RECORD}' is damaged or was changed" in load_refused(folder)


@pytest.mark.parametrize("seal", ["", "{", "[]", "null", "{}", '{"format": 1}', "[" * 100_000, '{"format": true}'])
def test_damaged_hashes_are_refused(copy_folder, seal):
    folder = copy_folder("vit")
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {SEAL_KEY: seal})
    assert f"The hashes in '{folder / WEIGHTS}' are damaged" in load_refused(folder)


def test_hashes_of_a_newer_format_suggest_an_upgrade(copy_folder):
    folder = copy_folder("vit")
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {SEAL_KEY: '{"format": 2}'})
    assert "pip install --upgrade germline" in load_refused(folder)


# Contradictory configurations. The folder has no hashes, so only its content shows the contradiction.


def set_entry(**changes):
    return lambda config: config.update(changes)


def set_argument(**changes):
    return lambda config: config["model_args"].update(changes)


def set_pretrained(**changes):
    return lambda config: config["pretrained_cfg"].update(changes)


CONTRADICTIONS = {
    # Other places
    "checkpoint": (set_argument(checkpoint_path="/etc/passwd"), "checkpoint_path"),
    "pretrained": (set_argument(pretrained=True), "pretrained"),
    "pretrained-cfg": (set_argument(pretrained_cfg={"file": "/x", "state_dict": {}}), "pretrained_cfg"),
    "pretrained-overlay": (set_argument(pretrained_cfg_overlay={"url": "http://x"}), "pretrained_cfg_overlay"),
    "cache": (set_argument(cache_dir="/x"), "cache_dir"),
    "features-only": (set_argument(features_only=True), "features_only"),
    "pruned": (set_argument(pruned=True), "pruned"),
    "device": (set_argument(device="cuda"), "device"),
    "hub": (set_entry(architecture="hf-hub:someone/model"), "leads to another place"),
    "local": (set_entry(architecture="local-dir:/etc"), "leads to another place"),
    "path": (set_entry(architecture="../../x"), "leads to another place"),
    "drive": (set_entry(architecture="c:\\x"), "leads to another place"),
    "unknown-model": (set_entry(architecture="vit_bose"), "Unknown model 'vit_bose'"),
    "unknown-argument": (set_argument(no_such=1), "no_such"),
    "other-architecture": (set_entry(architecture="resnet18"), "model_args"),
    # Names
    "no-architecture": (lambda config: config.pop("architecture"), "architecture"),
    "architecture-number": (set_entry(architecture=3), "architecture"),
    "architecture-list": (set_entry(architecture=["vit"]), "architecture"),
    "architecture-long": (set_entry(architecture="v" * 10_000), "architecture"),
    "label-twice": (set_entry(label_names=["0", "0", *"23456789"]), "'0' is there twice"),
    "label-missing": (set_entry(label_names=list("012345678")), "9 for 10 classes"),
    "label-more": (set_entry(label_names=list("0123456789x")), "11 for 10 classes"),
    "label-number": (set_entry(label_names=[0, *"123456789"]), "not a text"),
    "label-null": (set_entry(label_names=[None, *"123456789"]), "not a text"),
    "label-surrogate": (set_entry(label_names=["\ud800", *"123456789"]), "not a text"),
    "labels-text": (set_entry(label_names="0123456789"), "not a list"),
    "labels-mapping-gap": (set_entry(label_names={str(index): "x" for index in range(1, 11)}), "'0'"),
    "licence": (set_pretrained(license=["mit"]), "license"),
    # Classes
    "classes-missing": (lambda config: config.pop("num_classes"), "num_classes"),
    "classes-text": (set_entry(num_classes="10"), "num_classes"),
    "classes-true": (set_entry(num_classes=True), "num_classes"),
    "classes-float": (set_entry(num_classes=10.0), "num_classes"),
    "classes-negative": (set_entry(num_classes=-1), "num_classes"),
    "classes-huge": (set_entry(num_classes=10**9, label_names=None), "num_classes"),
    "classes-two-answers": (set_argument(num_classes=4), "it is 10, and 4 in model_args"),
    "classes-not-of-weights": (set_entry(num_classes=4, label_names=None), "head."),
    # Statistics
    "mean-missing": (lambda config: config["pretrained_cfg"].pop("mean"), "mean"),
    "mean-nan": (set_pretrained(mean=[float("nan")]), "NaN is not a number of JSON"),
    "mean-infinite": (set_pretrained(mean=[float("inf")]), "Infinity is not a number of JSON"),
    "mean-text": (set_pretrained(mean=["grey"]), "mean"),
    "mean-null": (set_pretrained(mean=None), "problem"),
    "mean-three": (set_pretrained(mean=[0.5] * 3), "3 means and 1 deviations"),
    "mean-empty": (set_pretrained(mean=[]), "0 means"),
    "std-zero": (set_pretrained(std=[0.0]), "positive"),
    "std-negative": (set_pretrained(std=[-0.5]), "positive"),
    "std-nan": (set_pretrained(std=[float("nan")]), "NaN is not a number of JSON"),
    "std-three": (set_pretrained(std=[0.5] * 3), "1 means and 3 deviations"),
    # Sizes
    "input-missing": (lambda config: config["pretrained_cfg"].pop("input_size"), "input_size"),
    "input-two": (set_pretrained(input_size=[1, 32]), "input_size"),
    "input-zero": (set_pretrained(input_size=[1, 0, 0]), "input_size"),
    "input-negative": (set_pretrained(input_size=[1, -32, -32]), "input_size"),
    "input-float": (set_pretrained(input_size=[1, 32.5, 32.5]), "input_size"),
    "input-true": (set_pretrained(input_size=[True, 32, 32]), "input_size"),
    "input-huge": (set_pretrained(input_size=[1, 10**6, 10**6]), "input_size"),
    "input-not-of-weights": (set_pretrained(input_size=[1, 64, 64]), "64 pixels, and the weights are for 32"),
    "channels-not-of-weights": (set_pretrained(input_size=[3, 32, 32], mean=[0.5] * 3, std=[0.5] * 3), "3 channels"),
    "channels-of-arguments": (set_argument(in_chans=3), "1 channels, and the network has 3"),
    "width-huge": (set_argument(embed_dim=HUGE), "embed_dim"),
    "width-large": (set_argument(embed_dim=99_998), "much larger network"),
    "width-other": (set_argument(embed_dim=32), "does not fit the network"),
    "width-zero": (set_argument(embed_dim=0), "cannot build"),
    "width-negative": (set_argument(embed_dim=-16), "cannot build"),
    "width-text": (set_argument(embed_dim="wide"), "cannot build"),
    "width-list": (set_argument(embed_dim=[16]), "cannot build"),
    "depth-huge": (set_argument(depth=10**6), "depth"),
    "depth-large": (set_argument(depth=100_000), "much larger network"),
    "depth-other": (set_argument(depth=3), "does not fit the network"),
    "depth-zero": (set_argument(depth=0), "does not fit the network"),
    "depth-negative": (set_argument(depth=-1), "cannot build"),
    "heads-not-a-divisor": (set_argument(num_heads=3), "cannot build"),
    "heads-zero": (set_argument(num_heads=0), "cannot build"),
    "image-huge": (set_argument(img_size=10**6), "img_size"),
    "image-large": (set_argument(img_size=4096, patch_size=1), "much larger network"),
    "image-other": (set_argument(img_size=64), "does not fit the network"),
    "patch-zero": (set_argument(patch_size=0), "cannot build"),
    "mlp-huge": (set_argument(mlp_ratio=1e300), "mlp_ratio"),
    "mlp-large": (set_argument(mlp_ratio=1e5), "much larger network"),
    "registers-large": (set_argument(reg_tokens=99_999_9), "reg_tokens"),
    "block": (set_argument(block_fn="os.system"), "cannot build"),
    "norm": (set_argument(norm_layer="no_such_norm"), "cannot build"),
    "text-long": (set_argument(act_layer="x" * 10**6), "act_layer"),
    "nested": (set_argument(norm_layer=[[[[[[1]]]]]]), "nested too deeply"),
    # Kinds
    "list": (None, "not a mapping"),
    "arguments-list": (set_entry(model_args=[1]), "model_args"),
    "arguments-null": (set_entry(model_args=None), "model_args"),
    "pretrained-missing": (lambda config: config.pop("pretrained_cfg"), "pretrained_cfg"),
    "pretrained-text": (set_entry(pretrained_cfg="x"), "pretrained_cfg"),
}


@pytest.mark.parametrize(("change", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictory_configuration_is_refused(copy_folder, change, words):
    folder = copy_folder("foreign")
    if change is None:
        (folder / CONFIG).write_text("[1, 2]")
    else:
        change_config(folder, change)
    message = load_refused(folder)
    assert words in message
    assert len(message) < 700


# Damaged and contradictory weights.


def change_header(change):
    """Function that changes the header of the weights and keeps the data."""

    def apply(folder):
        data = (folder / WEIGHTS).read_bytes()
        length = int.from_bytes(data[:8], "little")
        facts = json.loads(data[8 : 8 + length])
        change(facts)
        text = json.dumps(facts).encode()
        (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    return apply


def change_tensors_by(change):
    return lambda folder: change_tensors(folder, change)


def replace_file(data):
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


def change_fact(**changes):
    return change_header(lambda facts: facts["norm.bias"].update(changes))


BAD_WEIGHTS = {
    "missing": change_tensors_by(lambda found: found.pop("norm.bias")),
    "extra": change_tensors_by(lambda found: found.update(more=torch.zeros(1))),
    "renamed": change_tensors_by(lambda found: found.update({"norm.bais": found.pop("norm.bias")})),
    "shape": change_tensors_by(lambda found: found.update({"norm.bias": torch.zeros(17)})),
    "scalar": change_tensors_by(lambda found: found.update({"norm.bias": torch.tensor(1.0)})),
    "flat": change_tensors_by(lambda found: found.update({"head.weight": found["head.weight"].flatten()})),
    "nan": change_tensors_by(lambda found: found["norm.bias"].fill_(float("nan"))),
    "infinite": change_tensors_by(lambda found: found["norm.bias"][0].fill_(float("inf"))),
    "minus-infinite": change_tensors_by(lambda found: found["head.weight"][3].fill_(-float("inf"))),
    "double": change_tensors_by(lambda found: found.update({"norm.bias": found["norm.bias"].double()})),
    "int64": change_tensors_by(lambda found: found.update({"norm.bias": found["norm.bias"].long()})),
    "int8": change_tensors_by(lambda found: found.update({"head.weight": found["head.weight"].to(torch.int8)})),
    "bool": change_tensors_by(lambda found: found.update({"norm.bias": found["norm.bias"].bool()})),
    "complex": change_fact(dtype="C64", shape=[8]),
    "float8": change_tensors_by(lambda found: found.update({"norm.bias": found["norm.bias"].to(torch.float8_e4m3fn)})),
    "empty": replace_file(b""),
    "no-header": replace_file(b"\0" * 8),
    "header-too-long": replace_file((2**62).to_bytes(8, "little") + b"{}"),
    "header-not-json": replace_file((4).to_bytes(8, "little") + b"{{{{"),
    "header-empty": replace_file((2).to_bytes(8, "little") + b"{}"),
    "header-nested": replace_file((100_000).to_bytes(8, "little") + b'{"a":' * 20_000),
    "header-shape-huge": change_fact(shape=[2**40]),
    "header-shape-negative": change_fact(shape=[-16]),
    "header-shape-overflow": change_fact(shape=[2**62, 2**62]),
    "header-shape-zero": change_fact(shape=[0], data_offsets=[0, 0]),
    "header-dtype": change_fact(dtype="F64"),
    "header-dtype-unknown": change_fact(dtype="F128"),
    "header-dtype-int": change_fact(dtype="I32"),
    "header-dtype-float4": change_fact(dtype="F4"),
    "header-offsets-swapped": change_fact(data_offsets=[64, 0]),
    "header-offsets-outside": change_fact(data_offsets=[10**9, 10**9 + 64]),
    "header-offsets-overlap": change_fact(data_offsets=[0, 64]),
    "header-metadata-number": change_header(lambda facts: facts.update(__metadata__=3)),
    "header-metadata-nested": change_header(lambda facts: facts.update(__metadata__={"a": {"b": 1}})),
}


@pytest.mark.parametrize("change", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_damaged_weights_are_refused(copy_folder, change):
    folder = copy_folder("foreign")
    change(folder)
    assert WEIGHTS in load_refused(folder)


# Special files.


def make_pipe(path):
    os.mkfifo(path)


def make_loop(path):
    path.symlink_to(path)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_dangling(path):
    path.symlink_to(path.parent / "missing")


def leave_missing(path):
    pass


SPECIAL = {
    "folder": os.mkdir,
    "pipe": make_pipe,
    "loop": make_loop,
    "device": make_device,
    "missing": make_dangling,
    "nothing": leave_missing,
}


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, RECORD])
@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_special_files_are_refused(copy_folder, name, make):
    folder = copy_folder("child")
    (folder / name).unlink()
    make(folder / name)
    assert str(folder / name) in load_refused(folder)


def test_pickled_weights_are_named(copy_folder):
    folder = copy_folder("foreign")
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin" in load_refused(folder)


@pytest.mark.parametrize("text", ["", "null", "3", '"x"', "{", '{"a": 1e999}', "[" * 100_000, "\ufeff{}", "9" * 5000])
def test_invalid_configuration_is_refused(copy_folder, text):
    folder = copy_folder("foreign")
    (folder / CONFIG).write_text(text, encoding="utf-8")
    assert CONFIG in load_refused(folder)


def test_huge_configuration_is_refused(copy_folder):
    folder = copy_folder("foreign")
    with (folder / CONFIG).open("ab") as stream:
        stream.truncate(2**40)
    assert "too large" in load_refused(folder)


@pytest.mark.parametrize("record", ["[]", "3", '{"source": 3}', '{"source": "\\ud800"}', "{", ""])
def test_invalid_record_is_refused(copy_folder, record):
    folder = copy_folder("foreign")
    (folder / RECORD).write_text(record)
    with pytest.raises(ArtefactError, match=r"descendant\.json"):
        load_network(folder)
