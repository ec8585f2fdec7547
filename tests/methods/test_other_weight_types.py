"""Methods give the same gene from an ancestor in bfloat16 as in float32, or refuse it with a clear message."""

import copy
from dataclasses import replace

import pytest
import torch

from germline.errors import SettingError
from germline.registry import METHODS
from germline.training import Run

RUN = Run(device="cpu", quiet=True)
METHODS_WITHOUT_TEACHER = ("front", "grow", "weight-selection", "finetune", "layers")
METHODS_WITH_TEACHER = ("tleg", "sws", "lets", "pool")


@pytest.fixture(scope="module")
def half(make_network):
    network = make_network()
    return replace(network, model=copy.deepcopy(network.model).bfloat16())


@pytest.mark.parametrize("name", METHODS_WITHOUT_TEACHER)
def test_methods_without_a_teacher_cast_the_weights(name, half, pico, pixels):
    gene, expected = (METHODS[name]().condense(network, pico, RUN) for network in (half, half.in_float32()))
    assert gene.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(tensor, expected.tensors[key]) for key, tensor in gene.tensors.items())
    child = gene.inherit()
    assert {tensor.dtype for tensor in child.model.parameters()} == {torch.float32}
    assert child.network.logits(pixels).dtype == torch.float32
    assert {tensor.dtype for tensor in half.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", METHODS_WITH_TEACHER)
def test_methods_with_a_teacher_refuse_half_precision(name, half, pico):
    with pytest.raises(SettingError, match=r"weights are bfloat16\. .*float32\. Use `network.in_float32\(\)`"):
        METHODS[name](preset="tiny").condense(half, pico, RUN)
