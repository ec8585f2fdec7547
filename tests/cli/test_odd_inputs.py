"""Odd but plausible inputs that work: umlauts and spaces, 16-bit images, recipes from Windows, ViTs with registers."""

import io
import os
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from germline.cli import _print_all_characters
from germline.cli.compare import run_comparison
from germline.compare.recipe.loader import load_recipe
from helpers.bad_input import RECIPE


def write_photos(place):
    """Grey 16-bit PNGs of two classes."""
    draw = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in ("Käse", "große Tüte"):
            (place / split / label).mkdir(parents=True)
            for index in range(2):
                image = Image.fromarray(draw.integers(0, 65535, (32, 32), dtype=np.uint16))
                image.save(place / split / label / f"{index}.png")


def test_umlauts_spaces_and_16_bit_images_pass_through_all_commands(workdir, run):
    write_photos(workdir / "Meine Bilder ä")
    data, small = ("--data", "folder:Meine Bilder ä"), ("--set", "steps=1", "--set", "batch_size=4", "--quiet")
    assert run("train", "--model", "vit_pico", *data, *small, "--out", "aus gabe/Ahne ö").code == 0
    words = ("--method", "front", "--ancestor", "aus gabe/Ahne ö", *data, "--out", "Gen ü", "--quiet")
    assert run("condense", *words).code == 0
    assert run("inherit", "Gen ü", "--size", "depth=3", "--out", "Kind ß", "--quiet").code == 0
    shown = run("inspect", "Gen ü", "--brief")
    assert "Käse" in shown.out
    assert run("export", "Kind ß", "--format", "torch.export", "--out", "Kind ß.pt2").code == 0
    assert (workdir / "Kind ß.pt2").stat().st_size > 0


VARIANTS = {
    "windows": RECIPE.replace("\n", "\r\n").encode(),
    "old mac": RECIPE.replace("\n", "\r").encode(),
    "byte order mark": b"\xef\xbb\xbf" + RECIPE.encode(),
    "spaces at line ends": RECIPE.replace("\n", "  \n").encode(),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_recipes_of_other_systems_are_read(variant, tmp_path):
    (tmp_path / "plain.yaml").write_text(RECIPE)
    (tmp_path / "other ä.yaml").write_bytes(VARIANTS[variant])
    assert load_recipe(str(tmp_path / "other ä.yaml")) == load_recipe(str(tmp_path / "plain.yaml"))


def test_weights_of_a_vit_with_registers_are_condensed(workdir, run):
    fields = {"num_classes": 10, "img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 16, "num_heads": 2}
    registers = timm.create_model("vit_tiny_patch16_224", in_chans=1, reg_tokens=4, **fields)
    torch.save(registers.state_dict(), "registers.pth")
    words = ("--ancestor", "registers.pth", "--model", "vit,heads=2", "--mean", "0.5", "--std", "0.5")
    done = run("condense", "--method", "weight-selection", *words, "--data", "digits", "--out", "gene-r", "--quiet")
    assert done.code == 0, done.err
    assert "100.0% copied" in run("inherit", "gene-r", "--out", "child-r", "--quiet").out
    child = timm.create_model("local-dir:child-r", pretrained=True)
    pixels = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(child.eval()(pixels), registers.eval()(pixels), atol=1e-6)


def test_names_that_are_not_utf_8_are_refused_before_training(workdir, run):
    odd = os.fsdecode(b"caf\xe9")
    try:
        write_photos(workdir / "photos")
        (workdir / "photos/train/Käse").rename(workdir / "photos/train" / odd)
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    before = sorted(workdir.iterdir())
    for data, out in (("folder:photos", "new"), (f"folder:photos/train/{odd}", "new")):
        done = run("train", "--model", "vit_pico", "--data", data, "--out", out, "--quiet")
        assert done.code == 2
        assert r"caf\udce9' is not a name in UTF-8." in done.err
        assert sorted(workdir.iterdir()) == before


def test_predictions_keep_the_bytes_of_odd_file_names(workdir, run):
    image = workdir / os.fsdecode(b"caf\xe9.png")
    try:
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(image)
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    assert run("predict", "ancestor", image.name, "--out", "labels.csv", "--quiet").code == 0
    assert (workdir / "labels.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9.png,")


def test_characters_outside_the_encoding_are_escaped(monkeypatch):
    for encoding, shown in (("ascii", rb"\u65e5"), ("latin-1", rb"\u65e5"), ("utf-8", "日".encode())):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr("sys.stdout", stream)
        _print_all_characters()
        print("日", end="", flush=True)
        assert stream.buffer.getvalue() == shown


def test_an_export_to_a_full_disk_is_refused(workdir, run, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    done = run("export", "child", "--out", "child.pt2", "--quiet")
    assert (done.code, "The disk has 1,000 bytes left" in done.err) == (2, True)
    assert not (workdir / "child.pt2").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("condense", "See germline condense --help."),
        ("nonsense", "See germline --help."),
        ("inspect missing.pth --model vit", "No network at 'missing.pth'"),
        ("inspect gene --model vit", "Remove --model."),
        ("inspect words.pth --model vit", "Its content is no file of torch.save."),
        ("inspect timm:vit_tiny_patch16_224.nope", "Choose a name from timm.list_pretrained('vit_tiny_patch16_224*')"),
    ],
)
def test_error_messages_name_a_solution(words, message, workdir, run):
    (workdir / "words.pth").write_text("hello")
    done = run(*words.split())
    assert done.code == 2
    assert message in done.err


def test_a_comparison_is_overwritten_through_a_link(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/recipe.json").write_text("{}")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr("germline.compare.write_report", lambda out: sorted(out.iterdir()))
    comparison = SimpleNamespace(out=tmp_path / "link", run=lambda: None)
    assert run_comparison(comparison, replace=True) == []
    assert (tmp_path / "link").is_symlink()
