"""The gradient criterion: counts, the choice of a window, and refusals."""

import copy

import pytest
import torch
from torch import nn

from germline.errors import SettingError
from germline.methods.openworld.gradient_criterion import (
    GradientWatch,
    choose_window,
    find_dead_units,
    unit_weight_names,
)
from germline.training import CrossEntropy, Objective, Run, TrainSettings


class WatchedLoss(Objective):
    """Cross entropy times a number, with a gradient watch."""

    def __init__(self, watch, scale=1.0):
        super().__init__()
        self.watch, self.scale, self.step = watch, scale, 0

    def before_step(self, seed, name, step):
        self.step = step

    def forward(self, network, batch):
        return self.scale * CrossEntropy()(network, batch)

    def after_step(self, model, first):
        self.watch.record_step(model, self.step)


def measure_heat(network, pico, *, scale=1.0, tasks=4, rule="scale-free", epsilon=None):
    """Watch tasks of four steps and two epochs at a rate too small to change the network."""
    heat, settings = [], TrainSettings(steps=4, batch_size=20, lr=1e-30, optimizer="sgd", augment=False, weight_decay=0)
    for task in range(tasks):
        watch = GradientWatch(unit_weight_names(network.spec), steps=4, epoch=2, epsilon=epsilon, rule=rule)
        Run(device="cpu", quiet=True).fit(f"task-{task}", network, WatchedLoss(watch, scale), pico.train, settings)
        epsilon = float(watch.epsilon)
        heat.append(watch.rates())
    return heat


def test_rates_are_counted_by_epoch_and_unit():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    watch = GradientWatch((("0.weight",), ("1.weight",)), steps=3, epoch=2, epsilon=0.5)
    for step, (first, second) in enumerate([([[1.0, -1], [0, 0]], [[0.6, 0.4]]), ([[1.0, 1], [1, 1]], [[0.0, 0]])]):
        model[0].weight.grad, model[1].weight.grad = torch.tensor(first), torch.tensor(second)
        watch.record_step(model, step)
    model[0].weight.grad, model[1].weight.grad = None, torch.tensor([[-9.0, 9]])
    watch.record_step(model, 2)
    assert watch.rates() == [[0.75, 0.25], [0.0, 1.0]]
    positive = GradientWatch((("1.weight",),), steps=1, epoch=1, epsilon=0.5, rule="positive")
    positive.record_step(model, 0)
    assert positive.rates() == [[0.5]]


def test_threshold_is_the_median_of_the_first_task():
    model = nn.Linear(3, 1, bias=False)
    watch = GradientWatch((("weight",),), steps=2, epoch=2, epsilon=None)
    for step, row in enumerate([[1.0, -2, 9], [4.0, 4, -4]]):
        model.weight.grad = torch.tensor([row])
        watch.record_step(model, step)
    assert float(watch.epsilon) == pytest.approx(3)  # the mean of the medians 2 and 4
    with pytest.raises(SettingError, match="positive without epsilon"):
        GradientWatch((("weight",),), steps=1, epoch=1, epsilon=None, rule="positive")


def test_window_has_the_lowest_and_steadiest_heat_of_later_tasks():
    # Unit 0 has the lowest heat only at first. Unit 3 has the lowest mean but varies.
    early, late, later = [[0.0, 0.5, 0.5, 0.5]], [[0.9, 0.2, 0.2, 0.0]], [[0.9, 0.2, 0.2, 0.4]]
    choice = choose_window([early, early, late, later], 1)
    assert choice.scores == pytest.approx((0.9, 0.2, 0.2, 0.4))
    assert choice.start == 1
    assert choose_window([early, early, late, later], 2).windows == pytest.approx((1.1, 0.4, 0.6))
    assert choose_window([early, early, late, later], 1, dead=(1,)).start == 2
    assert choose_window([early, early, late, later], 2, fitting=(0, 2)).windows[1] is None
    with pytest.raises(SettingError, match=r"No window of 3 units.*dead, with constant outputs: 2"):
        choose_window([early], 3, dead=(1,))


@pytest.mark.parametrize("architecture", ["vgg", "resnet12", "resnet", "vit", "stitched"])
def test_units_without_gradient_are_chosen_in_every_architecture(architecture, ancestors, pico):
    network = copy.deepcopy(ancestors[architecture])
    units = unit_weight_names(network.spec)
    planted = len(units) - 2
    for name in (*units[planted], *units[planted + 1]):
        network.model.get_parameter(name).requires_grad_(False)
    heat = measure_heat(network, pico, tasks=2)
    choice = choose_window(heat, 2, dead=find_dead_units(network, pico.val))
    assert choice.start == planted
    assert choice.scores[planted:] == (0.0, 0.0)
    assert min(choice.scores[:planted], default=1) > 0


def test_scale_of_the_loss_does_not_change_the_choice(ancestors, pico):
    found = []
    for scale in (1.0, 1000.0):
        heat = measure_heat(copy.deepcopy(ancestors["vgg"]), pico, scale=scale)
        found.append((choose_window(heat, 3), heat))
    assert found[0][0].start == found[1][0].start
    assert torch.allclose(torch.tensor(found[0][1]), torch.tensor(found[1][1]), atol=0.02)
    positive = [
        measure_heat(copy.deepcopy(ancestors["vgg"]), pico, scale=s, rule="positive", epsilon=1e-3) for s in (1, 1e3)
    ]
    assert not torch.allclose(torch.tensor(positive[0]), torch.tensor(positive[1]), atol=0.1)


def test_unit_with_constant_outputs_is_dead(ancestors, pico):
    network = copy.deepcopy(ancestors["vgg"])
    assert find_dead_units(network, pico.val) == ()
    last = sum(network.spec.stages) - 1
    with torch.no_grad():
        network.model.stages[-1].blocks[-1].norm.weight.zero_()
        network.model.stages[-1].blocks[-1].norm.bias.fill_(-1)
    assert find_dead_units(network, pico.val) == (last,)
    heat = measure_heat(network, pico, tasks=2)
    assert choose_window(heat, 3).windows[-1] == 0  # no gradient passes the dead unit, so this sum is the smallest
    choice = choose_window(heat, 3, dead=find_dead_units(network, pico.val))
    assert choice.windows[-2:] == (0, None)
    assert choice.start < last - 2
