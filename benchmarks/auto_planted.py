"""Test whether the meta-network finds the one layer, of six, that decides the labels.

    python benchmarks/auto_planted.py --seeds 20

An image is noise. The ancestor is a stub with six taps. Each tap is a fixed random map of the image, orthogonal to the
others, so taps are independent and have equal norm and shape. The label is a function of tap k. A small pseudo
descendant learns it for each seed and each k. Its hidden layer is as wide as one tap. The target: k has the highest
score in at least 18 of 20 seeds.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from common import keep
from germline.architectures import Preprocess
from germline.data import Images
from germline.methods.auto.meta_network import AncestorFeatures, FeatureSpec, ProjectedNetwork
from germline.methods.auto.pseudo_descendant import BilevelSettings, PseudoDescendant, PseudoTask
from germline.network import Network
from germline.randomness import derive, generator, use_generator
from germline.training import Run, TrainSettings

TAPS, CLASSES, CHANNELS, SIDE, HIDDEN = 6, 4, 8, 8, 8
TRAIN, HELD, VAL, ASKED, SEEDS, STEPS = 600, 300, 300, 0.9, 20, 100
NAMES = tuple("abcd")
GREY = Preprocess(channels=1, image_size=SIDE, mean=(0.5,), std=(0.289,))
BILEVEL = BilevelSettings("relu6", 2, 1.0, 0.02, 1e-4, "separate", False, 192)


class Stub(nn.Module):
    """Six fixed maps of an image, side by side. The output has no meaning."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        drawn = torch.randn(SIDE * SIDE, TAPS * CHANNELS, generator=generator(seed, "planted", "taps"))
        kernels = torch.linalg.qr(drawn)[0].T.reshape(TAPS, CHANNELS, 1, SIDE, SIDE)
        self.taps = nn.ModuleList(nn.Conv2d(1, CHANNELS, SIDE, bias=False) for _ in range(TAPS))
        for tap, kernel in zip(self.taps, kernels, strict=True):
            tap.weight.data.copy_(kernel)

    def forward(self, images: Tensor) -> Tensor:
        """All taps [B, taps x channels]."""
        return torch.cat([tap(images) for tap in self.taps], dim=1).flatten(1)


def pseudo_descendant() -> nn.Module:
    """One hidden layer, which is tapped as maps of one place."""
    hidden = nn.Sequential(nn.Conv2d(1, HIDDEN, SIDE), nn.Tanh())
    return nn.Sequential(hidden, nn.Flatten(), nn.Linear(HIDDEN, CLASSES))


def make_images(stub: Network, which: int, seed: int) -> tuple[Images, Images, Images]:
    """Noise to learn from, held out and to look at; labels are a linear function of one tap, in equal numbers."""
    draw = generator(seed, "planted", "pictures")
    images = torch.randint(0, 256, (TRAIN + HELD + VAL, 1, SIDE, SIDE), generator=draw, dtype=torch.uint8)
    with torch.no_grad():
        maps = stub.model.taps[which](stub.preprocess(images.float() / 255)).flatten(1)  # type: ignore[index, operator]
    values = maps @ torch.randn(CHANNELS, generator=generator(seed, "planted", "labels", which))
    bounds = values.quantile(torch.linspace(0, 1, CLASSES + 1)[1:-1])
    whole = Images(images, torch.bucketize(values, bounds), NAMES)
    train, held, val = torch.arange(len(images)).split([TRAIN, HELD, VAL])
    return whole.subset(train), whole.subset(held), whole.subset(val)


def planted(seed: int, which: int, steps: int = STEPS) -> tuple[list[float], float]:
    """The scores of the six taps where the label is a function of one of them, and the pseudo descendant's accuracy."""
    stub = Network(Stub(seed).eval(), GREY, NAMES)
    train, held, val = make_images(stub, which, seed)
    with use_generator(generator(seed, "planted", which, "pseudo descendant")):
        model = pseudo_descendant()
        network = Network(model, GREY, NAMES)
        ancestor = AncestorFeatures(stub, FeatureSpec(tuple(f"taps.{at}" for at in range(TAPS)), (CHANNELS,) * TAPS))
        projected_student = ProjectedNetwork(network, FeatureSpec(("0",), (HIDDEN,)), ancestor.side)
    task = PseudoTask(train, held, None, derive(seed, "planted", which))
    objective = PseudoDescendant(ancestor, projected_student, task, BILEVEL, steps)
    settings = TrainSettings(
        steps=steps, batch_size=32, optimizer="sgd", lr=0.05, weight_decay=5e-4, warmup=0.0, log_every=100
    )
    run = Run(device="cpu", seed=derive(seed, "planted", which), quiet=True)
    result = run.fit("pseudo", network, objective, train, settings, val=val)
    return [float(one) for one in objective.scores()[:, 0]], result.accuracy


def main() -> None:
    """Every tap in every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found, highest = [], [0] * TAPS
    for seed in range(asked.seeds):
        for which in range(TAPS):
            scores, accuracy = planted(seed, which, asked.steps)
            best, rounded = scores.index(max(scores)), [round(one, 4) for one in scores]
            highest[which] += best == which
            found.append({"seed": seed, "planted": which, "highest": best, "scores": rounded, "accuracy": accuracy})
            print(f"seed {seed}, planted {which}: highest {best}, {rounded}, accuracy {accuracy:.2f}", flush=True)
    print(f"highest in {highest} of {asked.seeds} seeds")
    good = all(count >= ASKED * asked.seeds for count in highest)
    keep("auto_planted", [], highest=highest, seeds=asked.seeds, asked=ASKED, good=good, cases=found)


if __name__ == "__main__":
    main()
