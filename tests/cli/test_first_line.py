"""Commands print a line, or refuse a wrong name, before torch is imported: these processes cannot import it."""

import pytest

from helpers.bad_input import RECIPE

FIRST_LINES = {
    "train": ("train --model ancestor --data digits --out new", "Training ancestor on digits ..."),
    "condense": (
        "condense --method tleg --ancestor ancestor --data digits --out new",
        "Condensing ancestor with tleg on digits ...",
    ),
    "inherit": ("inherit gene --out new", "Growing a descendant of gene ..."),
    "evaluate": ("evaluate gene --data digits --size depth=2", "Evaluating gene on digits ..."),
    "predict": ("predict ancestor a.png", "Predicting 1 images with ancestor ..."),
    "export": ("export ancestor --out new.pt2", "Exporting ancestor to new.pt2 ..."),
    "push": ("push gene a/b", "Verifying gene and uploading it to hf-hub:a/b ..."),
    "check": ("check r.yaml", "Checking the recipe r.yaml ..."),
    "compare": ("compare r.yaml --out new", "Comparing the arms of r.yaml ..."),
    "demo": ("demo --out new", "Comparing the arms of demo ..."),
    "schema": ("schema", "Collecting the keys of recipes ..."),
    "report": ("report gene", "Writing the report of gene ..."),
    "inspect-weights": ("inspect w.pth --model resnet18", "Loading w.pth ..."),
}
REFUSALS = {
    "method": ("condense --method tlge --data digits --out new", "Unknown method 'tlge'"),
    "setting": ("condense --method tleg --data digits --out new --set lrr=1", "unknown key 'lrr'"),
    "data": ("condense --method tleg --data digit --out new", "Unknown data set 'digit'"),
    "folder": ("train --model vit_pico --data folder:nowhere --out new", "folder:nowhere is not a folder"),
    "ancestor": ("condense --method tleg --ancestor nowhere --data digits --out new", "No network at 'nowhere'"),
    "model": ("train --model vit_pcio --data digits --out new", "Unknown model 'vit_pcio'"),
    "timm": ("evaluate timm:resnet81 --data digits", "Unknown model 'resnet81'"),
    "train-setting": ("train --model vit_pico --data digits --out new --set epoch=1", "unknown key 'epoch'"),
    "out": ("train --model vit_pico --data digits --out gene", "'gene' is not empty"),
    "gene": ("inherit nowhere --out new", "No learngene at 'nowhere'"),
    "size": ("inherit gene --size deep --out new", "'deep' is not key=number"),
    "evaluate-size": ("evaluate ancestor --size depth=2 --data digits", "--size depth=2 with a network"),
    "json": ("evaluate ancestor --data digits --json a.png", "'a.png' exists already"),
    "image": ("predict ancestor b.png", "No image at 'b.png'"),
    "suffix": ("export ancestor --out new.pth", "names no format"),
    "name": ("push gene mine", "is not the name of a hub repository"),
    "recipe": ("compare dmeo --out new", "Unknown recipe 'dmeo'"),
    "work": ("train --model vit_pico --data digits --out done", "'done.run' holds the work of germline condense"),
}


@pytest.fixture(scope="module")
def place(artefacts, tmp_path_factory):
    """Folder with a network, a gene and further files; no command changes it."""
    import shutil

    place = tmp_path_factory.mktemp("first") / "workdir"
    shutil.copytree(artefacts, place)
    for name in ("a.png", "w.pth"):
        (place / name).write_bytes(b"x")
    (place / "r.yaml").write_text(RECIPE)
    (place / "done.run").mkdir()
    (place / "done.run/config.json").write_text('{"method": "tleg", "settings": {}}')
    return place


@pytest.mark.parametrize("case", FIRST_LINES)
def test_the_first_line_comes_before_torch(case, place, light):
    words, line = FIRST_LINES[case]
    done = light(*words.split(), place=place, is_blocked=True)
    assert done.stderr.splitlines()[0] == line, done.stderr[-500:]
    assert done.returncode != 0  # no command can finish without torch


@pytest.mark.parametrize("case", REFUSALS)
def test_wrong_names_are_refused_before_torch(case, place, light):
    words, text = REFUSALS[case]
    done = light(*words.split(), place=place, is_blocked=True)
    assert done.returncode == 2, done.stderr[-500:]
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_constants_of_commands_equal_the_types_that_they_repeat():
    from typing import get_args

    from germline.cli import condense, evaluate
    from germline.data import Role, Split

    assert get_args(Role) == condense.ROLES
    assert set(get_args(Split)) == set(evaluate.SPLITS)
