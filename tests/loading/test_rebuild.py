"""Modules of other libraries are rebuilt as timm's, only if outputs are equal and a spec is needed."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer as TorchvisionVit
from torchvision.models import resnet18, resnet50

import germline as gl
from germline.errors import GermlineError
from helpers.plain_resnet import PlainResNet


def randomise(model):
    """Change weights and statistics of a module, so that they differ from layer to layer."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    with torch.no_grad():
        model.train()(torch.rand(8, 3, 32, 32))
    return model.eval()


def with_small_stem(model):
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return model


GOOD = {
    "torchvision-resnet": lambda: resnet18(num_classes=10),
    "torchvision-resnet-small": lambda: with_small_stem(resnet18(num_classes=10)),
    "plain-resnet": lambda: PlainResNet(10, (1, 2, 1, 1)),
    "plain-resnet-names": lambda: PlainResNet(10, (1, 1, 1, 1), shortcut="shortcut", head="linear"),
    "plain-resnet-large-stem": lambda: PlainResNet(10, (1, 1, 1, 1), stem=7),
    "torchvision-vit": lambda: TorchvisionVit(32, 8, 2, 2, 16, 32, num_classes=10),
}


@pytest.fixture(scope="module")
def colour_data():
    torch.manual_seed(0)
    images = torch.randint(0, 255, (40, 3, 32, 32), dtype=torch.uint8)
    return gl.load_data((images, torch.arange(40) % 10))


@pytest.mark.parametrize("case", GOOD)
def test_module_of_another_library_is_rebuilt(case, colour_data):
    module = randomise(GOOD[case]())
    gene = gl.condense(gl.Finetune(), ancestor=module, data=colour_data)
    child = gene.inherit(classes=colour_data.classes).network
    pixels = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = module(child.preprocess(pixels))
        assert (child.logits(pixels) - expected).abs().max() < 1e-4 * expected.abs().max()


class Tanh(PlainResNet):
    """A ResNet with the tensors of another one, and with other outputs."""

    def forward(self, x):
        return super().forward(x).tanh()


BAD = {
    "tanh": lambda: Tanh(10, (1, 1, 1, 1)),
    "bottlenecks": lambda: resnet50(num_classes=10),
    "plain": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)),
    "batch-norm-eps": lambda: change_eps(PlainResNet(10, (1, 1, 1, 1))),
}


def change_eps(model):
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 0.5
    return model


@pytest.mark.parametrize("case", BAD)
def test_other_networks_are_not_rebuilt(case, colour_data):
    with pytest.raises(GermlineError, match="cannot be rebuilt"):
        gl.condense(gl.Finetune(), ancestor=randomise(BAD[case]()), data=colour_data)


def test_teacher_is_the_given_module(colour_data):
    from germline.api import measure_for

    module = randomise(PlainResNet(10, (1, 1, 1, 1)))
    assert measure_for(gl.TLEG(steps=1, model="vit_pico"), module, colour_data).network.model is module
