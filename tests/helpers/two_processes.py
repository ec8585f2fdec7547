"""Script that `torchrun` runs in test_distributed: trainings whose processes share each global batch."""

import json
import sys
from itertools import product
from pathlib import Path

import torch

from germline.architectures import VIT, Preprocess, VitSpec
from germline.data import load_data
from germline.files import write_tensors
from germline.methods.pool.path_sampling import SampledPathLoss
from germline.methods.pool.paths import PoolLayout
from germline.methods.pool.sizes import PathSpecs
from germline.methods.pool.supernet import PoolNetwork
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.training import CrossEntropy, Run, TrainSettings


class Scaled(CrossEntropy):
    """Cross entropy with a trained factor on every logit."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(10))

    def forward(self, network, batch):
        return super().forward(lambda pixels: network(pixels) * self.factor, batch)


RATES = {"adamw": 5e-3, "sgd": 0.1}
ACTIVE = {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "clip": 0.5, "ema": 0.5}


def pool(spec):
    """Build a pool whose steps each skip a part."""
    forms = PathSpecs.of(PoolLayout((8, 16), 2), spec, (1, 2))
    return PoolNetwork({width: VIT.build(one) for width, one in forms.models.items()}, forms.layout)


def main(folder):
    torch.set_num_threads(1)
    digits = load_data("digits")
    train, val = (split.draw_per_class(12, generator(0, "two")) for split in (digits.train, digits.val))
    fields = {"image_size": 32, "channels": 1, "classes": 10, "depth": 2, "width": 16, "heads": 2, "patch_size": 8}
    facts = {}
    cases = {"plain": {}, "active": ACTIVE, "parts": {"accumulate": 2}, "owned": {}}
    cases |= {"paths": {"clip": 0.5, "accumulate": 2}, "sandwich": {}}
    for name, optimizer in product(cases, RATES):
        spec = VitSpec(**fields)
        with use_generator(generator(0, "two")):
            model = pool(spec) if name in ("paths", "sandwich") else VIT.build(spec)
        network = Network(model, Preprocess.from_images(train.images), digits.classes)
        settings = TrainSettings(
            steps=6,
            batch_size=24,
            optimizer=optimizer,
            lr=RATES[optimizer],
            log_every=1,
            checkpoint_every=3,
            **cases[name],
        )
        run = Run(folder, device="cpu", quiet=True)
        objective = Scaled() if name == "owned" else CrossEntropy(settings.label_smoothing)
        if isinstance(model, PoolNetwork):
            objective = SampledPathLoss(model, None, 0.0, model.layout.paths[:2] if name == "sandwich" else ())
        val_images = val if name != "sandwich" else None
        result = run.fit(
            f"{name}-{optimizer}", network, objective, train, settings, val=val_images, augmentation=("shift", "rotate")
        )
        accuracy = result.accuracy if result.scores else 0.0
        facts[f"{name}-{optimizer}"] = {"losses": [loss for _, loss in result.losses], "accuracy": accuracy}
        facts["processes"] = run.fabric.world_size
        if run.fabric.is_global_zero:
            write_tensors(
                folder / f"{name}-{optimizer}.safetensors", {**network.model.state_dict(), **objective.state_dict()}
            )
            (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if torch.distributed.is_initialized():
        # A process that exits with the group's threads can abort, which happened once.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
