"""What `torchrun` runs in test_distributed: one training whose global batch is shared by however many processes."""

import json
import sys
from pathlib import Path

import torch

from germline.anatomy import VIT, Preprocess, VitSpec
from germline.data import data
from germline.files import write_tensors
from germline.network import Network
from germline.randomness import generator, seeded
from germline.training import CrossEntropy, Run, TrainSettings


class Scaled(CrossEntropy):
    """An objective with a parameter of its own: a factor on every logit."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(10))

    def forward(self, network, batch):
        return super().forward(lambda pixels: network(pixels) * self.factor, batch)


ACTIVE = {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "clip": 0.5, "ema": 0.5}


def main(folder):
    torch.set_num_threads(1)
    digits = data("digits")
    train, val = (split.per_class(12, generator(0, "two")) for split in (digits.train, digits.val))
    fields = {"image_size": 32, "channels": 1, "classes": 10, "depth": 2, "width": 16, "heads": 2, "patch_size": 8}
    facts = {}
    for name, settings in {"plain": {}, "active": ACTIVE, "parts": {"accumulate": 2}, "owned": {}}.items():
        spec = VitSpec(**fields)
        with seeded(generator(0, "two")):
            network = Network(VIT.build(spec), Preprocess.of(train.images), digits.classes, spec=spec)
        asked = TrainSettings(steps=8, batch_size=24, lr=5e-3, log_every=1, checkpoint_every=3, **settings)
        run = Run(folder, device="cpu", quiet=True)
        objective = Scaled() if name == "owned" else CrossEntropy(asked.label_smoothing)
        result = run.fit(name, network, objective, train, asked, val=val, augmentation=("shift", "rotate"))
        facts[name] = {"losses": [loss for _, loss in result.losses], "accuracy": result.accuracy}
        facts["processes"] = run.fabric.world_size
        if run.fabric.is_global_zero:
            write_tensors(folder / f"{name}.safetensors", {**network.model.state_dict(), **objective.state_dict()})
            (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
