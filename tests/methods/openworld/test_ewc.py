"""Elastic weight consolidation: the proximal step at every strength, and the importance of weights."""

import copy
import math

import pytest
import torch
from torch.nn.functional import log_softmax

from germline.data import iterate_batches
from germline.methods.openworld.ewc import (
    EpochEwcObjective,
    EwcObjective,
    EwcPenalty,
    estimate_fisher,
    normalise_importance,
)
from germline.training import CrossEntropy, Run, TrainSettings

SETTINGS = TrainSettings(steps=6, batch_size=20, lr=0.05, optimizer="sgd", checkpoint_every=2)


def inside(network):
    """Copy the tensors of the last two conv units."""
    state = network.model.state_dict()
    return {name: value.clone() for name, value in state.items() if name.startswith(("stages.3", "stages.4"))}


def trained(network, pico, objective=None, folder=None):
    child = copy.deepcopy(network)
    made = CrossEntropy() if objective is None else objective(child)
    Run(folder, device="cpu", quiet=True).fit("child", child, made, pico.train, SETTINGS)
    return child.model.state_dict()


def anchored(strength, importance=1.0):
    def make(child):
        values = inside(child)
        names = [name for name, _ in child.model.named_parameters() if name in values]
        return EwcObjective(EwcPenalty(values, {n: torch.full_like(values[n], importance) for n in names}, strength))

    return make


def test_the_step_is_the_minimum_of_penalty_and_distance():
    model = torch.nn.Linear(2, 1, bias=False)
    value, importance = torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 0.0]])
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 5.0]]))
    EwcPenalty({"weight": value}, {"weight": importance}, 10.0).take_proximal_step(model, 0.1)
    # (w - 3)^2 / (2 x 0.1) + 10 / 2 x 2 x (w - 1)^2 is least at w = 5/3; without importance nothing moves.
    assert model.weight.tolist()[0] == pytest.approx([5 / 3, 5.0])


def test_no_strength_is_plain_training_to_the_bit(ancestors, pico):
    plain, none = trained(ancestors["vgg"], pico), trained(ancestors["vgg"], pico, anchored(0.0))
    assert all(torch.equal(value, none[name]) for name, value in plain.items())


def test_infinite_strength_freezes_the_anchored_tensors_alone(ancestors, pico):
    before, after = ancestors["vgg"].model.state_dict(), trained(ancestors["vgg"], pico, anchored(math.inf))
    held = inside(ancestors["vgg"])
    assert any(name.endswith("num_batches_tracked") for name in held)
    assert all(torch.equal(after[name], value) for name, value in held.items())
    assert not [name for name in before if name not in held and torch.equal(after[name], before[name])]


def test_larger_strengths_pull_more_and_none_overflows(ancestors, pico):
    held, distances = inside(ancestors["vgg"]), []
    weights = [name for name in held if name.endswith("conv.weight")]
    for strength in (0.0, 1.0, 100.0, 1e4, 1e8):
        after = trained(ancestors["vgg"], pico, anchored(strength))
        assert all(bool(torch.isfinite(value).all()) for value in after.values())
        distances.append(sum(float((after[name] - held[name]).square().sum()) for name in weights))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-8 * distances[0]
    assert all(math.isfinite(value) for value in distances)
    after = trained(ancestors["vgg"], pico, anchored(1e300, importance=0.0))
    assert all(bool(torch.isfinite(value).all()) for value in after.values())


def test_the_epoch_anchor_is_none_in_the_first_epoch_and_resumes_after_a_kill(ancestors, pico, tmp_path):
    def literal(every):
        def make(child):
            names = [name for name, _ in child.model.named_parameters() if name in inside(child)]
            return EpochEwcObjective(child.model, names, 1e6, every)

        return make

    plain = trained(ancestors["vgg"], pico)
    late = trained(ancestors["vgg"], pico, literal(6))
    assert all(torch.equal(value, late[name]) for name, value in plain.items())
    early = trained(ancestors["vgg"], pico, literal(2))
    assert not all(torch.equal(value, early[name]) for name, value in plain.items())

    class KilledError(Exception):
        pass

    def fails(child):
        made = literal(2)(child)
        begin = made.before_step

        def stop(seed, name, step):
            if step == 5:
                raise KilledError
            begin(seed, name, step)

        made.before_step = stop
        return made

    with pytest.raises(KilledError):
        trained(ancestors["vgg"], pico, fails, tmp_path)
    again = trained(ancestors["vgg"], pico, literal(2), tmp_path)
    assert all(torch.equal(value, again[name]) for name, value in early.items())


def test_fisher_is_the_mean_squared_gradient_of_drawn_answers(ancestors, pico):
    network, columns = ancestors["vgg"], torch.tensor([3, 1])
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    found = estimate_fisher(network, columns, pico.train, 3, torch.Generator().manual_seed(0))
    source = torch.Generator().manual_seed(0)
    drawn = pico.train.subset(torch.randperm(len(pico.train), generator=source)[:3])
    name = "stages.4.blocks.0.conv.weight"
    weight, expected = network.model.get_parameter(name), 0
    for batch in iterate_batches(drawn, 1):
        words = log_softmax(network.logits(batch.pixels)[0][columns], dim=0)
        answer = int(torch.multinomial(words.detach().exp(), 1, generator=source))
        expected = expected + torch.autograd.grad(words[answer], weight)[0].square() / 3
    assert torch.allclose(found[name], expected)
    assert float(expected.sum()) > 0
    assert torch.equal(found["head.fc.bias"][[0, 2, 4, 5, 6, 7, 8, 9]], torch.zeros(8))  # no part of the answer
    assert all(torch.equal(value, before[key]) for key, value in network.model.state_dict().items())


def test_a_normalised_importance_has_mean_one():
    given = {"a": torch.tensor([1e-12, 3e-12]), "b": torch.tensor([[0.0, 4e-12]])}
    found = normalise_importance(given)
    assert sum(float(own.sum()) for own in found.values()) == pytest.approx(4)
    assert torch.allclose(found["a"] / given["a"], torch.full((2,), 5e11))
    assert normalise_importance({"a": torch.zeros(2)})["a"].tolist() == [1, 1]
