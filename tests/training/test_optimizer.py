"""Groups of the optimiser, its state as tensors, and the average of weights."""

import pytest
import torch
from torch import nn

from germline.files import read_tensors, write_tensors
from germline.training import CrossEntropy, TrainSettings
from germline.training.optimizer import WeightAverage, get_optimizer_tensors, load_optimizer, make_optimizer


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Linear(3, 2)
        self.pos = nn.Parameter(torch.ones(1, 4, 2))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)

    def no_weight_decay(self):
        return {"pos"}


def decay_of(optimizer, parameter):
    return [g["weight_decay"] for g in optimizer.param_groups for p in g["params"] if p is parameter]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_make_optimizer_decays_neither_vectors_nor_position_tables(kind):
    model = Model()
    optimizer = make_optimizer(model, CrossEntropy(), TrainSettings(optimizer=kind, weight_decay=0.1), {})
    assert decay_of(optimizer, model.slope.weight) == [0.1]
    assert decay_of(optimizer, model.slope.bias) == decay_of(optimizer, model.pos) == [0.0]
    assert decay_of(optimizer, model.frozen) == []


def test_make_optimizer_decay_by_prefix_and_objective_parameters():
    model, objective = Model(), CrossEntropy()
    objective.scale = nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer(model, objective, TrainSettings(), {"slope": 0.7})
    assert decay_of(optimizer, model.slope.weight) == [0.7]
    assert decay_of(optimizer, model.slope.bias) == [0.0]
    assert decay_of(optimizer, objective.scale) == [0.05]


def test_make_optimizer_rate_by_prefix():
    optimizer = make_optimizer(Model(), CrossEntropy(), TrainSettings(), {}, {"slope": 0.1})
    factors = {(group["factor"], len(group["params"])) for group in optimizer.param_groups}
    # Weight and bias of the slope differ in decay. The position table has the decay of the bias.
    assert factors == {(0.1, 1), (1.0, 1)}


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.0}], ids=str)
def test_load_optimizer_restores_the_state_exactly(settings):
    def steps(model, optimizer, count):
        for step in range(count):
            optimizer.zero_grad()
            torch.manual_seed(step)
            model.slope(torch.rand(5, 3)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = Model()
    optimizer = make_optimizer(model, CrossEntropy(), TrainSettings(**settings), {})
    steps(model, optimizer, 3)
    twin = Model()
    twin.load_state_dict(model.state_dict())
    other = make_optimizer(twin, CrossEntropy(), TrainSettings(**settings), {})
    load_optimizer(other, {name: value.clone() for name, value in get_optimizer_tensors(optimizer).items()})
    steps(model, optimizer, 2)
    steps(twin, other, 2)
    assert torch.equal(model.slope.weight, twin.slope.weight)


def test_load_optimizer_restores_the_state_of_weights_with_channels_last(tmp_path):
    def train(resume_at):
        torch.manual_seed(0)
        layer, images = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), torch.rand(2, 3, 8, 8)
        optimizer = make_optimizer(layer, CrossEntropy(), TrainSettings(), {})
        for step in range(4):
            if step == resume_at:
                write_tensors(tmp_path / "state.safetensors", get_optimizer_tensors(optimizer))
                optimizer = make_optimizer(layer, CrossEntropy(), TrainSettings(), {})
                load_optimizer(optimizer, read_tensors(tmp_path / "state.safetensors"))
            optimizer.zero_grad()
            layer(images).square().sum().backward()
            optimizer.step()
        assert optimizer.state[layer.weight]["exp_avg"].stride() == layer.weight.stride() == (27, 1, 9, 3)
        return layer.weight.detach()

    assert torch.equal(train(None), train(2))


def test_weight_average_in_numbers():
    model = nn.BatchNorm1d(1)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model, decay=0.5)
    for step in (1, 2):
        with torch.no_grad():
            model.weight.fill_(float(step))
        model.num_batches_tracked += 5
        average.update(model, step)
    # Decays min(0.5, 2/11) and min(0.5, 3/12).
    assert float(average.tensors["weight"]) == pytest.approx(0.25 * (9 / 11) + 0.75 * 2)
    assert int(average.tensors["num_batches_tracked"]) == 10
    assert average.tensors["weight"] is not model.weight
