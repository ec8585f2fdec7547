"""Losses against numbers computed by hand."""

import math

import pytest
import torch
from torch import nn

from germline.architectures import Preprocess
from germline.data import Batch
from germline.errors import DataError, SettingError
from germline.network import Network
from germline.training import CrossEntropy, Distillation
from germline.training.objectives import Objective

THIRD = math.log(3.0)


class Fixed(nn.Module):
    """Network with constant logits that records the mode of each call."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))
        self.modes = []

    def forward(self, images):
        self.modes.append(self.training)
        return self.rows * 1


def teacher(rows):
    preprocess = Preprocess(channels=1, image_size=2, mean=(0.0,), std=(1.0,))
    return Network(Fixed(rows), preprocess, tuple("ab"))


def batch(labels, **changes):
    return Batch(torch.rand(len(labels), 1, 2, 2), torch.tensor(labels), **changes)


def student(rows):
    logits = torch.tensor(rows, requires_grad=True)
    return logits, lambda pixels: logits


# A teacher of (3/4, 1/4) and a student of (1/2, 1/2): the divergence is 3/4 ln(3/2) + 1/4 ln(1/2).
DIVERGENCE = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def test_distillation_soft_is_the_mean_divergence():
    _, network = student([[0.0, 0.0], [0.0, 0.0]])
    objective = Distillation(teacher([[THIRD, 0.0], [0.0, THIRD]]))
    assert objective(network, batch([0, 0])).item() == pytest.approx(DIVERGENCE, abs=1e-6)


def test_distillation_legacy_reduction_divides_by_classes_too():
    rows, network = student([[0.3, 0.1, 0.0], [0.0, 1.0, 0.0]])
    fixed_teacher = teacher([[THIRD, 0.0, 0.2], [0.0, THIRD, 0.1]])
    plain = Distillation(fixed_teacher)(network, batch([0, 0]))
    legacy = Distillation(fixed_teacher, reduction="legacy_numel")(network, batch([0, 0]))
    assert legacy.item() == pytest.approx(plain.item() / 3, rel=1e-6)
    assert rows.grad is None


def test_distillation_temperature_softens_both_and_is_squared():
    _, network = student([[0.0, 0.0]])
    softened = Distillation(teacher([[2 * THIRD, 0.0]]), temperature=2.0)
    assert softened(network, batch([0])).item() == pytest.approx(4 * DIVERGENCE, abs=1e-6)


def test_distillation_gradient_is_the_difference_of_distributions():
    logits, network = student([[0.0, 0.0]])
    Distillation(teacher([[THIRD, 0.0]]))(network, batch([0])).backward()
    assert torch.allclose(logits.grad, torch.tensor([[0.5 - 0.75, 0.5 - 0.25]]), atol=1e-6)


def test_distillation_hard_follows_the_largest_logit():
    _, network = student([[THIRD, 0.0], [THIRD, 0.0]])
    objective = Distillation(teacher([[1.0, 0.0], [0.0, 1.0]]), kind="hard")
    assert objective(network, batch([0, 0])).item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, abs=1e-6)


def test_distillation_alpha_weighs_teacher_and_labels():
    _, network = student([[0.0, 0.0]])
    fixed_teacher = teacher([[THIRD, 0.0]])
    for alpha in (0.0, 0.3, 1.0):
        found = float(Distillation(fixed_teacher, alpha=alpha)(network, batch([1])).detach())
        assert found == pytest.approx(alpha * DIVERGENCE + (1 - alpha) * math.log(2), abs=1e-6)


def test_distillation_needs_labels_below_alpha_one():
    _, network = student([[0.0, 0.0]])
    unlabelled = Batch(torch.rand(1, 1, 2, 2), None)
    assert float(Distillation(teacher([[THIRD, 0.0]]))(network, unlabelled)) == pytest.approx(DIVERGENCE, abs=1e-6)
    with pytest.raises(DataError, match="alpha=1"):
        Distillation(teacher([[THIRD, 0.0]]), alpha=0.5)(network, unlabelled)
    with pytest.raises(DataError, match="The images have no labels"):
        CrossEntropy()(network, unlabelled)


def test_label_loss_counts_mixed_labels_by_share():
    _, network = student([[THIRD, 0.0]])
    mixed = batch([0], partner_labels=torch.tensor([1]), share=0.7)
    assert float(CrossEntropy()(network, mixed)) == pytest.approx(0.7 * math.log(4 / 3) + 0.3 * math.log(4), abs=1e-6)


def test_cross_entropy_label_smoothing_covers_all_classes():
    _, network = student([[THIRD, 0.0]])
    expected = 0.9 * math.log(4 / 3) + 0.1 * (math.log(4 / 3) + math.log(4)) / 2
    assert float(CrossEntropy(0.1)(network, batch([0]))) == pytest.approx(expected, abs=1e-6)
    part = Distillation(teacher([[0.0, 0.0]]), alpha=0.0, label_smoothing=0.1)
    assert float(part(network, batch([0]))) == pytest.approx(expected, abs=1e-6)


def test_distillation_neither_trains_nor_saves_nor_freezes_the_teacher():
    fixed_teacher = teacher([[THIRD, 0.0]])
    fixed_teacher.model.train()
    objective = Distillation(fixed_teacher)
    logits, network = student([[0.0, 0.0]])
    objective(network, batch([0])).backward()
    assert fixed_teacher.model.modes == [False]
    assert fixed_teacher.model.rows.grad is None
    assert fixed_teacher.model.rows.requires_grad
    assert not list(objective.parameters())
    assert not objective.state_dict()
    assert logits.grad is not None


def test_distillation_refuses_another_number_of_outputs():
    _, network = student([[0.0, 0.0, 0.0]])
    with pytest.raises(DataError, match="The teacher has 2 outputs, the student 3"):
        Distillation(teacher([[THIRD, 0.0]]))(network, batch([0]))


@pytest.mark.parametrize("bad", [{"alpha": -0.1}, {"alpha": 1.1}, {"temperature": 0.0}])
def test_distillation_refuses_bad_alpha_and_temperature(bad):
    with pytest.raises(SettingError, match="alpha"):
        Distillation(teacher([[0.0, 0.0]]), **bad)


def test_objective_must_define_forward():
    with pytest.raises(NotImplementedError):
        Objective()(lambda pixels: pixels, batch([0]))
