"""A comparison with a stored gene runs without the data that the gene comes from."""

import shutil

import pytest
from PIL import Image

from germline.api import build_gene_objective, condense, train
from germline.compare import write_report
from germline.data import load_data, split_classes
from germline.learngene import Learngene
from germline.methods.openworld.ewc import EwcObjective
from germline.methods.openworld.method import OpenWorld
from germline.training import Run, TrainSettings
from helpers.comparison import comparison, results

MAKING = {"preset": "tiny", "ways": 3, "growth": "none", "tasks": 2, "open_tasks": 0}
RECIPE = """\
title: An individual without source data
protocol: samples
kind: quick
minutes: 1
data: folder:{novel}
ancestor: {{data: "folder:{novel}", model: vgg11_x025}}
arms:
  gene: {{method: stored, settings: {{gene: {gene}}}}}
  scratch: {{method: scratch}}
  free: {{method: stored, settings: {{gene: {gene}, settings: {{anchor: none}}}}}}
sizes: [width=4]
images_per_class: [3]
seeds: [0, 1]
train: {{optimizer: sgd, steps: 3, batch_size: 8, lr: 0.05, eval_at: [0]}}
"""


def write_images(images, folder):
    """Write class folders of small image files for each split."""
    for split in ("train", "val", "test"):
        split_images = images.split("val" if split == "test" else split)
        for at, (image, label) in enumerate(zip(split_images.images, split_images.labels.tolist(), strict=True)):
            place = folder / split / split_images.classes[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy(), "L").save(place / f"{at}.png")


@pytest.fixture
def source_free_folder(pico, tmp_path):
    """Folder with a gene whose source data are removed, and with images of novel classes."""
    base, novel = split_classes(pico, 0.3, 3, 0)
    write_images(base, tmp_path / "base")
    write_images(novel, tmp_path / "novel")
    gene = condense(OpenWorld(**MAKING), data=f"folder:{tmp_path / 'base'}", run=Run(device="cpu", quiet=True))
    gene.save(tmp_path / "gene")
    shutil.rmtree(tmp_path / "base")
    return tmp_path


def test_comparison_runs_without_source_data(source_free_folder):
    (source_free_folder / "r.yaml").write_text(
        RECIPE.format(novel=source_free_folder / "novel", gene=source_free_folder / "gene")
    )
    comparison(source_free_folder / "r.yaml", source_free_folder / "out").run()
    stored = results(source_free_folder / "out")
    assert stored["failed"] == {}
    cells = {(cell["asked"]["arm"], cell["asked"]["seed"]): cell for cell in stored["cells"]}
    assert len(cells) == 6
    assert all(cells["gene", seed]["origins"]["copied"] > 0 for seed in (0, 1))
    # The anchor makes a difference, and nothing was condensed.
    assert cells["gene", 0]["curve"][0] == cells["free", 0]["curve"][0]
    assert cells["gene", 0]["curve"][-1]["loss"] != cells["free", 0]["curve"][-1]["loss"]
    assert stored["costs"]["genes"]["gene"]["samples"] == 0
    write_report(source_free_folder / "out")
    page = (source_free_folder / "out" / "report.md").read_text()
    assert "over 2 seeds (one gene serves all seeds)" in page
    assert "2 seeds, all with one gene." in page
    assert "how much genes differ from seed to seed" in page


def test_training_in_python_runs_without_source_data(source_free_folder):
    gene = Learngene.load(source_free_folder / "gene")
    novel = load_data(f"folder:{source_free_folder / 'novel'}")
    child = gene.inherit(classes=novel.classes)
    objective = build_gene_objective(source_free_folder / "gene", child.network)
    assert isinstance(objective, EwcObjective)
    result = train(
        child.network,
        novel,
        TrainSettings(steps=2, batch_size=8),
        objective=objective,
        run=Run(device="cpu", quiet=True),
    )
    assert 0 <= result.accuracy <= 1
