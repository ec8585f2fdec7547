"""Networks on the meta device have the names and shapes of real ones."""

import pytest
import torch
from torch import nn

from germline.architectures import on_meta_device
from germline.registry import architecture_of, model_spec


@pytest.mark.parametrize("model", ["vit_pico", "vgg11_x025", "resnet12_x025"])
def test_meta_networks_have_the_names_and_shapes_of_real_ones(model):
    spec = model_spec(model, image_size=32, channels=1, classes=5)
    real = architecture_of(spec).build(spec)
    with on_meta_device():
        meta = architecture_of(spec).build(spec)
    for kind in ("named_parameters", "named_buffers"):
        found, expected = (
            [(name, tensor.shape, tensor.dtype) for name, tensor in getattr(one, kind)()] for one in (meta, real)
        )
        assert found == expected
    assert all(tensor.is_meta for tensor in meta.state_dict().values())


def test_real_tensors_are_still_computed():
    real = torch.zeros(3)
    with on_meta_device():
        real.add_(2.0).mul_(3.0)
        filled = nn.init.constant_(torch.empty(2, device="cpu"), 4.0)
        empty = nn.init.normal_(torch.empty(2))
    assert real.tolist() == [6.0, 6.0, 6.0]
    assert filled.tolist() == [4.0, 4.0]
    assert empty.is_meta
    assert torch.empty(2).device.type == "cpu"


def test_meta_networks_use_no_random_numbers():
    before = torch.get_rng_state()
    with on_meta_device():
        nn.Linear(3, 4)
    assert torch.equal(torch.get_rng_state(), before)
