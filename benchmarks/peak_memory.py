"""Peak memory: a ViT-L/14 teaches a ViT-S/16, and a ViT-H/14 is inherited and saved; target <= 1.2 x the bytes to hold.

Weights are fake. Each case runs in a process of its own, whose memory after its imports is subtracted. `anonymous` is
the process's own memory (RssAnon), sampled by another process every 10 ms. `resident` also counts pages of files that
are mapped (VmHWM), which the system takes back when memory gets short. Bytes to hold are tensors alone, without
activations. Resident pages are compared with these bytes and those of the mapped file together.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common import ROOT, describe_run
from germline.api import condense
from germline.architectures import VIT, Preprocess, Size, Spec, on_meta_device
from germline.architectures.vit import VitSpec
from germline.baselines.weight_selection import WeightSelection
from germline.data import DataSet, Images
from germline.files import write_json
from germline.learngene import Learngene
from germline.loading import load_network
from germline.methods.base import Method
from germline.methods.front.cosine import coefficient_shape
from germline.methods.front.method import FRONT
from germline.methods.front.roles import list_roles
from germline.methods.grow import Grow
from germline.methods.tleg import TLEG
from germline.methods.tleg.expansion import ExpandedNetwork
from germline.network import WEIGHTS, Network
from germline.training import Run

TARGET, SAMPLE_S, STEPS = 1.2, 0.01, 2
HUGE = VitSpec(image_size=224, channels=3, classes=1000, depth=32, width=1280, heads=16, patch_size=14)
LARGE = VitSpec(image_size=224, channels=3, classes=1000, depth=24, width=1024, heads=16, patch_size=14)
HALF = VitSpec(image_size=224, channels=3, classes=1000, depth=32, width=640, heads=8, patch_size=14)
SHALLOW = HUGE.model_copy(update={"depth": 16})
PREPROCESS = Preprocess(channels=3, image_size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
CLASSES = tuple(f"class {index}" for index in range(1000))


def fill(shapes: dict[str, Tensor]) -> dict[str, Tensor]:
    """Make small, varied values, much faster than random ones."""
    return {
        name: torch.arange(tensor.numel()).float().mul_(0.6180339887).frac_().sub_(0.5).mul_(0.07).view(tensor.shape)
        for name, tensor in shapes.items()
    }


def count_bytes(tensors: Any) -> int:
    """Count the bytes of tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def build_shell(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """List the tensors of a network without values."""
    with on_meta_device():
        return build().state_dict()


def save_gene(folder: Path, method: Method, spec: Spec, shapes: dict[str, Tensor]) -> None:
    """Save a gene of fake weights."""
    settings = method.model_dump(mode="json")
    Learngene(method.name, settings, "vit", spec, fill(shapes), PREPROCESS, CLASSES).save(folder)


def save_teacher(folder: Path) -> None:
    """Save a ViT-L/14 of fake weights."""
    with on_meta_device():
        model = VIT.build(LARGE)
    model.load_state_dict(fill(model.state_dict()), assign=True)
    Network(model, PREPROCESS, CLASSES, spec=LARGE).save(folder)


def prepare(case: str, folder: Path) -> None:
    """Write what a case reads."""
    if case == "condense":
        save_teacher(folder / "teacher")
    elif case == "tleg":
        shapes = build_shell(lambda: ExpandedNetwork(VIT, HUGE, (HUGE.depth,)))
        save_gene(folder / "gene", TLEG(), HUGE, shapes)
    elif case == "front":
        method = FRONT(keep=0.5)
        roles = list_roles(HUGE, method.hidden)
        stored = {key: torch.empty(coefficient_shape(role, method.keep), device="meta") for key, role in roles.items()}
        save_gene(folder / "gene", method, HUGE, stored)
    elif case == "grow":
        save_gene(folder / "gene", Grow(), HALF, build_shell(lambda: VIT.build(HALF)))
    else:
        save_gene(folder / "gene", WeightSelection(), SHALLOW, build_shell(lambda: VIT.build(SHALLOW)))


def measure_condense(folder: Path) -> dict[str, int]:
    """Load the teacher from its folder and condense a ViT-S from it, two images per step."""
    images = torch.randint(0, 256, (2 * STEPS, 3, 224, 224), dtype=torch.uint8)
    data = DataSet("noise", lambda _: Images(images, None, ()))
    method = TLEG(model="vit_small16", steps=STEPS, batch_size=2, lr=1e-4)
    teacher = load_network(folder / "teacher")
    gene = condense(method, ancestor=teacher, data=data, run=Run(device="cpu", quiet=True))
    # The gene's own tensors, their gradients, two moments of AdamW, and the copy that is returned.
    student = gene.count_bytes()
    expanded = count_bytes(build_shell(lambda: VIT.build(gene.spec)).values())
    return {
        "teacher": count_bytes(teacher.model.state_dict().values()),
        "gene, gradients and optimiser": 4 * student,
        "network computed from the gene": expanded,
        "mapped": (folder / "teacher" / WEIGHTS).stat().st_size,
    }


def measure_inherit(folder: Path) -> dict[str, int]:
    """Load a gene, inherit a ViT-H/14 and save it."""
    gene = Learngene.load(folder / "gene")
    size = Size(depth=HUGE.depth, width=HUGE.width, heads=HUGE.heads)
    descendant = gene.inherit(size)
    descendant.save(folder / "out")
    return {"descendant": count_bytes(descendant.model.state_dict().values()), "mapped": gene.count_bytes()}


def read_memory(process: int | str) -> dict[str, int]:
    """Read the memory of a process in bytes."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    facts = dict(line.split(":", 1) for line in lines if line.startswith(("VmHWM", "VmRSS", "RssAnon")))
    return {name: int(text.split()[0]) * 1024 for name, text in facts.items()}


def run_child(case: str, folder: Path) -> None:
    """Run one case and print its memory; the parent samples this process meanwhile."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Every import and first call happens before the memory is read.
    tiny = VitSpec(image_size=28, channels=3, classes=3, depth=1, width=16, heads=1, patch_size=14)
    place = folder / "tiny"
    Network(VIT.build(tiny).eval(), PREPROCESS.adapt(3, 28), ("a", "b", "c"), spec=tiny).save(place, overwrite=True)
    load_network(place)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # VmHWM starts again
    before = read_memory("self")
    print(json.dumps(before), flush=True)
    began = time.perf_counter()
    held = (measure_condense if case == "condense" else measure_inherit)(folder)
    seconds = time.perf_counter() - began
    after = read_memory("self")
    print(json.dumps({"held": held, "resident_peak": after["VmHWM"] - before["VmRSS"], "seconds": seconds}), flush=True)


def sample_child(case: str, folder: Path) -> dict[str, Any]:
    """Run a case in a process and sample its own memory."""
    command = [sys.executable, __file__, "--child", case, "--folder", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    start, peak = json.loads(child.stdout.readline())["RssAnon"], 0
    while child.poll() is None:
        try:
            peak = max(peak, read_memory(child.pid).get("RssAnon", 0))
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(SAMPLE_S)
    facts = json.loads(child.stdout.read())
    child.wait()
    held = facts["held"]
    mapped = held.pop("mapped")
    total = sum(held.values())
    return {
        "held_bytes": total,
        "parts": held,
        "mapped_bytes": mapped,
        "anonymous_peak_bytes": peak - start,
        "resident_peak_bytes": facts["resident_peak"],
        "ratio": (peak - start) / total,
        "resident_ratio": facts["resident_peak"] / (total + mapped),
        "target": TARGET,
        "seconds": facts["seconds"],
    }


CASES = {
    "tleg": "inherit + save a ViT-H/14, tleg",
    "grow": "inherit + save a ViT-H/14, grow from half its width",
    "weight-selection": "inherit + save a ViT-H/14, weight-selection from half its blocks",
    "front": "inherit + save a ViT-H/14, front with half of the coefficients per axis",
    "condense": "condense ViT-S/16 from a ViT-L/14",
}


def main() -> None:
    """Measure every case, each in its own processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CASES, nargs="*", default=list(CASES), help="cases (default: all)")
    parser.add_argument("--child", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child or asked.prepare:
        (run_child if asked.child else prepare)(asked.child or asked.prepare, asked.folder)
        return
    rows = []
    # A part of the cases does not replace the result of all.
    name = "-".join(["peak-memory", *([] if asked.only == list(CASES) else asked.only)])
    for case in asked.only:
        with tempfile.TemporaryDirectory() as place:
            subprocess.run([sys.executable, __file__, "--prepare", case, "--folder", place], check=True)
            rows.append({"case": CASES[case], **sample_child(case, Path(place))})
        line = rows[-1]
        print(
            f"{line['case']:<70} held {line['held_bytes'] / 1e9:5.2f} GB   "
            f"peak {line['anonymous_peak_bytes'] / 1e9:5.2f} GB   "
            f"ratio {line['ratio']:.3f}   with mapped files {line['resident_ratio']:.3f}   target {TARGET}",
            flush=True,
        )
        result = {**describe_run(), "sampled_every_s": SAMPLE_S, "rows": rows}
        write_json(ROOT / "benchmarks" / "results" / f"{name}.json", result)


if __name__ == "__main__":
    main()
