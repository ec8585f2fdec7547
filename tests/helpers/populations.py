"""Small populations of each architecture, their training, and the difference of two populations."""

import copy

from germline.architectures import VitSpec
from germline.architectures.resnet12 import ResNet12Spec
from germline.architectures.vgg import VggSpec
from germline.training import Run, TrainSettings

CLASSES = tuple("01234")
SPECS = {
    "vgg": VggSpec(image_size=16, channels=1, classes=5, widths=((4,), (6,))),
    "resnet12": ResNet12Spec(image_size=16, channels=1, classes=5, depths=(1, 1), widths=(4, 6)),
    "vit": VitSpec(image_size=16, channels=1, classes=5, depth=1, width=8, heads=2, patch_size=8),
}
AUGMENTATION = ("shift", "mirror", "erase")


def train(members, *, folder=None, engine="loop", together=None, objective=None, precision="32-true", **settings):
    train_settings = TrainSettings(**{"steps": 6, "batch_size": 12, "log_every": 1, **settings})
    run = Run(folder, device="cpu", quiet=True, precision=precision)
    return run.fit_population("all", members, train_settings, objective=objective, engine=engine, together=together)


def states(members):
    return [copy.deepcopy(member.network.model.state_dict()) for member in members]


def difference(first, second):
    """Return the largest difference over all tensors of all members, including counters and statistics."""
    assert [one.keys() for one in first] == [other.keys() for other in second]
    pairs = [(one[name], other[name]) for one, other in zip(first, second, strict=True) for name in one]
    assert all(one.dtype == other.dtype for one, other in pairs)
    return max(float((one.double() - other.double()).abs().max()) for one, other in pairs)
