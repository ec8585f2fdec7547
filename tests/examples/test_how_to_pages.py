"""Commands and snippets of the pages run in their order, with few steps; all other commands can be parsed."""

import contextlib
import io
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import timm
import torch
import typer
import yaml
from PIL import Image

import germline as gl
from germline.architectures import VIT, Preprocess
from germline.cli import app, main
from germline.compare.run.data_cache import PACKAGED
from helpers.pages import DOCS, ROOT, fenced_commands

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
REPLACEMENTS = (
    (r"steps=\d+", "steps=1"),
    (r"batch_size=\d+", "batch_size=8"),
    (r"glyphs/(base|novel)|\bdigits\b", "folder:few"),
    (r"timm:vit_small\S+@112", "backbone"),
    (r"@112", "@32"),
    (r"steps: \d+", "steps: 3"),
    (r"eval_at: \[.*?\]", "eval_at: [0, 1]"),
    (r"seeds: \[.*\]", "seeds: [0]"),
    (r"tune: \{lr: .*\}", "one_gene: true"),
    (r"(?m)^  (front|distil): .*\n", ""),
)


def shorten(text):
    """Return a text with fewer steps, smaller data and fewer arms."""
    for pattern, replacement in REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    return text


def write_images(folder, count, size=32):
    """Write photos of three classes."""
    digits = gl.load_data("digits").train
    for label in range(3):
        of_class = digits.images[digits.labels == label][:count]
        for index, image in enumerate(of_class):
            path = folder / str(label) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).convert("RGB").resize((size, size)).save(path)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Function that runs commands in a folder with a few images; returns what each prints."""
    monkeypatch.chdir(tmp_path)
    write_images(Path("few/train"), 10)
    write_images(Path("few/val"), 3)

    def call(lines):
        printed = []
        for line in lines:
            words = shlex.split(line)
            if words[1] == "export" and words[-1] != "depth-2.pt2":
                continue  # seconds each; one is enough
            if words[1] in ("train", "condense", "compare"):
                words.append("--quiet")
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as stop:
                main()
            out = capsys.readouterr()
            assert stop.value.code == 0, (line, out.err)
            printed.append(out.out)
        return printed

    return call


def read(name):
    return shorten((DOCS / name).read_text(encoding="utf-8"))


def test_a_vit_becomes_a_family_of_four_depths(run):
    run(fenced_commands(read("how-to/device-family.md")))
    depths = [len(timm.create_model(f"local-dir:trained/depth-{d}", pretrained=True).blocks) for d in (2, 4, 6, 8)]
    assert depths == [2, 4, 6, 8]
    assert sum(tensor.numel() for tensor in gl.load_network("family/sensor").model.parameters()) <= 200_000
    assert Path("depth-2.pt2").is_file()


def test_a_resnet_becomes_half_as_wide(run):
    page = read("how-to/half-width-resnet.md")
    recipe = re.search(r"(?s)```yaml\n(.*?)```", page)[1]
    Path("half.yaml").write_text(recipe)
    printed = run(fenced_commands(page))
    assert gl.load_network("half-trained").spec.widths == (8, 16, 32, 64)
    assert "near chance" in page
    assert float(re.search(r"accuracy (0\.\d+)", printed[4])[1]) < 0.8
    assert list(yaml.safe_load(recipe)["arms"]) == ["copies", "scratch"]
    assert Path("runs/half/report.html").is_file()


def test_few_labels_train_a_descendant(run):
    shutil.copytree(PACKAGED, "runs/ancestor")
    shutil.copytree("few", "photos")
    page = (DOCS / "how-to" / "few-labels.md").read_text(encoding="utf-8")
    run(fenced_commands(shorten(page)))  # other images than the ancestor's
    assert gl.load_network("trained").classes == ("0", "1", "2")
    before = gl.Learngene.load("gene")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(re.sub(r"steps=\d+", "steps=2", re.search(r"(?s)```python\n(.*?)```", page)[1]), {})
    assert printed.getvalue().strip().endswith("%")
    body = before.inherit(gl.Size(depth=4), classes=14).model.state_dict()
    after = gl.load_network("frozen").model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in body.items() if not name.startswith("head."))


def test_backbone_is_condensed_without_labels(run):
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    model = timm.create_model("vit_tiny_patch16_224", **small).eval()
    preprocess = Preprocess(channels=3, image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    gl.Network(model, preprocess, (), spec=VIT.describe(model)).save("backbone")
    write_images(Path("labelled"), 20)
    Path("photos").mkdir()
    for index, path in enumerate(sorted(Path("labelled").rglob("*.png"))):
        shutil.copy(path, f"photos/{index}.png")
    page = read("how-to/condense-a-backbone.md").replace("target=features", "target=features --set steps=1")
    run(fenced_commands(page))
    assert len(gl.load_network("models/d4").model.blocks) == 4


def test_quickstart_runs(run):
    write_images(Path("photos"), 1)
    page = read("quickstart.md")
    # The demo has other tests.
    lines = [line for line in fenced_commands(page) if line != "germline demo"]
    assert len(lines) == 8
    run(lines)
    assert len(Path("classes.csv").read_text().splitlines()) == 1 + 3
    exec(re.search(r"(?s)```python\n(.*?)```", page)[1].replace("    ", ""), names := {})
    assert len(names["model"].blocks) == 4


def test_every_command_can_be_parsed():
    group, used = typer.main.get_command(app), set()
    for path in PAGES:
        for line in fenced_commands(path.read_text(encoding="utf-8")):
            words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
            if not words[0].startswith("-") and not {"...", "COMMAND"} & set(words):
                group.commands[words[0]].make_context(words[0], list(words[1:]))
                used.add(words[0])
    assert used == set(group.commands)
