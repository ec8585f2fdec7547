"""What tests of methods share."""

import pytest

from germline.architectures import Preprocess
from germline.network import Network
from germline.randomness import generator, seeded
from germline.registry import anatomy_of


@pytest.fixture(scope="session")
def make_convolutional(pico):
    """Builds an untrained network of stages, whose running statistics differ from unit to unit."""

    def make(spec_type, **sizes):
        spec = spec_type(image_size=32, channels=1, classes=10, **sizes)
        with seeded(generator(0, "convolutional")):
            model = anatomy_of(spec).build(spec)
        model.train()(pico.train.images[:32].float() / 255)
        return Network(model.eval(), Preprocess.of(pico.train.images), pico.classes, spec=spec)

    return make
