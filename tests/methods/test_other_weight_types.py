"""Ancestors in half precision, given to the methods themselves: the same gene as in float32, or one clear message."""

import copy
from dataclasses import replace

import pytest
import torch

from germline.errors import SettingError
from germline.registry import METHODS
from germline.training import Run

RUN = Run(device="cpu", quiet=True)
READS = ("front", "grow", "weight-selection", "finetune", "layers")
TRAINS = ("tleg", "sws", "lets", "pool")


@pytest.fixture(scope="module")
def half(make_network):
    network = make_network()
    return replace(network, model=copy.deepcopy(network.model).bfloat16())


@pytest.mark.parametrize("name", READS)
def test_methods_that_read_weights_cast_them(name, half, pico, pixels):
    gene, wanted = (METHODS[name]().condense(network, pico, RUN) for network in (half, half.in_float32()))
    assert gene.tensors.keys() == wanted.tensors.keys()
    assert all(torch.equal(tensor, wanted.tensors[key]) for key, tensor in gene.tensors.items())
    child = gene.inherit()
    assert {tensor.dtype for tensor in child.model.parameters()} == {torch.float32}
    assert child.network.logits(pixels).dtype == torch.float32
    assert {tensor.dtype for tensor in half.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", TRAINS)
def test_methods_that_train_with_a_teacher_refuse_it(name, half, pico):
    with pytest.raises(SettingError, match=r"weights are bfloat16\. .*float32\. Use `network.in_float32\(\)`"):
        METHODS[name](preset="tiny").condense(half, pico, RUN)
