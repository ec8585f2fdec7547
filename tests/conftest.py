"""Fixtures that many tests share: images, a trained ancestor, and a gene condensed from it."""

import os

import pytest
import torch

from germline.api import build_start_network
from germline.architectures import Preprocess, Size, StitchedSpec, VitSpec
from germline.data import load_data
from germline.methods.tleg.method import TLEG
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.registry import architecture_of
from germline.training import CrossEntropy, Run, TrainSettings

torch.set_num_threads(1)
os.environ["GERMLINE_DATA"] = "/nonexistent"  # no test depends on the system's data sets


@pytest.fixture(scope="session")
def pico():
    """120 training and 50 validation images of handwritten digits, grey, 32x32."""
    digits = load_data("digits")
    return load_data(
        digits.train.draw_per_class(12, generator(0, "pico")),
        val=digits.val.draw_per_class(5, generator(0, "pico")),
        classes=digits.classes,
    )


@pytest.fixture(scope="session")
def make_network(pico):
    """Function that builds an untrained ViT for the pico images; stitched if `depths` are given."""

    def make(classes=None, seed=0, **changes):
        names = pico.classes if classes is None else tuple(classes)
        is_stitched = "depths" in changes
        size = {} if is_stitched else {"depth": 2, "width": 16, "heads": 2}
        fields = {"image_size": 32, "channels": 1, "patch_size": 8, **size, **changes}
        spec = (StitchedSpec if is_stitched else VitSpec)(classes=len(names), **fields)
        with use_generator(generator(seed, "network")):
            model = architecture_of(spec).build(spec)
        preprocess = Preprocess.from_images(pico.train.images).adapt(spec.channels, spec.image_size)
        return Network(model.eval(), preprocess, names, spec=spec, licence="mit", source="a test")

    return make


@pytest.fixture(scope="session")
def ancestor(pico, make_network):
    """A trained network of 2 blocks of width 16."""
    network = make_network()
    settings = TrainSettings(steps=150, batch_size=40, lr=1e-2)
    Run(device="cpu", quiet=True).fit("ancestor", network, CrossEntropy(), pico.train, settings)
    return network


@pytest.fixture(scope="session")
def ancestors(pico, ancestor, make_network):
    """A trained ancestor of each architecture, by its name; all but the plain ViT are narrow and barely trained."""
    settings, made = TrainSettings(steps=2, batch_size=40), {"vit": ancestor}
    convolutional = (("vgg", "vgg11"), ("resnet12", "resnet12"), ("resnet", "resnet18_x025"))
    fresh = {
        name: build_start_network(model, pico, settings, seed=0, size=Size(width=4)) for name, model in convolutional
    }
    fresh["stitched"] = make_network(depths=(1, 2), widths=(8, 16), heads=(2, 4), class_token=True)
    for name, network in fresh.items():
        Run(device="cpu", quiet=True).fit(name, network, CrossEntropy(), pico.train, settings)
        made[name] = network
    return made


@pytest.fixture(scope="session")
def gene(pico, ancestor):
    """A TLEG gene of width 16, condensed in a network of 4 blocks."""
    method = TLEG(depth=4, steps=12, batch_size=40, lr=3e-3)
    return method.condense(ancestor, pico, Run(device="cpu", quiet=True))


@pytest.fixture(scope="session")
def pixels(pico):
    """Eight images as the loader gives them: float32 in [0, 1]."""
    return pico.val.images[::7][:8].float() / 255


@pytest.fixture(scope="session")
def make_convolutional(pico):
    """Builds an untrained network of stages, whose running statistics differ from unit to unit."""

    def make(spec_type, **sizes):
        spec = spec_type(image_size=32, channels=1, classes=10, **sizes)
        with use_generator(generator(0, "convolutional")):
            model = architecture_of(spec).build(spec)
        model.train()(pico.train.images[:32].float() / 255)
        return Network(model.eval(), Preprocess.from_images(pico.train.images), pico.classes, spec=spec)

    return make
