"""The main commands with tiny settings, and the files that they write."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from germline.architectures import Size
from germline.cli import main
from germline.learngene import Learngene
from germline.loading import load_network
from helpers.bad_input import snapshot
from helpers.comparison import RECIPE
from helpers.processes import command, finish

SMALL = ("--device", "cpu", "--quiet", "--data", "digits", "--set", "batch_size=20")
TRAIN = ("train", "--model", "vit_pico", *SMALL, "--set", "steps=6", "--set", "log_every=2", "--set", "eval_at=[0, 3]")


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder and output of an ancestor, made in its own process, a gene, a descendant and a trained descendant."""
    place = tmp_path_factory.mktemp("trained")
    done = finish(command(*TRAIN, "--out", "ancestor"), place)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    printed = {"ancestor": done.stdout}
    for name, words in {
        "gene": ("condense", "--method", "tleg", "--ancestor", "ancestor", *SMALL, "--set", "steps=4", "--out", "gene"),
        "child": ("inherit", "gene", "--size", "depth=3", "--data", "digits", "--out", "child"),
        "grown": ("train", "--model", "child", *SMALL, "--set", "steps=2", "--out", "grown"),
    }.items():
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
            patch.chdir(place)
            patch.setattr(sys, "argv", ["germline", *words])
            with pytest.raises(SystemExit) as stop:
                main()
        assert stop.value.code == 0
        printed[name] = out.getvalue()
    return place, printed


def test_the_console_script_is_installed(tmp_path):
    """The other tests call the function of this script directly."""
    script = Path(sys.executable).parent / "germline"
    done = subprocess.run([script, "show", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "protocol: same-labels" in done.stdout


def test_train_writes_a_timm_folder_and_a_run_folder(trained):
    place, printed = trained
    assert sorted(path.name for path in (place / "ancestor").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    model = timm.create_model(f"local-dir:{place / 'ancestor'}", pretrained=True)
    assert (len(model.blocks), model.num_classes) == (6, 10)
    assert printed["ancestor"].startswith("ancestor: accuracy 0.")
    assert "after 6 steps" in printed["ancestor"]


def test_resolved_settings_are_saved(trained):
    config = json.loads((trained[0] / "ancestor.run/config.json").read_text())
    assert {key: config[key] for key in ("model", "data", "seed", "precision")} == {
        "model": "vit_pico",
        "data": "digits",
        "seed": 0,
        "precision": "32-true",
    }
    settings = {key: config["settings"][key] for key in ("steps", "batch_size", "eval_at", "lr", "optimizer")}
    assert settings == {"steps": 6, "batch_size": 20, "eval_at": [0, 3], "lr": 1e-3, "optimizer": "adamw"}


def test_log_and_result_are_saved(trained):
    work = trained[0] / "ancestor.run/train"
    log, result = read_lines(work / "log.jsonl"), json.loads((work / "result.json").read_text())
    losses = [line for line in log if "loss" in line]
    assert [line["step"] for line in losses] == [2, 4, 6]
    assert all(0 < line["loss"] < 10 for line in losses)
    assert [line["step"] for line in log if "val_accuracy" in line] == [0, 3, 6]
    assert (result["steps"], result["samples"]) == (6, 120)
    assert [score["step"] for score in result["scores"]] == [0, 3, 6]
    assert not (work / "checkpoints").exists()
    assert json.loads((trained[0] / "ancestor.run/run.json").read_text())["threads"] == 1


def test_condense_writes_a_gene(trained):
    place, printed = trained
    gene = Learngene.load(place / "gene")
    assert (gene.method, gene.classes, gene.provenance.ancestor) == ("tleg", tuple("0123456789"), "ancestor")
    assert gene.provenance.training["samples"] == 80
    assert f"{gene.count_bytes():,} bytes" in printed["gene"]
    config = json.loads((place / "gene.run/config.json").read_text())
    assert (config["method"], config["ancestor"], config["settings"]["steps"]) == ("tleg", "ancestor", 4)


def test_inherit_grows_the_same_network_as_python(trained):
    place, printed = trained
    child = load_network(place / "child")
    assert child.classes == tuple("0123456789")
    again = Learngene.load(place / "gene").inherit(Size(depth=3)).model.state_dict()
    found = load_file(place / "child/model.safetensors")
    assert found.keys() == again.keys()
    assert all(torch.equal(found[name], again[name]) for name in found)
    facts = json.loads((place / "child/descendant.json").read_text())
    count = sum(tensor.numel() for tensor in found.values())
    assert sum(facts["origins"].values()) == count
    assert f"{count:,} parameters" in printed["child"]


def test_training_starts_from_the_weights_of_the_descendant(trained):
    place, _ = trained
    before, after = load_file(place / "child/model.safetensors"), load_file(place / "grown/model.safetensors")
    assert before.keys() == after.keys()
    moved = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert 0 < moved < 0.1


def test_inspect_prints_parameters_of_sizes(trained, run):
    done = run("inspect", trained[0] / "gene", "--size", "depth=3", "--size", "depth=9", "--classes", "5")
    assert done.code == 0
    for depth in (3, 9):
        child = Learngene.load(trained[0] / "gene").inherit(Size(depth=depth), 5).model
        assert f"{sum(parameter.numel() for parameter in child.parameters()):,}" in done.out
    assert run("inspect", trained[0] / "gene").out.count("depth=") == 5  # one direction and four sizes


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("methods", ("tleg", "scratch", "finetune")),
        ("models", ("vit_pico", "vit_nano")),
        ("data", ("glyphs", "digits", "cifar100", "folder")),
        ("recipes", ("demo", "lab/tleg-samples")),
    ],
)
def test_list_prints_names_with_descriptions(run, kind, names):
    done = run("list", kind)
    assert (done.code, done.err) == (0, "")
    assert set(names) <= {line.split()[0] for line in done.out.splitlines()}
    assert all(len(line.split()) > 1 for line in done.out.splitlines())


def test_show_prints_a_recipe_that_can_be_copied(run, tmp_path, monkeypatch):
    from germline.compare.recipe.loader import load_recipe

    done = run("show", "demo")
    (tmp_path / "mine.yaml").write_text(done.out)
    assert done.code == 0
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe("demo")


def test_a_quick_version_is_shown_checked_and_listed(run, tmp_path):
    from germline.compare.recipe.loader import load_recipe

    shown, former = run("show", "lab/tleg-sizes", "--quick"), run("show", "lab/tleg-sizes-quick")
    (tmp_path / "mine.yaml").write_text(shown.out)
    assert (shown.code, former.out) == (0, shown.out)
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe("lab/tleg-sizes", quick=True)
    assert "8 cells (4 x 2 seeds)" in run("check", "lab/tleg-sizes", "--quick").out
    listed = run("list", "recipes").out.splitlines()
    assert [line.endswith("[--quick]") for line in listed if line.split()[0] in ("demo", "lab/tleg-sizes")] == [
        False,
        True,
    ]
    assert not any(line.split()[0].endswith("-quick") for line in listed)


def test_a_quick_comparison_has_a_folder_of_its_own(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE.replace("kind: quick", "kind: full") + "quick: {seeds: [0]}\n")
    assert run("compare", "r.yaml", "--quick", "--quiet", "--workers", "1").code == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["r-quick"]
    assert "A quick run" in (tmp_path / "runs/r-quick/report.md").read_text()


def test_check_prints_the_cost_of_the_demo_and_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("check", "demo")
    assert (done.code, done.err) == (0, "")
    assert "24 cells (12 x 2 seeds)" in done.out
    assert "0 ancestors" in done.out
    assert "1 genes: 102,400 samples" in done.out
    assert "18 tuning cells" in done.out
    assert not any(tmp_path.iterdir())


def test_demo_prints_the_accuracies_of_its_results(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # in this process, since workers take seconds to start
    few = ("arms.gene.settings.steps=2", "arms.shuffled.settings.settings.steps=2", "train.steps=2")
    changes = (*few, "train.eval_at=[0, 1]", "read_steps=[0, 1, 2]", "seeds=[0]", "sizes=[depth=1]", "tune=null")
    done = run("demo", "--quiet", *(word for change in changes for word in ("--set", change)))
    assert (done.code, done.err) == (0, "")
    shown = [line for line in done.out.splitlines() if line]
    parts = (("", "glyphs/base, all images", 2), ("unseen", "glyphs/novel, 10 images per class", 1))
    for part, data, count in parts:
        folder = tmp_path / "germline-demo" / part
        results = json.loads((folder / "results.json").read_text())
        assert [cell["asked"]["arm"] for cell in results["cells"]] == ["gene", "shuffled", "scratch"]
        assert (folder / "report.html").exists()
        at = shown.index(f"Validation accuracy on {data}, one seed")
        for cell, line in zip(results["cells"], shown[at + 2 :], strict=False):
            points = (cell["curve"][0], cell["curve"][-1])[-count:]
            assert re.findall(r"([\d.]+) %", line) == [f"{100 * point['accuracy']:.1f}" for point in points]
    # both parts share one gene in one store
    assert len([path for path in (tmp_path / "germline-demo/store").glob("gene-*") if path.suffix == ""]) == 1
    assert [line for line in shown if line.startswith("report: ")] == [
        "report: germline-demo/report.html",
        "report: germline-demo/unseen/report.html",
    ]


def test_every_command_has_help(run):
    for verb in ("demo", "train", "condense", "inherit", "inspect", "compare", "report", "list", "show", "check"):
        done = run(verb, "--help")
        assert (done.code, done.err) == (0, "")
        assert "Usage" in done.out


def test_resuming_a_finished_training_changes_nothing(trained, run, tmp_path, monkeypatch):
    place = tmp_path / "copy"
    shutil.copytree(trained[0], place)
    monkeypatch.chdir(place)
    before = snapshot(place)
    assert run(*TRAIN, "--out", "ancestor", "--resume").code == 0
    assert snapshot(place) == before


def test_other_settings_do_not_resume(trained, run, tmp_path, monkeypatch):
    place = tmp_path / "copy"
    shutil.copytree(trained[0], place)
    monkeypatch.chdir(place)
    before = snapshot(place)
    for change in (("--seed", "1"), ("--set", "lr=0.5"), ("--precision", "bf16-true"), ("--model", "vit_nano")):
        done = run(*TRAIN, "--out", "ancestor", "--resume", *change)
        assert done.code == 2
        assert "was started with" in done.err
        assert "--overwrite" in done.err
        assert snapshot(place) == before


def test_overwrite_replaces_the_folder_and_trains_again(trained, run, tmp_path, monkeypatch):
    place = tmp_path / "copy"
    shutil.copytree(trained[0], place)
    monkeypatch.chdir(place)
    (place / "ancestor/of-before").write_text("x")
    old = load_file(place / "ancestor/model.safetensors")
    assert run(*TRAIN, "--out", "ancestor", "--overwrite", "--seed", "1").code == 0
    new = load_file(place / "ancestor/model.safetensors")
    assert not torch.equal(old["blocks.0.mlp.fc1.weight"], new["blocks.0.mlp.fc1.weight"])
    assert not (place / "ancestor/of-before").exists()
    assert json.loads((place / "ancestor.run/config.json").read_text())["seed"] == 1


def test_logger_csv_writes_losses(workdir, run):
    done = run("train", "--model", "ancestor", *SMALL, "--set", "steps=2", "--out", "new", "--logger", "csv")
    assert done.code == 0, done.err
    (table,) = workdir.glob("new.run/csv/**/metrics.csv")
    assert "train/loss" in table.read_text().splitlines()[0]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_logger_that_is_not_installed_is_named(workdir, run, name, monkeypatch):
    # This process cannot import the packages, even if they are installed.
    for package in (name, "tensorboardX"):
        monkeypatch.setitem(sys.modules, package, None)
    before = snapshot(workdir)
    done = run("train", "--model", "ancestor", *SMALL, "--set", "steps=2", "--out", "new", "--logger", name)
    assert done.code == 2
    assert f"pip install 'germline[{name}]'" in done.err
    assert snapshot(workdir) == before


def test_export_writes_one_file_and_describes_it(workdir, run):
    done = run("export", "cnn", "--format", "onnx", "--out", "net.onnx")
    assert (done.code, done.err) == (0, "")
    size = (workdir / "net.onnx").stat().st_size
    assert done.out.startswith(
        f"net.onnx: {size:,} bytes, pixels [batch, 1, 32, 32] in [0, 1] to logits [batch, 10]; equal"
    )


def test_cnn_is_condensed_and_grows_a_colour_descendant(workdir, run):
    words = ("--method", "finetune", "--ancestor", "cnn", "--data", "digits", "--device", "cpu", "--quiet")
    assert run("condense", *words, "--out", "finetuned").code == 0
    done = run("inspect", "finetuned")
    assert (done.code, done.err) == (0, "")
    assert all(text in done.out for text in ("vgg", "the gene's own", "100.0% copied"))
    assert run("inherit", "finetuned", "--channels", "3", "--out", "colour").code == 0
    assert load_network(workdir / "colour").spec.channels == 3


def test_a_circuit_is_grown_in_a_network_of_another_family(workdir, run):
    words = ("--method", "circuit", "--ancestor", "cnn", "--data", "digits", "--device", "cpu", "--quiet")
    assert run("condense", *words, "--out", "circuit").code == 0
    done = run(
        "inherit", "circuit", "--model", "resnet12_x025", "--size", "width=8", "--data", "digits", "--out", "res"
    )
    assert (done.code, done.err) == (0, "")
    assert "zero-filled" in done.out
    spec = load_network(workdir / "res").spec
    assert (type(spec).__name__, spec.widths) == ("ResNet12Spec", (8, 16, 32, 64))
    done = run("inherit", "gene", "--model", "vgg11", "--out", "none")
    assert (done.code, (workdir / "none").exists()) == (2, False)
    assert "method tleg cannot grow model=vgg11" in done.err


def test_inspect_shows_only_depths_that_a_gene_can_grow(workdir, run):
    words = ("--method", "finetune", "--ancestor", "ancestor", "--data", "digits", "--device", "cpu", "--quiet")
    assert run("condense", *words, "--out", "finetuned").code == 0
    done = run("inspect", "finetuned")
    assert (done.code, done.err) == (0, "")
    assert [word for word in done.out.split() if word.startswith("depth=")] == ["depth=2"]


def test_evolved_gene_is_resumed_inspected_and_reported(workdir, run):
    words = ("condense", "--method", "gtl", "--set", "preset=tiny", "--set", "ways=3", "--set", "generations=1")
    words = (*words, "--data", "digits", "--device", "cpu", "--quiet", "--out", "evolved")
    assert "fitness on held-out tasks" in run(*words).out
    before = load_file("evolved/learngene.safetensors")
    assert sorted(path.name for path in Path("evolved.run").glob("generation-*")) == [
        "generation-000",
        "generation-001",
    ]
    shutil.rmtree("evolved")
    assert run(*words, "--resume").code == 0
    again = load_file("evolved/learngene.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in before.items())
    # Without a head the gene has no class names. Sizes are shown for the number of classes of a task.
    assert "any width and depth of a vgg or a resnet12" in " ".join(run("inspect", "evolved").out.split())
    assert run("report", "evolved").code == 0
    assert "Gene tree" in Path("evolved.html").read_text()
