"""Networks without values have the names and shapes of those with values."""

import pytest
import torch
from torch import nn

from germline.architectures import on_meta_device
from germline.registry import architecture_of, model_spec


@pytest.mark.parametrize("model", ["vit_pico", "vgg11_x025", "resnet12_x025"])
def test_hollow_networks_have_the_shapes_of_whole_ones(model):
    spec = model_spec(model, image_size=32, channels=1, classes=5)
    whole = architecture_of(spec).build(spec)
    with on_meta_device():
        empty = architecture_of(spec).build(spec)
    for kind in ("named_parameters", "named_buffers"):
        ours, theirs = (
            [(name, tensor.shape, tensor.dtype) for name, tensor in getattr(one, kind)()] for one in (empty, whole)
        )
        assert ours == theirs
    assert all(tensor.is_meta for tensor in empty.state_dict().values())


def test_values_of_real_tensors_are_still_worked_out():
    real = torch.zeros(3)
    with on_meta_device():
        real.add_(2.0).mul_(3.0)
        filled = nn.init.constant_(torch.empty(2, device="cpu"), 4.0)
        empty = nn.init.normal_(torch.empty(2))
    assert real.tolist() == [6.0, 6.0, 6.0]
    assert filled.tolist() == [4.0, 4.0]
    assert empty.is_meta
    assert torch.empty(2).device.type == "cpu"


def test_nothing_is_drawn():
    before = torch.get_rng_state()
    with on_meta_device():
        nn.Linear(3, 4)
    assert torch.equal(torch.get_rng_state(), before)
