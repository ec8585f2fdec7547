"""No command removes or changes what it reads."""

import shutil

import pytest

from helpers.bad_input import RECIPE, snapshot, write_images

TRAIN = ("train", "--device", "cpu", "--quiet", "--set", "steps=1")
CONDENSE = ("condense", "--method", "finetune", "--device", "cpu", "--quiet")

ONTO_INPUTS = {
    "train-model": (*TRAIN, "--model", "ancestor", "--data", "digits", "--out", "ancestor"),
    "train-model-in": (*TRAIN, "--model", "ancestor", "--data", "digits", "--out", "ancestor/new"),
    "train-model-above": (*TRAIN, "--model", "deep/ancestor", "--data", "digits", "--out", "deep"),
    "train-model-link": (*TRAIN, "--model", "ancestor", "--data", "digits", "--out", "link"),
    "train-local-dir": (*TRAIN, "--model", "local-dir:ancestor", "--data", "digits", "--out", "ancestor"),
    "train-data": (*TRAIN, "--model", "ancestor", "--data", "folder:photos", "--out", "photos"),
    "train-data-in": (*TRAIN, "--model", "ancestor", "--data", "folder:photos", "--out", "photos/train/c"),
    "train-data-size": (*TRAIN, "--model", "ancestor", "--data", "folder:photos@32", "--out", "photos"),
    "train-gene": (*TRAIN, "--model", "child", "--gene", "gene", "--data", "digits", "--out", "gene"),
    "condense-ancestor": (*CONDENSE, "--ancestor", "ancestor", "--data", "digits", "--out", "ancestor"),
    "condense-above": (*CONDENSE, "--ancestor", "deep/ancestor", "--data", "digits", "--out", "deep"),
    "condense-data": (*CONDENSE, "--ancestor", "ancestor", "--data", "folder:photos", "--out", "photos"),
    "condense-stored": ("condense", "--method", "stored", "--set", "gene=gene", "--data", "digits", "--out", "gene"),
    "inherit": ("inherit", "gene", "--out", "gene"),
    "inherit-dots": ("inherit", "gene", "--out", "./deep/../gene"),
    "inherit-in": ("inherit", "gene", "--out", "gene/child"),
    "inherit-data": ("inherit", "gene", "--data", "folder:photos", "--out", "photos/train"),
    "export": ("export", "net.pt2", "--out", "net.pt2"),
    "compare-recipe-above": ("compare", "deep/r.yaml", "--out", "deep", "--quiet"),
    "compare-ancestor": ("compare", "own.yaml", "--out", "ancestor", "--quiet"),
    "compare-extended-above": ("compare", "own.yaml", "--out", "deep", "--quiet"),
    "compare-set": ("compare", "own.yaml", "--out", "child", "--quiet", "--set", "ancestor.path=child"),
    "compare-final": ("compare", "own.yaml", "--out", "photos", "--quiet", "--set", "final_data=folder:photos"),
    "report": ("report", "results.json", "--out", "results.json"),
}


@pytest.mark.parametrize("words", ONTO_INPUTS.values(), ids=ONTO_INPUTS)
def test_an_output_onto_an_input_is_refused_even_with_overwrite(workdir, run, words):
    write_images(workdir)
    (workdir / "deep").mkdir()
    shutil.copytree(workdir / "ancestor", workdir / "deep" / "ancestor")
    (workdir / "link").symlink_to("ancestor")
    shutil.copy(workdir / "ancestor" / "model.safetensors", workdir / "net.pt2")
    (workdir / "results.json").write_text("{}")
    (workdir / "deep" / "r.yaml").write_text(RECIPE)
    (workdir / "own.yaml").write_text("extends: deep/r.yaml\nancestor: {path: ancestor}\n")
    before = snapshot(workdir)
    done = run(*words, "--overwrite")
    assert done.code == 2, done.err
    assert done.err.startswith("germline: ")
    assert done.err.count("\n") == 1
    if words[0] != "export":
        assert "an input of this command" in done.err
    assert snapshot(workdir) == before
