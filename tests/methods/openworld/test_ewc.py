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


def copy_last_stages(network):
    """Copy the tensors of the last two stages."""
    state = network.model.state_dict()
    return {name: value.clone() for name, value in state.items() if name.startswith(("stages.3", "stages.4"))}


def train(network, pico, objective=None, folder=None, settings=SETTINGS):
    child = copy.deepcopy(network)
    criterion = CrossEntropy(label_smoothing=None) if objective is None else objective(child)
    Run(folder, device="cpu", quiet=True).fit("child", child, criterion, pico.train, settings)
    return child.model.state_dict()


def make_anchor(strength, importance=1.0):
    def make(child):
        values = copy_last_stages(child)
        names = [name for name, _ in child.model.named_parameters() if name in values]
        return EwcObjective(EwcPenalty(values, {n: torch.full_like(values[n], importance) for n in names}, strength))

    return make


def test_proximal_step_minimises_penalty_plus_distance():
    model = torch.nn.Linear(2, 1, bias=False)
    value, importance = torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 0.0]])
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 5.0]]))
    EwcPenalty({"weight": value}, {"weight": importance}, 10.0).take_proximal_step(model, 0.1)
    # (w - 3)^2 / (2 x 0.1) + 10 / 2 x 2 x (w - 1)^2 is smallest at w = 5/3.
    # A weight without importance does not change.
    assert model.weight.tolist()[0] == pytest.approx([5 / 3, 5.0])


def test_strength_zero_equals_plain_training(ancestors, pico):
    plain, none = train(ancestors["vgg"], pico), train(ancestors["vgg"], pico, make_anchor(0.0))
    assert all(torch.equal(value, none[name]) for name, value in plain.items())


@pytest.mark.parametrize("anchor", ["inherited", "epoch"])
def test_labels_are_smoothed_as_the_settings_say(ancestors, pico, anchor):
    def make_epoch_anchor(child):
        return EpochEwcObjective(child.model, list(dict(child.model.named_parameters())), 0.0, every=2)

    make, smooth = {"inherited": make_anchor(0.0), "epoch": make_epoch_anchor}[anchor], {"label_smoothing": 0.2}
    settings = SETTINGS.model_copy(update=smooth)
    plain, anchored = (train(ancestors["vgg"], pico, one, settings=settings) for one in (None, make))
    assert all(torch.allclose(value, anchored[name], atol=1e-6) for name, value in plain.items())
    other = train(ancestors["vgg"], pico)["head.fc.weight"]
    assert not torch.allclose(plain["head.fc.weight"], other, atol=1e-4)


def test_infinite_strength_freezes_only_the_anchored_tensors(ancestors, pico):
    before, after = ancestors["vgg"].model.state_dict(), train(ancestors["vgg"], pico, make_anchor(math.inf))
    kept = copy_last_stages(ancestors["vgg"])
    assert any(name.endswith("num_batches_tracked") for name in kept)
    assert all(torch.equal(after[name], value) for name, value in kept.items())
    assert not [name for name in before if name not in kept and torch.equal(after[name], before[name])]


def test_larger_strengths_reduce_the_distance_without_overflow(ancestors, pico):
    kept, distances = copy_last_stages(ancestors["vgg"]), []
    weights = [name for name in kept if name.endswith("conv.weight")]
    for strength in (0.0, 1.0, 100.0, 1e4, 1e8):
        after = train(ancestors["vgg"], pico, make_anchor(strength))
        assert all(bool(torch.isfinite(value).all()) for value in after.values())
        distances.append(sum(float((after[name] - kept[name]).square().sum()) for name in weights))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-8 * distances[0]
    assert all(math.isfinite(value) for value in distances)
    after = train(ancestors["vgg"], pico, make_anchor(1e300, importance=0.0))
    assert all(bool(torch.isfinite(value).all()) for value in after.values())


def test_epoch_anchor_starts_in_the_second_epoch_and_resumes(ancestors, pico, tmp_path):
    def make_epoch_anchor(every):
        def make(child):
            names = [name for name, _ in child.model.named_parameters() if name in copy_last_stages(child)]
            return EpochEwcObjective(child.model, names, 1e6, every)

        return make

    plain = train(ancestors["vgg"], pico)
    late = train(ancestors["vgg"], pico, make_epoch_anchor(6))
    assert all(torch.equal(value, late[name]) for name, value in plain.items())
    early = train(ancestors["vgg"], pico, make_epoch_anchor(2))
    assert not all(torch.equal(value, early[name]) for name, value in plain.items())

    class KilledError(Exception):
        pass

    def make_killed_objective(child):
        objective = make_epoch_anchor(2)(child)
        original = objective.before_step

        def before_step(seed, name, step):
            if step == 5:
                raise KilledError
            original(seed, name, step)

        objective.before_step = before_step
        return objective

    with pytest.raises(KilledError):
        train(ancestors["vgg"], pico, make_killed_objective, tmp_path)
    resumed = train(ancestors["vgg"], pico, make_epoch_anchor(2), tmp_path)
    assert all(torch.equal(value, resumed[name]) for name, value in early.items())


def test_epoch_importance_counts_all_images_of_a_batch_in_parts(ancestors, pico):
    found = []
    for parts in (1, 2):
        child = copy.deepcopy(ancestors["vit"])
        objective = EpochEwcObjective(child.model, ["blocks.0.mlp.fc1.weight"], 0.0, every=3)
        settings = SETTINGS.model_copy(update={"accumulate": parts, "steps": 3, "lr": 1e-3})
        Run(device="cpu", quiet=True).fit("child", child, objective, pico.train, settings)
        found.append(objective.get_buffer("importance_0"))
    assert float(found[0].max()) > 0
    assert torch.allclose(found[0], found[1], rtol=1e-2, atol=1e-6 * float(found[0].max()))


def test_fisher_is_the_mean_squared_gradient_of_sampled_answers(ancestors, pico):
    network, columns = ancestors["vgg"], torch.tensor([3, 1])
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    found = estimate_fisher(network, columns, pico.train, 3, torch.Generator().manual_seed(0))
    source = torch.Generator().manual_seed(0)
    subset = pico.train.subset(torch.randperm(len(pico.train), generator=source)[:3])
    name = "stages.4.blocks.0.conv.weight"
    weight, expected = network.model.get_parameter(name), 0
    for batch in iterate_batches(subset, 1):
        log_probabilities = log_softmax(network.logits(batch.pixels)[0][columns], dim=0)
        answer = int(torch.multinomial(log_probabilities.detach().exp(), 1, generator=source))
        expected = expected + torch.autograd.grad(log_probabilities[answer], weight)[0].square() / 3
    assert torch.allclose(found[name], expected)
    assert float(expected.sum()) > 0
    # Classes that are not among the columns have no gradient.
    assert torch.equal(found["head.fc.bias"][[0, 2, 4, 5, 6, 7, 8, 9]], torch.zeros(8))
    assert all(torch.equal(value, before[key]) for key, value in network.model.state_dict().items())


def test_normalised_importance_has_mean_one():
    given = {"a": torch.tensor([1e-12, 3e-12]), "b": torch.tensor([[0.0, 4e-12]])}
    found = normalise_importance(given)
    assert sum(float(own.sum()) for own in found.values()) == pytest.approx(4)
    assert torch.allclose(found["a"] / given["a"], torch.full((2,), 5e11))
    assert normalise_importance({"a": torch.zeros(2)})["a"].tolist() == [1, 1]
