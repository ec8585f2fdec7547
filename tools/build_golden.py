"""Write `tests/golden/`: small files of every format, and hashes of what every method computes.

The files are never rebuilt in normal work. They freeze what an earlier germline wrote and computed. So
`tests/test_golden.py` shows whether a later one reads the same files and computes the same bits. If a golden test
fails, the change is wrong, not the files. They are only written again if a format or an arithmetic changes on
purpose, with an entry in the changelog. The command, from the repository's root, takes less than a minute:

    OMP_NUM_THREADS=1 python tools/build_golden.py --replace

It replaces the whole folder. All paths within it are relative to it.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import germline as gl
import golden_cases as cases
from germline.architectures.presets import MODELS
from germline.registry import ARCHITECTURES

RECIPE = """\
title: Two arms on digits
protocol: samples
kind: quick
minutes: 1
data: digits
ancestor: {data: digits, path: models/vit}
arms:
  gene:
    method: tleg
    settings: {steps: 2, batch_size: 8}
  scratch: {method: scratch}
sizes: [depth=1]
images_per_class: [3]
seeds: [0]
train: {steps: 2, batch_size: 8, lr: 1e-3, eval_at: [0]}
"""
FORMS = {
    "vit": ({"depth": 2, "width": 8, "heads": 2, "patch_size": 8}, ""),
    "stitched": ({"depths": (1, 2), "widths": (4, 8), "heads": (1, 2), "patch_size": 8, "class_token": True}, ""),
    "vgg": (MODELS["vgg11_x025"].fields, "width=2"),
    "resnet12": (MODELS["resnet12_x025"].fields, "width=1"),
    "resnet": (MODELS["resnet18_x025"].fields, "width=1"),
}


def build_models():
    """A network of each architecture, trained for two steps."""
    digits = gl.load_data(cases.DATA)
    preprocess = gl.Preprocess(channels=1, image_size=32, mean=(0.2,), std=(0.3,))
    for name in ARCHITECTURES:
        fields, size = FORMS[name]
        spec = ARCHITECTURES[name].spec_type(image_size=32, channels=1, classes=len(digits.classes), **fields)
        spec = ARCHITECTURES[name].resize(spec, gl.Size.parse(size))
        torch.manual_seed(0)
        model = ARCHITECTURES[name].build(spec).eval()
        source = "two steps on digits from random weights"
        network = gl.Network(model, preprocess, digits.classes, spec=spec, licence="mit", source=source)
        settings = gl.TrainSettings(steps=2, batch_size=40, lr=1e-2)
        gl.train(network, digits, settings, run=gl.Run(device="cpu", quiet=True))
        network.save(f"models/{name}")


def build_cases():
    """Genes and hashes of every method on every architecture; descendants of three methods as folders."""
    found = {}
    # `stored` reads the gene of another method.
    for name, architecture in sorted(cases.CASES, key=lambda case: case[0] == "stored"):
        began, folder = time.monotonic(), Path("work")
        results, gene = cases.results_of(name, architecture, folder)
        whole = cases.FULL_ARCHITECTURE[name] == architecture
        if whole and gene is not None and name != "stored":
            gene.save(f"genes/{name}")
            if name in cases.DESCENDANTS:
                cases.inherit(name, architecture, gene, new=True).save(f"descendants/{name}")
        found[f"{name}/{architecture}"] = {**results, "files": cases.names_in(folder)}
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{name}/{architecture}: {time.monotonic() - began:.1f} s")
    return found


def build_unfinished():
    """The folder of a training run that was killed, and the weights in which an unbroken one ends."""
    assert cases.command(*cases.UNFINISHED) == 0
    whole = cases.weights_of("unfinished")
    shutil.rmtree("unfinished")
    shutil.rmtree("unfinished.run")
    words = [sys.executable, "-m", "germline.cli", *cases.UNFINISHED]
    place = Path("unfinished.run/train/checkpoints")
    with subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while not list(place.glob("step-*")) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    kept = sorted(path for path in place.iterdir() if path.name.startswith("step-"))[-1]
    for path in place.iterdir():
        if path != kept:
            shutil.rmtree(path)
    assert not Path("unfinished").exists()
    return whole


def build_comparisons():
    """A comparison's folder without its reports, and names and weights of the parts of one that trains its ancestor."""
    Path("recipe.yaml").write_text(RECIPE, encoding="utf-8")
    assert cases.command(*cases.COMPARE) == 0
    for report in Path("comparison").glob("report.*"):
        report.unlink()
    assert cases.command(*cases.BRED) == 0
    names, weights = cases.names_in("bred/store"), cases.store_weights("bred/store")
    shutil.rmtree("bred")
    for lock in Path("comparison").rglob("*.lock"):
        lock.unlink()
    return names, weights


def main():
    """Replace the folder, if the command line asks for it."""
    parser = argparse.ArgumentParser(description="Write tests/golden anew.")
    parser.add_argument("--replace", action="store_true", required=True, help="Replace the golden files.")
    parser.parse_args()
    torch.set_num_threads(1)
    shutil.rmtree(cases.GOLDEN, ignore_errors=True)
    cases.GOLDEN.mkdir()
    os.chdir(cases.GOLDEN)
    build_models()
    stored = {
        "environment": cases.environment(),
        "germline": version("germline"),
        "logits": {},
        "cases": build_cases(),
        "unfinished": build_unfinished(),
    }
    assert cases.command(*cases.FRESH) == 0
    stored["fresh"] = cases.summary_of(cases.weights_of("fresh"))
    shutil.rmtree("fresh")
    shutil.rmtree("fresh.run")
    stored["bred"], stored["bred_weights"] = build_comparisons()
    for folder in cases.model_folders():
        stored["logits"][folder] = cases.rounded_logits(gl.load_network(folder))
    Path("hashes.json").write_text(json.dumps(stored, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    here = str(Path.cwd().parents[1])
    odd = [path for path in cases.names_in(".") if here.encode() in Path(path).read_bytes()]
    assert not odd, f"paths of this computer in {odd}"


if __name__ == "__main__":
    main()
