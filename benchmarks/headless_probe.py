"""What a descendant keeps of a backbone without a head, by linear probes; its gene is condensed without labels.

The ancestor is a model folder, such as that of tools/focus_ancestor.py, with the mean of its patch tokens as pooled
features. A gene of `tleg` is condensed from its tokens on images without labels. These are not augmented, so the
ancestor sees each of them once. Linear probes are then fitted on frozen features of five networks. These are a
descendant, one whose gene is shuffled, one of random weights, the ancestor's first blocks, and the ancestor itself. The
last is the ceiling. Each seed draws probe images, a shuffle and random weights; all seeds share one gene. A run that
was stopped continues from its last checkpoint.

    python tools/focus_ancestor.py vit_s_focus.onnx ancestors/focus --side 56
    python benchmarks/headless_probe.py --ancestor ancestors/focus --data cifar100:FOLDER --work runs/headless
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import germline as gl
from common import ROOT, _cpu, git
from germline.architectures import VIT, Size, VitSpec
from germline.compare.run.linear_probe import fit_probe_on_features, pooled_features
from germline.data import DataSet, Images, load_data
from germline.files import hash_tensor, write_json
from germline.learngene import library_versions
from germline.loading import load_network
from germline.network import Network, load_strict
from germline.randomness import generator
from germline.registry import METHODS
from germline.training import Run


def remove_labels(data: DataSet, count: int) -> DataSet:
    """The first `count` training images of a data set, without labels and class names."""
    images: Images = data.train.subset(torch.arange(count))
    bare = Images(images.images, None, ())
    return DataSet(f"{data.name.partition(':')[0]} without labels", lambda _: bare, data.augmentation, data.licence)


def draw_probe_sets(data: DataSet, seeds: list[int], train: int, test: int) -> tuple[dict[int, Images], Images]:
    """Probe images per class: one draw of training images for each seed, and one draw of test images for all."""
    draws = {seed: data.train.draw_per_class(train, generator(seed, "probe")) for seed in seeds}
    return draws, data.test.draw_per_class(test, generator(0, "probe test"))


def average_tokens(ancestor: Network) -> Network:
    """The same network with the mean of its patch tokens as pooled features, in place of the class token."""
    assert isinstance(ancestor.spec, VitSpec)
    spec = ancestor.spec.model_copy(update={"global_pool": "avg"})
    model = VIT.build(spec)
    load_strict(model, dict(ancestor.model.state_dict()), ancestor.source)
    return replace(ancestor, model=model.eval(), spec=spec)


class RememberedFeatures(nn.Module):
    """An ancestor whose tokens of each image are computed once; images that are not augmented come again."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self._tokens = model, {}
        self.num_classes, self.num_prefix_tokens = model.num_classes, model.num_prefix_tokens

    def forward_features(self, images: Tensor) -> Tensor:
        """Return tokens [B, tokens, width]."""
        keys = [hash(image.numpy().tobytes()) for image in images]
        new = [index for index, key in enumerate(keys) if key not in self._tokens]
        if new:
            tokens = self.model.forward_features(images[new])
            self._tokens |= dict(zip([keys[index] for index in new], tokens, strict=True))
        return torch.stack([self._tokens[key] for key in keys])

    def forward(self, images: Tensor) -> Tensor:
        """Return pooled features [B, width]."""
        return self.forward_head(self.forward_features(images))

    def forward_head(self, tokens: Tensor, pre_logits: bool = True) -> Tensor:
        """Return pooled features [B, width] of tokens."""
        pooled: Tensor = self.model.forward_head(tokens, pre_logits=pre_logits)
        return pooled


def probe(network: Network, draws: dict[int, Images], test: tuple[str, Images]) -> dict[str, float]:
    """Accuracy of a linear probe by seed."""
    scored = pooled_features(network, test[1])
    print(f"{test[0]}: features of the test images are read", flush=True)
    scores = {}
    for seed, images in draws.items():
        fitted: tuple[Tensor, Tensor] = pooled_features(network, images)
        scores[str(seed)] = round(fit_probe_on_features(fitted, scored, len(images.classes)), 4)
        print(f"{test[0]}: seed {seed}, accuracy {scores[str(seed)]:.4f}", flush=True)
    return scores


def main() -> int:
    """Condense, probe, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ancestor", required=True, help="model folder of a ViT without a head")
    parser.add_argument("--data", required=True, help="labelled data; labels serve the probes alone")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints, log and gene")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--images", type=int, default=4000, help="images to condense on")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--target", choices=["features", "tokens"], default="tokens")
    parser.add_argument("--loss", choices=["cosine", "mse"], default="cosine")
    parser.add_argument("--train", type=int, default=20, help="probe images per class and seed")
    parser.add_argument("--test", type=int, default=25, help="test images per class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    data, ancestor = load_data(asked.data), average_tokens(load_network(asked.ancestor))
    method = gl.TLEG(
        target=asked.target,
        feature_loss=asked.loss,
        depth=asked.depth,
        width=asked.width,
        heads=asked.heads,
        augment=False,
        steps=asked.steps,
        batch_size=asked.batch,
        lr=asked.lr,
        checkpoint_every=100,
    )
    run = Run(asked.work / "run", seed=0, device="cpu")
    teacher = replace(ancestor, model=RememberedFeatures(ancestor.model))
    gene = gl.condense(method, ancestor=teacher, data=remove_labels(data, asked.images), run=run)
    gene.save(asked.work / "gene", overwrite=True)
    condensed = time.process_time() - start
    draws, test = draw_probe_sets(data, asked.seeds, asked.train, asked.test)
    size = Size(depth=asked.depth)
    first = METHODS["auto"](preset="vit", layers=tuple(range(asked.depth)), frame="whole")
    blocks = gl.condense(first, ancestor=ancestor, data=data, run=Run(device="cpu", quiet=True))
    child = gene.inherit(size, data.classes).network
    rows = {
        "ancestor": probe(ancestor, draws, ("ancestor", test)),
        "descendant": probe(child, draws, ("descendant", test)),
        "first blocks": probe(blocks.inherit(size, data.classes).network, draws, ("first blocks", test)),
        "shuffled gene": {},
        "scratch": {},
    }
    shuffle, scratch = METHODS["random-gene"](method="tleg", settings=dict(gene.settings)), METHODS["scratch"]()
    for seed, images in draws.items():
        shuffled = shuffle.derive(gene, generator(seed, "shuffle")).inherit(size, data.classes).network
        rows["shuffled gene"] |= probe(shuffled, {seed: images}, ("shuffled gene", test))
        target = gene.target(size, data.classes)
        fresh = scratch.inherit(gene, target, generator(seed, "scratch")).network
        rows["scratch"] |= probe(fresh, {seed: images}, ("scratch", test))
    losses = json.loads((asked.work / "run/auxiliary/result.json").read_text(encoding="utf-8"))["losses"]
    result = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")),
        "versions": {"python": platform.python_version(), **library_versions()},
        "device": {"cpu": _cpu(), "threads": torch.get_num_threads()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ancestor": {
            "source": ancestor.source,
            "spec": ancestor.spec.model_dump(mode="json") if ancestor.spec else None,
            "norm_sha256": hash_tensor(ancestor.model.state_dict()["norm.weight"]),
        },
        "gene": {
            "settings": dict(gene.settings),
            "classes": gene.classes,
            "elements": sum(tensor.numel() for tensor in gene.tensors.values()),
            "train_seconds": gene.provenance.training["seconds"],
            "samples": gene.provenance.training["samples"],
            "metrics": dict(gene.provenance.metrics),
            "losses": losses[:: max(1, len(losses) // 30)],
        },
        "note": "One gene for all seeds; a seed draws probe images, shuffle and random weights.",
        "cpu_seconds_of_this_call": {
            "condensing": round(condensed),
            "all": round(time.process_time() - start),
        },
        "probe_images_per_class": {"train": asked.train, "test": asked.test},
        "accuracy": {
            name: {"seeds": scores, "mean": round(statistics.mean(scores.values()), 4)} for name, scores in rows.items()
        },
    }
    write_json(ROOT / "benchmarks" / "results" / "headless_probe.json", result)
    for name, entry in result["accuracy"].items():
        print(f"{name:<14} {100 * entry['mean']:6.2f} %", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
