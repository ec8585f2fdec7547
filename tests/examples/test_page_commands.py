"""Commands and snippets of all pages without another test run in their order, with few images and steps."""

import json
import os
import re
import shlex
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from PIL import Image

import germline as gl
from germline.cli import main
from germline.compare.cost import cost, storage
from germline.compare.recipe.text import read_recipe
from germline.compare.run import data_cache
from germline.compare.run.data_cache import PACKAGED
from germline.registry import DATA, METHODS, architecture_of, model_spec
from helpers.hub import FolderHub
from helpers.pages import ROOT, read_steps

# These tests run the pages and check their results.
OTHER_TESTS = {
    "README.md": "tests/test_readme.py",
    "docs/quickstart.md": "tests/examples/test_how_to_pages.py",
    "docs/how-to/device-family.md": "tests/examples/test_how_to_pages.py",
    "docs/how-to/half-width-resnet.md": "tests/examples/test_how_to_pages.py",
    "docs/how-to/few-labels.md": "tests/examples/test_how_to_pages.py",
    "docs/how-to/condense-a-backbone.md": "tests/examples/test_how_to_pages.py",
    "docs/how-to/own-checkpoint.md": "tests/examples/test_own_checkpoint_page.py",
}
# These commands need no output of a page, so they run on the first page that has them.
ALONE = re.compile(r"germline (demo|list|show|schema|check (lab|paper)/|report benchmarks/)")


def list_steps():
    """The steps of each page that no other test runs, without those that an earlier page has."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    paths += [path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md")]
    pages, seen = {}, set()
    for path in sorted(paths):
        name = str(path.relative_to(ROOT))
        steps = read_steps(path.read_text(encoding="utf-8"))
        chosen = [step for step in steps if name not in OTHER_TESTS or ALONE.match(step.text)]
        pages[name] = [step for step in chosen if step not in seen]
        seen |= {step for step in steps if ALONE.match(step.text)}
    return {name: steps for name, steps in pages.items() if steps}


PAGES = list_steps()
INSTALLS = "Installs packages; .ci/run does so"
CLUSTER = "Needs Ray or a scheduler; tools/test_ray.sh runs comparisons on a cluster"
# Commands that do not run here, by their first words. test_how_to_pages.py parses all commands of germline.
NOT_RUN = {
    "python3 -m pip install": INSTALLS,
    "pip install": INSTALLS,
    "make ": "Minutes each; .ci/run does what style, test and site do",
    "python -W error::DeprecationWarning": "The user's own script; test_release.py raises these warnings",
    "germline export models/d4 --out d4.onnx": "Five seconds; the page on own checkpoints exports to ONNX",
    "germline compare lab/tleg-samples --engine ray": CLUSTER,
    "ray start": CLUSTER,
    "first=$(scontrol": CLUSTER,
    "srun ": CLUSTER,
    "sleep ": CLUSTER,
    "export GERMLINE_DATA": "Sets a variable of the shell; tests/data read it",
}
SHORT = ("steps=1", "batch_size=8")
DEMO = (
    *("seeds=[0]", "sizes=[depth=4]", "tune=null", "read_steps=[0, 1, 2]"),
    *("train={steps: 2, batch_size: 8, eval_at: [0, 1]}", "arms.gene.settings={steps: 1, batch_size: 8}"),
    "arms.shuffled.settings.settings={steps: 1, batch_size: 8}",
)
GROWTH = [[10, 32], [11, 32], [12, 32], [13, 32]]
COLLECTIVE = {"growth": GROWTH, "tasks": 5, "training": {"steps": 1, "batch_size": 8}, "fisher_samples": 4}
# Settings that make a method's training take milliseconds, added to those on the page.
SHORT_SETTINGS = {
    **dict.fromkeys(("tleg", "sws", "lets"), SHORT),
    **dict.fromkeys(("front", "grow", "repeat", "weight-selection"), ()),
    "auto": (*SHORT, "meta_batch=4", "grid=2", "inner_steps=1"),
    "pool": ("distil.steps=1", "distil.batch_size=8", "finetune.steps=1", "finetune.batch_size=8", "init_images=8"),
    "snnet": ("anchor.steps=1", "anchor.batch_size=8", "finetune.steps=1", "finetune.batch_size=8", "init_images=8"),
    "gtl": (
        *("size=width=4", "population=3", "generations=2", "tournament=2", "pool=2", "tasks=2", "critic_tasks=2"),
        *("tasks_per_gene=1", "life.steps=1", "life.batch_size=8", "critic_steps=1", "protected_steps=0"),
        *("finalists=1", "final_runs=1", "patience=1"),
    ),
    "openworld": (f"growth={GROWTH}", "tasks=5", "training.steps=1", "training.batch_size=8", "fisher_samples=4"),
}
# A comparison of seconds: one seed and size, two steps, no tuning, and few arms.
SHORT_RECIPE = {"seeds": [0], "sizes": ["depth=4"], "tune": None, "question": None, "one_gene": True}
SHORT_RECIPE |= {"train": {"steps": 2, "batch_size": 8, "eval_at": [0, 1]}}
# The recipe that parts of a page extend, if it is not lab/tleg-samples.
BASE_RECIPES = {"docs/methods/baselines.md": "lab/openworld-samples"}
ARMS = ("front", "gene", "weight-selection", "scratch")


def shorten(name):
    """Write a recipe that extends a packaged one and takes seconds; return its file."""
    recipe = read_recipe(name)
    # The packaged ancestor's data replace CIFAR.
    data = recipe["data"] if recipe["data"].startswith("glyphs") else "glyphs/base"
    short = {"extends": name, "title": "Short", **SHORT_RECIPE, "data": data}
    short |= {"ancestor": {"data": "glyphs/base", "path": "packaged", "model": None, "train": None}}
    short["images_per_class"] = [2] if recipe["protocol"] == "samples" else ["all"]
    short["arms"] = {arm: None for arm in recipe["arms"] if arm not in ARMS}
    if "gene" in recipe["arms"]:
        short["arms"]["gene"] = {"settings": {"steps": 1, "batch_size": 8, "lr": 1e-3, "checkpoint_every": None}}
    if "read_steps" in recipe:
        short["read_steps"] = [0, 1, 2]
    Path("short.yaml").write_text(yaml.safe_dump(short))
    return "short.yaml"


def add_short_settings(words):
    """Add the settings that make a command short."""
    settings, verb = (), words[1]
    if verb == "train":
        settings = SHORT
    if verb == "condense":
        settings = SHORT_SETTINGS[words[words.index("--method") + 1]]
    if verb == "compare":
        words = [*words[:2], shorten(words[2]), *(word for word in words[3:] if word != "--quick")]
    if verb == "demo":
        settings = DEMO
    words = [*words, *(word for setting in settings for word in ("--set", setting))]
    return [*words, "--quiet"] if verb in ("train", "condense", "compare", "demo") else words


@pytest.fixture(scope="module")
def few():
    """Parts of the packaged glyphs with few images, by their names; `digits` in colour are the other data sets."""

    def draw(data, train, rest, channels=1):
        draws = {"train": train, "val": rest, "test": rest}
        splits = {
            split: getattr(data, split).draw_per_class(count, torch.Generator().manual_seed(0))
            for split, count in draws.items()
        }
        pairs = [(split.images.expand(-1, channels, -1, -1), split.labels) for split in splits.values()]
        return gl.load_data(pairs[0], val=pairs[1], test=pairs[2], classes=data.classes)

    made = {part: draw(gl.load_data(f"glyphs/{part}"), 50, 1) for part in ("open", "novel")}
    return {**made, "base": draw(gl.load_data("glyphs/base"), 12, 1), "colour": draw(gl.load_data("digits"), 30, 3, 3)}


@pytest.fixture(scope="module")
def made(few, tmp_path_factory):
    """Files that pages assume: an ancestor, a gene, a network, a weight file, and photos."""
    place = tmp_path_factory.mktemp("made")
    for name in ("runs/ancestor", "FOLDER"):
        shutil.copytree(PACKAGED, place / name)
    gl.condense(gl.OpenWorld(**COLLECTIVE), data=few["base"]).save(place / "genes" / "mine")
    spec = model_spec("resnet18", image_size=32, channels=3, classes=10)
    torch.save(architecture_of(spec).build(spec).state_dict(), place / "best.pth")
    (place / "photos").mkdir()
    Image.fromarray(few["base"].train.images[0, 0].numpy()).save(place / "photos" / "a.png")
    (place / "benchmarks").symlink_to(ROOT / "benchmarks")
    return place


@pytest.fixture
def run(made, few, tmp_path, monkeypatch, capsys):
    """Function that runs one step of a page in a folder with all files that it assumes."""

    def read_glyphs(part=None):
        return replace(few[part], name=f"glyphs/{part}")

    def read_colour(part=None):
        return few["colour"]

    shutil.copytree(made, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # comparisons run in this process
    for name, read in (("glyphs", read_glyphs), ("cifar10", read_colour), ("cifar-fs", read_colour)):
        monkeypatch.setitem(DATA._session, name, read)
    monkeypatch.setattr(huggingface_hub, "HfApi", FolderHub(tmp_path / "hub"))
    monkeypatch.syspath_prepend(ROOT / "examples" / "own_method")
    monkeypatch.setitem(METHODS._session, "repeat", import_module("germline_repeat").Repeat)
    caches = [value for module in (data_cache, cost, storage) for value in vars(module).values()]
    clear_caches = [value.cache_clear for value in caches if hasattr(value, "cache_clear")]
    [clear() for clear in clear_caches]
    images, labels = torch.zeros(40, 1, 32, 32, dtype=torch.uint8), torch.arange(40) % 2
    dataset = torch.utils.data.TensorDataset(images, labels)
    names = {"torch": torch, "gl": gl, "images": images, "labels": labels, "dataset": dataset}

    def draw_figures():
        monkeypatch.syspath_prepend(ROOT / "tools")
        tool = import_module("draw_figures")
        monkeypatch.setattr(tool, "ROOT", Path.cwd())
        for name, kept in (("FIGURES", "tleg-same-labels-curves"), ("GALLERY", "gallery-gtl")):
            monkeypatch.setattr(tool, name, {kept: getattr(tool, name)[kept]})
        tool.main()
        assert sorted(path.stem for path in Path("docs/images").iterdir()) == ["gallery-gtl", "tleg-same-labels-curves"]

    def run_step(step, page):
        if step.language == "python":
            exec(step.text, names)
            return
        if step.text == "python tools/draw_figures.py":
            draw_figures()
            return
        text, _, file = step.text.partition(" > ")
        if step.language == "yaml":
            part = yaml.safe_load(step.text)
            recipe = part if "extends" in part else {**read_recipe(BASE_RECIPES.get(page, "lab/tleg-samples")), **part}
            Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
            text = "germline check recipe.yaml"
        if text.startswith("--set"):
            text = f"germline train --model vit_pico --data glyphs/base --out run {text}"
        if "--out runs/ancestor" in text:  # this page trains its own ancestor
            shutil.rmtree("runs/ancestor")
        monkeypatch.setattr(sys, "argv", add_short_settings(shlex.split(text)))
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        assert stop.value.code == 0, (text, printed.err)
        assert all(Path(place).exists() for place in re.findall(r"--out (\S+)", text)), text
        if file:
            json.loads(printed.out)
            Path(file).write_text(printed.out)

    yield run_step
    [clear() for clear in clear_caches]


@pytest.mark.parametrize("name", PAGES)
def test_page_runs(name, run):
    for step in PAGES[name]:
        assert step.language in ("console", "python", "yaml", "text")
        if step.language != "text" and not step.text.startswith(tuple(NOT_RUN)):
            run(step, name)


def test_skipped_commands_are_on_a_page():
    texts = [step.text for steps in PAGES.values() for step in steps]
    assert [start for start in NOT_RUN if not any(text.startswith(start) for text in texts)] == []
    assert sum(not text.startswith(tuple(NOT_RUN)) for text in texts) >= 80


@pytest.mark.parametrize("name", OTHER_TESTS)
def test_other_pages_are_named_in_their_test(name):
    assert Path(name).name in (ROOT / OTHER_TESTS[name]).read_text(encoding="utf-8")
