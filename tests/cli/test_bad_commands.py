"""Bad command lines of every command: exit code 2, one line that ends in advice, nothing written, no traceback."""

import re
import shlex

import pytest

from helpers.bad_input import RECIPE, snapshot

# First words of an advice.
VERBS = ("Use", "Pass", "Set", "Run", "Install", "Give", "Choose", "Remove", "See", "Did you mean", "Known", "Start")
VERBS += ("Add", "Only", "Make", "Write", "use", "pass", "set", "run", "give", "choose", "remove", "restore", "change")
ADVICE = re.compile(rf"(?:^|[.?;,] |, or |or )(?:{'|'.join(VERBS)})\b|Did you mean|See germline|Restore|Change")
# Name of a case, its command line, and a part of its message; "|" separates two possible parts.
COMMANDS = {
    # evaluate
    "evaluate-nothing": ("evaluate", "Missing"),
    "evaluate-no-data": ("evaluate ancestor", "--data"),
    "evaluate-no-network": ("evaluate nowhere --data digits", "No network at 'nowhere'"),
    "evaluate-near-name": ("evaluate ancester --data digits", "nearest is ancestor"),
    "evaluate-near-file": ("evaluate w.pht --data digits", "nearest is w.pth"),
    "evaluate-data": ("evaluate ancestor --data digit", "Did you mean digits"),
    "evaluate-folder": ("evaluate ancestor --data folder:nowhere", "is not a folder"),
    "evaluate-list": ("evaluate ancestor --data w.pth", "no lists of images and labels"),
    "evaluate-folder-list": ("evaluate ancestor --data folder:w.pth", "no lists of images and labels"),
    "evaluate-no-folder": ("evaluate ancestor --data folder:", "is not a folder"),
    "evaluate-split": ("evaluate ancestor --data digits --split dev", "Use val, test or train"),
    "evaluate-other-classes": ("evaluate child --data digits", "knows 3 classes"),
    "evaluate-size-of-network": ("evaluate ancestor --data digits --size depth=2", "Remove --size"),
    "evaluate-size-text": ("evaluate gene --data digits --size deep", "depth=6"),
    "evaluate-size-0": ("evaluate gene --data digits --size depth=0", "at least 1"),
    "evaluate-size-width": ("evaluate gene --data digits --size width=32", "Remove width"),
    "evaluate-size-key": ("evaluate gene --data digits --size dept=2", "'dept'"),
    "evaluate-device": ("evaluate ancestor --data digits --device tpu", "cuda or mps"),
    "evaluate-json-there": ("evaluate ancestor --data digits --json old.json", "'old.json' exists"),
    "evaluate-json-folder": ("evaluate ancestor --data digits --json gene", "is a folder"),
    "evaluate-json-input": (
        "evaluate ancestor --data digits --json ancestor/config.json --overwrite",
        "ancestor",
    ),
    "evaluate-model-of-folder": ("evaluate ancestor --data digits --model resnet18", "remove --model|Remove --model"),
    "evaluate-mean": ("evaluate w.pth --model resnet18 --mean grey --data digits", "--mean grey"),
    "evaluate-weights-no-model": ("evaluate w.pth --data digits", "w.pth"),
    "evaluate-seed": ("evaluate gene --data digits --seed -1", "--seed"),
    "evaluate-timm": ("evaluate timm:resnet81 --data digits", "Unknown model 'resnet81'"),
    "evaluate-empty-folder": ("evaluate empty --data digits", "config.json"),
    "evaluate-unlabelled": ("evaluate ancestor --data folder:flat", "flat"),
    # predict
    "predict-nothing": ("predict", "Missing"),
    "predict-no-images": ("predict ancestor", "Missing"),
    "predict-no-network": ("predict nowhere a.png", "No network at 'nowhere'"),
    "predict-gene": ("predict gene a.png", "is a learngene"),
    "predict-missing-image": ("predict ancestor b.png", "no image at 'b.png'|No image at 'b.png'"),
    "predict-empty-folder": ("predict ancestor empty", "No images in empty"),
    "predict-folder-of-text": ("predict ancestor texts", "No images in texts"),
    "predict-damaged": ("predict ancestor damaged.png --quiet", "damaged.png"),
    "predict-damaged-among": ("predict ancestor a.png damaged.png --out new.csv --quiet", "damaged.png"),
    "predict-text-file": ("predict ancestor texts/notes.txt --quiet", "notes.txt"),
    "predict-top-0": ("predict ancestor a.png --top 0", "--top"),
    "predict-top-text": ("predict ancestor a.png --top all", "--top"),
    "predict-out-there": ("predict ancestor a.png --out old.csv", "'old.csv' exists"),
    "predict-out-folder": ("predict ancestor a.png --out gene", "is a folder"),
    "predict-out-input": ("predict ancestor a.png --out a.png --overwrite", "a.png"),
    "predict-device": ("predict ancestor a.png --device gpu", "cuda or mps"),
    "predict-timm": ("predict timm:vit_tinny a.png", "Unknown model 'vit_tinny'"),
    "predict-std": ("predict w.pth a.png --model resnet18 --std x", "--std x"),
    # push
    "push-nothing": ("push", "Missing"),
    "push-no-name": ("push gene", "Missing"),
    "push-name": ("push gene mine", "owner/name"),
    "push-name-deep": ("push gene a/b/c", "owner/name"),
    "push-name-space": ("push gene 'a b/c'", "owner/name"),
    "push-nowhere": ("push nowhere a/b", "no such folder"),
    "push-empty": ("push empty a/b", "no config.json"),
    "push-file": ("push a.png a/b", "neither a gene nor a network"),
    # export
    "export-no-out": ("export ancestor", "--out"),
    "export-suffix": ("export ancestor --out net.pt", "names no format"),
    "export-no-suffix": ("export ancestor --out net", "names no format"),
    "export-format": ("export ancestor --out net.onnx --format tf", "no such format"),
    "export-other-format": ("export ancestor --out net.onnx --format torch.export", "ends in .pt2"),
    "export-gene": ("export gene --out net.onnx", "is a learngene"),
    "export-nowhere": ("export nowhere --out net.onnx", "No network"),
    "export-there": ("export ancestor --out old.onnx", "'old.onnx' exists"),
    # inspect
    "inspect-nowhere": ("inspect nowhere", "No learngene at 'nowhere'"),
    "inspect-near": ("inspect gen", "nearest is gene"),
    "inspect-empty": ("inspect empty", "learngene.json"),
    "inspect-size": ("inspect gene --size deep", "depth=6"),
    "inspect-classes": ("inspect gene --classes 0", "at least one"),
    "inspect-image-size-0": ("inspect gene --image-size 0", "--image-size"),
    "inspect-image-size": ("inspect gene --image-size 33", "image_size=33"),
    "inspect-size-of-network": ("inspect ancestor --size depth=2", "Only a gene"),
    "inspect-weights": ("inspect w.pth", "w.pth"),
    "inspect-timm": ("inspect timm:resnet81", "Unknown model"),
    # list and show
    "list-nothing": ("list", "Missing"),
    "list-kind": ("list method", "Did you mean methods"),
    "list-for": ("list methods --for vitt", "vit"),
    "list-for-far": ("list methods --for xyzzy", "Known"),
    "list-for-kind": ("list data --for vit", "Remove --for"),
    "list-settings": ("list settings", "germline list settings tleg"),
    "list-settings-method": ("list settings tlge", "Did you mean tleg"),
    "list-name": ("list methods tleg", "Only settings"),
    "show-nothing": ("show", "Missing"),
    "show-quick": ("show demo --quick", "no quick version"),
    "schema-name": ("schema demo", "demo"),
    # condense
    "condense-nothing": ("condense", "Missing"),
    "condense-method": ("condense --method tlg --data digits --out new", "Did you mean tleg"),
    "condense-data": ("condense --method tleg --data digts --out new --ancestor ancestor", "Did you mean digits"),
    "condense-ancestor": ("condense --method tleg --data digits --out new --ancestor ancestr", "nearest is ancestor"),
    "condense-key": ("condense --method tleg --data digits --out new --set lrr=1", "'lrr'"),
    "condense-key-of-group": ("condense --method pool --data digits --out new --set distil.lrr=1", "distil.lrr"),
    "condense-model-alone": ("condense --method gtl --data digits --out new --model resnet18", "without --ancestor"),
    "condense-role": ("condense --method tleg --data digits --data glyphs/open --out new", "has no role"),
    "condense-work": (
        "condense --method tleg --data digits --ancestor ancestor --out trained --quiet",
        "holds the work of germline train",
    ),
    "condense-resume-of-train": (
        "condense --method tleg --data digits --ancestor ancestor --out trained --resume --quiet",
        "holds the work of germline train",
    ),
    # train
    "train-model": ("train --model vit_pic --data digits --out new", "vit_pico"),
    "train-data": ("train --model vit_pico --data digitz --out new", "Did you mean digits"),
    "train-key": ("train --model vit_pico --data digits --out new --set epoch=1", "Did you mean epochs"),
    "train-gene": ("train --model child --gene gen --data digits --out new", "nearest is gene"),
    "train-optimizer": (
        "train --model vit_pico --data digits --out new --set optimizer=adam --quiet",
        "Set optimizer to",
    ),
    "train-lr": ("train --model vit_pico --data digits --out new --set lr=0 --quiet", "Set lr to a number above 0"),
    "train-batch": ("train --model vit_pico --data digits --out new --set batch_size=0 --quiet", "at least 1"),
    "train-augment": ("train --model vit_pico --data digits --out new --set augment=maybe --quiet", "true or false"),
    "train-work": ("train --model vit_pico --data digits --out trained --quiet", "holds the work of germline train"),
    # inherit
    "inherit-nowhere": ("inherit nowhere --out new", "No learngene"),
    "inherit-data": ("inherit gene --data digitz --out new", "Did you mean digits"),
    "inherit-model": ("inherit gene --model resnet81 --out new", "Unknown model"),
    "inherit-size": ("inherit gene --size depth= --out new", "depth=6"),
    # compare, check, report
    "compare-recipe": ("compare dmeo --out new", "Did you mean demo"),
    "compare-quick": ("compare demo --quick --out new", "no quick version"),
    "compare-workers": ("compare r.yaml --workers -1 --out new", "--workers"),
    "check-protocol": ("check r.yaml --set protocol=sample", "Set protocol to"),
    "check-seeds": ("check r.yaml --set seeds=[]", "Set seeds to a list with at least 1 values"),
    "check-minutes": ("check r.yaml --set minutes=0", "Set minutes to a number above 0"),
    "report-nowhere": ("report nowhere", "nowhere"),
    # germline itself
    "option": ("--verison", "--verison"),
    "command": ("evalute ancestor", "evalute"),
    "push-option": ("push gene a/b --token x", "--token"),
}


@pytest.fixture
def place(workdir):
    """Working folder with further files: an empty folder, texts, images, existing outputs and a run folder."""
    from PIL import Image

    for folder in ("empty", "texts", "flat", "trained.run"):
        (workdir / folder).mkdir()
    (workdir / "texts/notes.txt").write_text("no image")
    for name in ("a.png", "flat/a.png", "flat/b.png"):
        Image.new("L", (32, 32), 9).save(workdir / name)
    (workdir / "damaged.png").write_bytes(b"no image")
    for name in ("old.json", "old.csv", "old.onnx"):
        (workdir / name).write_text("mine")
    (workdir / "w.pth").write_bytes(b"no weights")
    (workdir / "trained.run/config.json").write_text('{"model": "vit_pico", "data": "digits", "settings": {}}')
    (workdir / "r.yaml").write_text(RECIPE)
    return workdir


@pytest.mark.parametrize("case", COMMANDS)
def test_a_bad_command_is_refused_in_one_line(case, place, run):
    words, expected = COMMANDS[case]
    before = snapshot(place.parent)
    done = run(*shlex.split(words))
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("germline: ")
    assert done.err.count("\n") == 1, done.err
    assert any(part in done.err for part in expected.split("|")), done.err
    assert ADVICE.search(done.err), done.err
    assert "Traceback" not in done.err
    assert snapshot(place.parent) == before


def test_bad_commands_are_many():
    assert len(COMMANDS) >= 80
