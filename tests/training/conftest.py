"""Fixtures of the population tests."""

import pytest
import torch

from germline.architectures import Preprocess
from germline.data import Images
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.registry import architecture_of
from germline.training import Member
from helpers.populations import AUGMENTATION, CLASSES, SPECS


@pytest.fixture(scope="session")
def tasks(pico):
    """Three tasks of five digits each, with 40, 30 and 20 training images of 16x16 and 15 validation images."""
    tasks = []
    for index, count in enumerate((8, 6, 4)):
        chosen = [
            split.select_classes(pico.classes[index : index + 5]).draw_per_class(number, generator(index, "task"))
            for split, number in ((pico.train, count), (pico.val, 3))
        ]
        tasks.append([Images(each.images[:, :, ::2, ::2].contiguous(), each.labels, CLASSES) for each in chosen])
    return tasks


@pytest.fixture
def make_members(tasks):
    """Function that builds members, each with its own weights, images and statistics."""

    def make(kind="vgg", count=3, *, val=False, augmentation=AUGMENTATION, dtype=torch.float32):
        members = []
        for index, (train, val_images) in enumerate(tasks[:count]):
            with use_generator(generator(index, "member")):
                model = architecture_of(SPECS[kind]).build(SPECS[kind])
            network = Network(model.to(dtype).eval(), Preprocess.from_images(train.images), CLASSES, spec=SPECS[kind])
            members.append(
                Member(f"member-{index}", network, train, 10 + index, val_images if val else None, augmentation)
            )
        return members

    return make
