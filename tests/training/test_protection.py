"""Protected elements change less, by a known factor, under every engine and optimiser."""

from dataclasses import replace

import pytest
import torch

from germline.training import CrossEntropy, Run, TrainSettings
from germline.training.protection import Protection, stack_protections
from helpers.populations import difference, states, train

SGD = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.0, "warmup": 0.0, "schedule": "constant", "augment": False}
OPTIMIZERS = {"sgd": SGD, "momentum": {**SGD, "momentum": 0.9}, "adamw": {"optimizer": "adamw", "lr": 1e-3}}
KERNEL = "stages.0.blocks.0.conv.weight"


def first_rows(member, rows=2):
    """Masks of the first rows of every tensor of a member's backbone."""
    masks = {}
    for name, parameter in member.network.model.named_parameters():
        if not name.startswith("head"):
            masks[name] = torch.zeros(parameter.shape, dtype=torch.bool)
            masks[name][:rows] = True
    return masks


def protect(members, steps, rate=1.0):
    return [replace(member, protection=Protection(first_rows(member), steps, rate)) for member in members]


@pytest.mark.parametrize(
    ("steps", "rate", "factors"),
    [
        (0, 1.0, [1, 1, 1]),
        (0, 0.3, [0.3, 0.3, 0.3]),
        (2, 1.0, [0, 0.5, 1]),
        (4, 0.5, [0, 0.125, 0.25]),
        (3, 0.0, [0, 0, 0]),
    ],
)
def test_factor_rises_evenly_to_the_rate(steps, rate, factors):
    protection = Protection({}, steps, rate)
    assert [protection.factor(step) for step in range(3)] == pytest.approx(factors)
    assert protection.factor(10**6) == rate


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_protected_elements_do_not_change_in_the_first_step(make_members, optimizer, engine):
    members = protect(make_members(count=2), 3)
    before = states(members)
    train(members, engine=engine, steps=1, **OPTIMIZERS[optimizer])
    for old, member in zip(before, members, strict=True):
        for name, mask in member.protection.masks.items():
            new = member.network.model.state_dict()[name]
            assert torch.equal(new[mask], old[name][mask])
            assert not torch.equal(new[~mask], old[name][~mask])


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_protected_change_is_the_free_change_times_the_rate(make_members, optimizer, engine):
    free, protected = make_members(count=2), protect(make_members(count=2), 0, 0.25)
    before = states(free)
    for members in (free, protected):
        train(members, engine=engine, steps=1, **OPTIMIZERS[optimizer])
    for old, one, other in zip(before, states(free), states(protected), strict=True):
        moved, less = (new[KERNEL] - old[KERNEL] for new in (one, other))
        assert torch.allclose(less[:2], 0.25 * moved[:2], atol=1e-7)
        assert torch.allclose(less[2:], moved[2:], atol=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_engines_agree_on_protected_members(make_members, optimizer):
    found = []
    for engine in ("loop", "vmap"):
        members = protect(make_members(), 3, 0.5)
        members[1] = replace(members[1], protection=None)
        train(members, engine=engine, **OPTIMIZERS[optimizer])
        found.append(states(members))
    # Sums of float32 differ in their last bits between engines.
    assert difference(*found) < 2e-4


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_full_rate_equals_no_protection_exactly(make_members, engine):
    plain, full = make_members(count=2), protect(make_members(count=2), 0, 1.0)
    for members in (plain, full):
        train(members, engine=engine, **OPTIMIZERS["momentum"])
    assert difference(states(plain), states(full)) == 0


def test_stacked_members_need_equal_protected_steps(make_members):
    members = make_members(count=2)
    parameters = {name: torch.stack([tensor, tensor]) for name, tensor in members[0].network.model.named_parameters()}
    assert stack_protections([None, None], parameters) is None
    one = Protection(first_rows(members[0]), 3)
    masks = stack_protections([None, one], parameters).masks
    assert [int(masks[KERNEL][place].any()) for place in (0, 1)] == [0, 1]
    with pytest.raises(ValueError, match="same protected steps"):
        stack_protections([one, replace(one, steps=4)], parameters)


def fit(member, folder, objective, steps=6):
    settings = TrainSettings(steps=steps, batch_size=12, checkpoint_every=2, **SGD)
    run = Run(folder, device="cpu", quiet=True)
    return run.fit("train", member.network, objective, member.images, settings)


class KilledError(Exception):
    """Raised instead of a kill."""


def test_objective_protects_and_killed_training_resumes_exactly(make_members, tmp_path, monkeypatch):
    def start():
        (member,) = make_members(count=1)
        objective = CrossEntropy()
        objective.protection = Protection(first_rows(member), 5)
        return member, objective

    expected, objective = start()
    fit(expected, None, objective)
    real_step, calls = Protection.limit_change, []

    def die_at_fourth_call(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KilledError
        return real_step(*args)

    monkeypatch.setattr(Protection, "limit_change", die_at_fourth_call)
    member, objective = start()
    with pytest.raises(KilledError):
        fit(member, tmp_path, objective)
    monkeypatch.undo()
    member, objective = start()
    fit(member, tmp_path, objective)
    assert difference(states([expected]), states([member])) == 0


def test_loss_without_smoothing_uses_that_of_the_settings(make_members):
    found = []
    for smoothing in (None, 0.3):
        (member,) = make_members(count=1)
        settings = TrainSettings(steps=2, batch_size=12, label_smoothing=0.3, **SGD)
        Run(device="cpu", quiet=True).fit("train", member.network, CrossEntropy(smoothing), member.images, settings)
        found.append(states([member]))
    assert difference(*found) == 0
