"""Model folders are as safe as genes: what was changed, lies, or reaches outside is refused in one message."""

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
def made(ancestor, gene, ancestors, tmp_path_factory):
    """Folders with hashes: a ViT, a descendant with its record, a ResNet; and the ViT as others would save it."""
    place = tmp_path_factory.mktemp("made")
    ancestor.save(place / "vit")
    gene.inherit(Size(depth=3), ("a", "b", "c")).save(place / "child")
    ancestors["resnet"].save(place / "resnet")
    shutil.copytree(place / "vit", place / "foreign")
    write_tensors(place / "foreign" / WEIGHTS, load_file(place / "foreign" / WEIGHTS))
    return place


@pytest.fixture
def copy(made, tmp_path):
    """Copies one of the made folders."""

    def copy(name):
        shutil.copytree(made / name, tmp_path / name)
        return tmp_path / name

    return copy


def refusal(folder):
    """The one message that refuses a folder; nothing in the folder changes."""
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


# Folders as they are.


@pytest.mark.parametrize("name", ["vit", "child", "resnet"])
def test_our_folders_have_a_hash_of_every_tensor_and_file(made, name):
    with safe_open(made / name / WEIGHTS, "pt") as file:
        seal = json.loads(file.metadata()[SEAL_KEY])
        assert len(seal["tensors"].split()) == len(set(seal["tensors"].split())) == len(list(file.keys()))
    assert set(seal["files"]) == ({CONFIG, RECORD} if name == "child" else {CONFIG})
    assert "without hashes" not in load_network(made / name).source


def test_a_folder_by_others_loads_and_says_that_it_has_no_hashes(made):
    ours, theirs = load_network(made / "vit"), load_network(made / "foreign")
    assert re.fullmatch(r"foreign \(sha256 [0-9a-f]{12}\) \(read without hashes\)", theirs.source)
    assert (theirs.classes, theirs.spec, theirs.preprocess) == (ours.classes, ours.spec, ours.preprocess)
    assert all(torch.equal(one, other) for one, other in zip(*both_states(ours, theirs), strict=True))


def both_states(*networks):
    return [list(network.model.state_dict().values()) for network in networks]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_of_others_is_read_exactly(copy, dtype):
    folder = copy("foreign")
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    state = load_network(folder).model.state_dict()
    assert all(state[name].dtype == torch.float32 for name in tensors)
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in tensors.items())


# What differs from the hashes.


@pytest.mark.parametrize("name", ["vit", "child", "resnet"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_flipped_bit_in_the_weights_is_refused(copy, name, share):
    folder = copy(name)
    data = bytearray((folder / WEIGHTS).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + int((len(data) - start - 1) * share)] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    assert "differs from the hash in" in refusal(folder)


CHANGED_TENSORS = {
    "value": lambda tensors: tensors["norm.bias"].add_(1e-6),
    "swapped": lambda tensors: tensors.update(
        {"norm.bias": tensors["norm.weight"], "norm.weight": tensors["norm.bias"]}
    ),
    "half": lambda tensors: tensors.update({name: tensor.half() for name, tensor in tensors.items()}),
    "bfloat16": lambda tensors: tensors.update({"norm.bias": tensors["norm.bias"].bfloat16()}),
}


@pytest.mark.parametrize("change", CHANGED_TENSORS.values(), ids=CHANGED_TENSORS)
def test_changed_tensors_are_refused(copy, change):
    folder = copy("vit")
    change_tensors(folder, change)
    assert f"differs from the hash in {WEIGHTS}" in refusal(folder)


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
def test_a_changed_configuration_is_refused(copy, change):
    folder = copy("vit")
    change_config(folder, change)
    assert f"'{folder / CONFIG}' is damaged or was changed" in refusal(folder)


def test_a_configuration_that_is_only_formatted_differently_is_read(copy):
    folder = copy("vit")
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(dict(reversed(config.items())), indent=7))
    assert load_network(folder).classes == tuple("0123456789")


@pytest.mark.parametrize("kind", ["source", "ledger", "removed"])
def test_a_changed_record_is_refused(copy, kind):
    folder = copy("child")
    record = json.loads((folder / RECORD).read_text())
    record.update({"source": "elsewhere"} if kind == "source" else {"ledger": {}})
    (folder / RECORD).write_text(json.dumps(record))
    if kind == "removed":
        (folder / RECORD).unlink()
    assert f"'{folder / RECORD}' is damaged or was changed" in refusal(folder)


@pytest.mark.parametrize("seal", ["", "{", "[]", "null", "{}", '{"format": 1}', "[" * 100_000, '{"format": true}'])
def test_damaged_hashes_are_refused(copy, seal):
    folder = copy("vit")
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {SEAL_KEY: seal})
    assert f"The hashes in '{folder / WEIGHTS}' are damaged" in refusal(folder)


def test_hashes_of_a_newer_format_say_to_upgrade(copy):
    folder = copy("vit")
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, {SEAL_KEY: '{"format": 2}'})
    assert "pip install --upgrade germline" in refusal(folder)


# Configurations that lie. The folder has no hashes, so that only the configuration itself can give them away.


def entry(**changes):
    return lambda config: config.update(changes)


def argument(**changes):
    return lambda config: config["model_args"].update(changes)


def pretrained(**changes):
    return lambda config: config["pretrained_cfg"].update(changes)


LIES = {
    # Reaching outside
    "checkpoint": (argument(checkpoint_path="/etc/passwd"), "checkpoint_path"),
    "pretrained": (argument(pretrained=True), "pretrained"),
    "pretrained-cfg": (argument(pretrained_cfg={"file": "/x", "state_dict": {}}), "pretrained_cfg"),
    "pretrained-overlay": (argument(pretrained_cfg_overlay={"url": "http://x"}), "pretrained_cfg_overlay"),
    "cache": (argument(cache_dir="/x"), "cache_dir"),
    "features-only": (argument(features_only=True), "features_only"),
    "pruned": (argument(pruned=True), "pruned"),
    "device": (argument(device="cuda"), "device"),
    "hub": (entry(architecture="hf-hub:someone/model"), "leads to another place"),
    "local": (entry(architecture="local-dir:/etc"), "leads to another place"),
    "path": (entry(architecture="../../x"), "leads to another place"),
    "drive": (entry(architecture="c:\\x"), "leads to another place"),
    "unknown-model": (entry(architecture="vit_bose"), "Unknown model 'vit_bose'"),
    "unknown-argument": (argument(no_such=1), "no_such"),
    "other-architecture": (entry(architecture="resnet18"), "model_args"),
    # Names
    "no-architecture": (lambda config: config.pop("architecture"), "architecture"),
    "architecture-number": (entry(architecture=3), "architecture"),
    "architecture-list": (entry(architecture=["vit"]), "architecture"),
    "architecture-long": (entry(architecture="v" * 10_000), "architecture"),
    "label-twice": (entry(label_names=["0", "0", *"23456789"]), "'0' is there twice"),
    "label-missing": (entry(label_names=list("012345678")), "9 for 10 classes"),
    "label-more": (entry(label_names=list("0123456789x")), "11 for 10 classes"),
    "label-number": (entry(label_names=[0, *"123456789"]), "not a text"),
    "label-null": (entry(label_names=[None, *"123456789"]), "not a text"),
    "label-surrogate": (entry(label_names=["\ud800", *"123456789"]), "not a text"),
    "labels-text": (entry(label_names="0123456789"), "not a list"),
    "labels-mapping-gap": (entry(label_names={str(index): "x" for index in range(1, 11)}), "'0'"),
    "licence": (pretrained(license=["mit"]), "license"),
    # Classes
    "classes-missing": (lambda config: config.pop("num_classes"), "num_classes"),
    "classes-text": (entry(num_classes="10"), "num_classes"),
    "classes-true": (entry(num_classes=True), "num_classes"),
    "classes-float": (entry(num_classes=10.0), "num_classes"),
    "classes-negative": (entry(num_classes=-1), "num_classes"),
    "classes-huge": (entry(num_classes=10**9, label_names=None), "num_classes"),
    "classes-two-answers": (argument(num_classes=4), "it is 10, and 4 in model_args"),
    "classes-not-of-weights": (entry(num_classes=4, label_names=None), "head."),
    # Statistics
    "mean-missing": (lambda config: config["pretrained_cfg"].pop("mean"), "mean"),
    "mean-nan": (pretrained(mean=[float("nan")]), "NaN is not a number of JSON"),
    "mean-infinite": (pretrained(mean=[float("inf")]), "Infinity is not a number of JSON"),
    "mean-text": (pretrained(mean=["grey"]), "mean"),
    "mean-null": (pretrained(mean=None), "problem"),
    "mean-three": (pretrained(mean=[0.5] * 3), "3 means and 1 deviations"),
    "mean-empty": (pretrained(mean=[]), "0 means"),
    "std-zero": (pretrained(std=[0.0]), "positive"),
    "std-negative": (pretrained(std=[-0.5]), "positive"),
    "std-nan": (pretrained(std=[float("nan")]), "NaN is not a number of JSON"),
    "std-three": (pretrained(std=[0.5] * 3), "1 means and 3 deviations"),
    # Sizes
    "input-missing": (lambda config: config["pretrained_cfg"].pop("input_size"), "input_size"),
    "input-two": (pretrained(input_size=[1, 32]), "input_size"),
    "input-zero": (pretrained(input_size=[1, 0, 0]), "input_size"),
    "input-negative": (pretrained(input_size=[1, -32, -32]), "input_size"),
    "input-float": (pretrained(input_size=[1, 32.5, 32.5]), "input_size"),
    "input-true": (pretrained(input_size=[True, 32, 32]), "input_size"),
    "input-huge": (pretrained(input_size=[1, 10**6, 10**6]), "input_size"),
    "input-not-of-weights": (pretrained(input_size=[1, 64, 64]), "64 pixels, and the weights are for 32"),
    "channels-not-of-weights": (pretrained(input_size=[3, 32, 32], mean=[0.5] * 3, std=[0.5] * 3), "3 channels"),
    "channels-of-arguments": (argument(in_chans=3), "1 channels, and the network has 3"),
    "width-huge": (argument(embed_dim=HUGE), "embed_dim"),
    "width-large": (argument(embed_dim=99_998), "much larger network"),
    "width-other": (argument(embed_dim=32), "does not fit the network"),
    "width-zero": (argument(embed_dim=0), "cannot build"),
    "width-negative": (argument(embed_dim=-16), "cannot build"),
    "width-text": (argument(embed_dim="wide"), "cannot build"),
    "width-list": (argument(embed_dim=[16]), "cannot build"),
    "depth-huge": (argument(depth=10**6), "depth"),
    "depth-large": (argument(depth=100_000), "much larger network"),
    "depth-other": (argument(depth=3), "does not fit the network"),
    "depth-zero": (argument(depth=0), "does not fit the network"),
    "depth-negative": (argument(depth=-1), "cannot build"),
    "heads-not-a-divisor": (argument(num_heads=3), "cannot build"),
    "heads-zero": (argument(num_heads=0), "cannot build"),
    "image-huge": (argument(img_size=10**6), "img_size"),
    "image-large": (argument(img_size=4096, patch_size=1), "much larger network"),
    "image-other": (argument(img_size=64), "does not fit the network"),
    "patch-zero": (argument(patch_size=0), "cannot build"),
    "mlp-huge": (argument(mlp_ratio=1e300), "mlp_ratio"),
    "mlp-large": (argument(mlp_ratio=1e5), "much larger network"),
    "registers-large": (argument(reg_tokens=99_999_9), "reg_tokens"),
    "block": (argument(block_fn="os.system"), "cannot build"),
    "norm": (argument(norm_layer="no_such_norm"), "cannot build"),
    "text-long": (argument(act_layer="x" * 10**6), "act_layer"),
    "nested": (argument(norm_layer=[[[[[[1]]]]]]), "nested too deeply"),
    # Kinds
    "list": (None, "not a mapping"),
    "arguments-list": (entry(model_args=[1]), "model_args"),
    "arguments-null": (entry(model_args=None), "model_args"),
    "pretrained-missing": (lambda config: config.pop("pretrained_cfg"), "pretrained_cfg"),
    "pretrained-text": (entry(pretrained_cfg="x"), "pretrained_cfg"),
}


@pytest.mark.parametrize(("change", "words"), LIES.values(), ids=LIES)
def test_a_configuration_that_lies_is_refused(copy, change, words):
    folder = copy("foreign")
    if change is None:
        (folder / CONFIG).write_text("[1, 2]")
    else:
        change_config(folder, change)
    message = refusal(folder)
    assert words in message
    assert len(message) < 700


# Weights that lie.


def header(change):
    """Changes the header of the weights and keeps the data."""

    def apply(folder):
        data = (folder / WEIGHTS).read_bytes()
        length = int.from_bytes(data[:8], "little")
        facts = json.loads(data[8 : 8 + length])
        change(facts)
        text = json.dumps(facts).encode()
        (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    return apply


def tensors(change):
    return lambda folder: change_tensors(folder, change)


def whole(data):
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


def fact(**changes):
    return header(lambda facts: facts["norm.bias"].update(changes))


BAD_WEIGHTS = {
    "missing": tensors(lambda found: found.pop("norm.bias")),
    "extra": tensors(lambda found: found.update(more=torch.zeros(1))),
    "renamed": tensors(lambda found: found.update({"norm.bais": found.pop("norm.bias")})),
    "shape": tensors(lambda found: found.update({"norm.bias": torch.zeros(17)})),
    "scalar": tensors(lambda found: found.update({"norm.bias": torch.tensor(1.0)})),
    "flat": tensors(lambda found: found.update({"head.weight": found["head.weight"].flatten()})),
    "nan": tensors(lambda found: found["norm.bias"].fill_(float("nan"))),
    "infinite": tensors(lambda found: found["norm.bias"][0].fill_(float("inf"))),
    "minus-infinite": tensors(lambda found: found["head.weight"][3].fill_(-float("inf"))),
    "double": tensors(lambda found: found.update({"norm.bias": found["norm.bias"].double()})),
    "int64": tensors(lambda found: found.update({"norm.bias": found["norm.bias"].long()})),
    "int8": tensors(lambda found: found.update({"head.weight": found["head.weight"].to(torch.int8)})),
    "bool": tensors(lambda found: found.update({"norm.bias": found["norm.bias"].bool()})),
    "complex": fact(dtype="C64", shape=[8]),
    "float8": tensors(lambda found: found.update({"norm.bias": found["norm.bias"].to(torch.float8_e4m3fn)})),
    "empty": whole(b""),
    "no-header": whole(b"\0" * 8),
    "header-too-long": whole((2**62).to_bytes(8, "little") + b"{}"),
    "header-not-json": whole((4).to_bytes(8, "little") + b"{{{{"),
    "header-empty": whole((2).to_bytes(8, "little") + b"{}"),
    "header-nested": whole((100_000).to_bytes(8, "little") + b'{"a":' * 20_000),
    "header-shape-huge": fact(shape=[2**40]),
    "header-shape-negative": fact(shape=[-16]),
    "header-shape-overflow": fact(shape=[2**62, 2**62]),
    "header-shape-zero": fact(shape=[0], data_offsets=[0, 0]),
    "header-dtype": fact(dtype="F64"),
    "header-dtype-unknown": fact(dtype="F128"),
    "header-dtype-int": fact(dtype="I32"),
    "header-dtype-float4": fact(dtype="F4"),
    "header-offsets-swapped": fact(data_offsets=[64, 0]),
    "header-offsets-outside": fact(data_offsets=[10**9, 10**9 + 64]),
    "header-offsets-overlap": fact(data_offsets=[0, 64]),
    "header-metadata-number": header(lambda facts: facts.update(__metadata__=3)),
    "header-metadata-nested": header(lambda facts: facts.update(__metadata__={"a": {"b": 1}})),
}


@pytest.mark.parametrize("change", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_weights_that_lie_are_refused(copy, change):
    folder = copy("foreign")
    change(folder)
    assert WEIGHTS in refusal(folder)


# Things that are no files.


def pipe(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path)


def device(path):
    path.symlink_to("/dev/zero")


def nowhere(path):
    path.symlink_to(path.parent / "nowhere")


def nothing(path):
    pass


NO_FILES = {
    "folder": os.mkdir,
    "pipe": pipe,
    "loop": loop,
    "device": device,
    "nowhere": nowhere,
    "nothing": nothing,
}


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, RECORD])
@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_refused_at_once(copy, name, make):
    folder = copy("child")
    (folder / name).unlink()
    make(folder / name)
    assert str(folder / name) in refusal(folder)


def test_pickled_weights_of_timm_are_named(copy):
    folder = copy("foreign")
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin" in refusal(folder)


@pytest.mark.parametrize("text", ["", "null", "3", '"x"', "{", '{"a": 1e999}', "[" * 100_000, "\ufeff{}", "9" * 5000])
def test_a_configuration_that_is_none_is_refused(copy, text):
    folder = copy("foreign")
    (folder / CONFIG).write_text(text, encoding="utf-8")
    assert CONFIG in refusal(folder)


def test_a_configuration_of_endless_size_is_refused(copy):
    folder = copy("foreign")
    with (folder / CONFIG).open("ab") as stream:
        stream.truncate(2**40)
    assert "too large" in refusal(folder)


@pytest.mark.parametrize("record", ["[]", "3", '{"source": 3}', '{"source": "\\ud800"}', "{", ""])
def test_a_record_that_is_none_is_refused(copy, record):
    folder = copy("foreign")
    (folder / RECORD).write_text(record)
    with pytest.raises(ArtefactError, match=r"descendant\.json"):
        load_network(folder)
