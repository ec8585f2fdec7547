"""A backbone without a head and a folder of photos, from the command line."""

import sys

import numpy as np
import pytest
import timm
from PIL import Image

import germline as gl
from germline.architectures import VIT, Preprocess
from germline.cli import main

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
SETTINGS = {
    "tleg": ("steps=2", "batch_size=8"),
    "pool": ("preset=tiny",),
    "auto": ("preset=tiny", "steps=2"),
    "distil": (),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the backbone, photos without classes, and photos of two classes."""
    place = tmp_path_factory.mktemp("headless")
    model = timm.create_model("vit_tiny_patch16_224", **SMALL).eval()
    preprocess = Preprocess(channels=3, image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    gl.Network(model, preprocess, (), spec=VIT.describe(model)).save(place / "backbone")
    draw = np.random.default_rng(0)
    for folder in ("photos", "labelled/cat", "labelled/dog"):
        (place / folder).mkdir(parents=True)
        for index in range(30):
            pixels = draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / folder / f"{index}.png")
    return place


@pytest.fixture
def call(place, monkeypatch, capsys):
    """Function that runs a command in the folder, and returns its exit code and its errors."""
    monkeypatch.chdir(place)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["germline", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().err

    return run


def condense(method, out, *more):
    settings = [word for one in (*SETTINGS[method], *more) for word in ("--set", one)]
    given = ("--ancestor", "backbone", "--data", "folder:photos", "--device", "cpu", "--quiet")
    return ("condense", "--method", method, *given, *settings, "--out", out)


@pytest.mark.parametrize("method", SETTINGS)
def test_logits_are_refused_and_nothing_is_written(method, place, call):
    before = sorted(path.name for path in place.iterdir())
    code, error = call(*condense(method, f"refused-{method}"))
    assert code == 2
    assert "target=features" in error
    assert "Traceback" not in error
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("target", ["features", "tokens"])
def test_photos_become_a_gene_and_a_classifier(method, target, place, call):
    name = f"{method}-{target}"
    assert call(*condense(method, name, f"target={target}"))[0] == 0
    code, error = call("inherit", name, "--out", f"{name}-none")
    assert code == 2
    assert "has no head" in error
    assert call("inherit", name, "--data", "folder:labelled", "--out", f"{name}-child")[0] == 0
    assert gl.load_network(place / f"{name}-child").classes == ("cat", "dog")
    words = ("train", "--model", f"{name}-child", "--gene", name, "--data", "folder:labelled", "--device", "cpu")
    assert call(*words, "--quiet", "--set", "steps=1", "--set", "batch_size=8", "--out", f"{name}-run")[0] == 0


@pytest.mark.parametrize(
    ("method", "setting", "message"),
    [
        ("tleg", "target=token", "target"),
        ("tleg", "feature_loss=cos", "feature_loss"),
        ("pool", "alpha=0.5", "set alpha=0"),
        ("auto", "select=cka", "set select=meta"),
    ],
)
def test_wrong_settings_are_refused(method, setting, message, place, call):
    before = sorted(path.name for path in place.iterdir())
    code, error = call(*condense(method, "wrong", "target=features", setting))
    assert code == 2
    assert message in error
    assert sorted(path.name for path in place.iterdir()) == before
