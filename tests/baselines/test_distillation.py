"""Distillation: losses against hand calculations, gradients, resumed training and refused settings."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from germline.api import build_gene_objective
from germline.architectures import VIT, Size
from germline.baselines.distillation import Distil, OtherClasses
from germline.data import Batch, Images
from germline.errors import SettingError
from germline.training import Distillation, Run, TrainSettings

RUN = Run(device="cpu", quiet=True)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


@pytest.fixture(scope="module")
def distil_gene(ancestor, pico):
    return Distil().condense(ancestor, pico, RUN)


@pytest.fixture(scope="module")
def parity_images(pico):
    """The training images labelled even or odd, so that the class names differ from the teacher's."""
    return Images(pico.train.images, pico.train.labels % 2, ("even", "odd"))


def kl_divergence(teacher_logits, student_logits, temperature):
    """Mean over the rows of the sum of p ln(p/q) at this temperature, times the temperature squared."""
    teacher, student = (torch.softmax(values / temperature, dim=1) for values in (teacher_logits, student_logits))
    return float((teacher * (teacher / student).log()).sum(dim=1).mean()) * temperature**2


def test_gene_is_the_teacher_and_descendants_are_fresh(distil_gene, ancestor):
    assert all(torch.equal(value, distil_gene.tensors[name]) for name, value in ancestor.model.state_dict().items())
    one, same, other = (distil_gene.inherit(size=Size(depth=3, width=24), seed=seed) for seed in (1, 1, 2))
    count = sum(parameter.numel() for parameter in one.model.parameters())
    assert one.ledger.totals() == {"fresh": count}
    assert count == 3 * (12 * 24**2 + 13 * 24) + (64 + 1 + 16 + 2 + 10) * 24 + 10
    assert torch.equal(one.model.blocks[0].attn.qkv.weight, same.model.blocks[0].attn.qkv.weight)
    assert not torch.equal(one.model.blocks[0].attn.qkv.weight, other.model.blocks[0].attn.qkv.weight)
    assert distil_gene.describe_sizes() == "any size of the architecture vit"


def test_the_teachers_classes_give_plain_distillation(distil_gene, ancestor, pixels):
    child = distil_gene.inherit(size=Size(depth=1), seed=3)
    method = Distil(alpha=0.3, temperature=3.0, label_smoothing=0.1)
    objective = method.objective(distil_gene, child)
    assert type(objective) is Distillation
    found = float(objective(child.network.logits, Batch(pixels, LABELS)).detach())
    with torch.no_grad():
        logits, teacher_logits = child.network.logits(pixels), ancestor.logits(pixels)
        labels = float(cross_entropy(logits, LABELS, label_smoothing=0.1))
    assert found == pytest.approx(0.7 * labels + 0.3 * kl_divergence(teacher_logits, logits, 3.0), abs=1e-5)


def test_other_classes_give_an_auxiliary_head_that_follows_the_teacher(distil_gene, ancestor, pixels):
    child = distil_gene.inherit(size=Size(depth=1, width=24), classes=3)
    objective = Distil(alpha=0.3, temperature=3.0, label_smoothing=0.1).objective(distil_gene, child)
    assert objective.head.weight.shape == (10, 24)
    found = float(objective(child.network.logits, Batch(pixels, LABELS)).detach())
    model, images = child.model, child.network.preprocess(pixels)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        labels = float(cross_entropy(model.head(features), LABELS, label_smoothing=0.1))
        kl = kl_divergence(ancestor.logits(pixels), objective.head(features), 3.0)
    assert kl > 0.01
    assert found == pytest.approx(labels + 0.3 * kl, abs=1e-5)


def test_reordered_classes_count_as_other_classes(distil_gene, pico):
    child = distil_gene.inherit(classes=pico.classes[::-1])
    assert type(Distil().objective(distil_gene, child)) is OtherClasses


def test_body_runs_once_and_hooks_are_removed(distil_gene, pixels):
    child = distil_gene.inherit(classes=3)
    objective, calls = Distil().objective(distil_gene, child), []
    handle = child.model.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    objective(child.network.logits, Batch(pixels, LABELS))
    handle.remove()
    assert len(calls) == 1
    assert not child.model.head._forward_pre_hooks

    def broken(images):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        objective(broken, Batch(pixels, LABELS))
    assert not child.model.head._forward_pre_hooks


def test_distillation_gradient_reaches_the_body_but_not_the_teacher(distil_gene, pixels):
    child = distil_gene.inherit(classes=3)
    gradients = {}
    for alpha in (0.0, 1.0):
        objective = Distil(alpha=alpha).objective(distil_gene, child)
        objective(child.network.logits, Batch(pixels, LABELS)).backward()
        gradients[alpha] = child.model.patch_embed.proj.weight.grad.clone()
        assert bool(objective.head.weight.grad.any()) == (alpha > 0)
        assert all(parameter.grad is None for parameter in objective._teacher[0].model.parameters())
        child.model.zero_grad()
    assert float((gradients[1.0] - gradients[0.0]).abs().max()) > 1e-4


def test_objective_stores_only_its_head_which_depends_on_the_seed(distil_gene):
    heads = []
    for seed in (1, 1, 2):
        objective = Distil().objective(distil_gene, distil_gene.inherit(classes=3, seed=seed))
        assert set(objective.state_dict()) == {"head.weight", "head.bias"}
        heads.append(objective.head.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    # So it is in `germline train --gene`, whose seed is that of the run.
    network = distil_gene.inherit(classes=3).network
    for seed, head in ((1, heads[0]), (2, heads[2])):
        assert torch.equal(build_gene_objective(distil_gene, network, seed).head.weight, head)


def test_training_with_other_classes_trains_both_heads(distil_gene, ancestor, parity_images, pico):
    child = distil_gene.inherit(size=Size(depth=1), classes=parity_images.classes)
    objective = Distil().objective(distil_gene, child)
    start = objective.head.weight.detach().clone()
    before = {name: value.clone() for name, value in distil_gene.tensors.items()}
    settings = TrainSettings(steps=120, batch_size=40, lr=1e-2, log_every=1)
    result = RUN.fit("child", child.network, objective, parity_images, settings, val=parity_images)
    assert result.losses[-1][1] < 0.7 * result.losses[0][1]
    assert result.accuracy > 0.75
    assert not torch.equal(objective.head.weight, start)
    assert all(torch.equal(value, distil_gene.tensors[name]) for name, value in before.items())
    # The auxiliary head agrees with the teacher. It is no part of the child.
    pixels, model = pico.val.images.float() / 255, child.model
    with torch.no_grad():
        features = model.forward_head(model.forward_features(child.network.preprocess(pixels)), pre_logits=True)
        teacher_logits, head_logits = ancestor.logits(pixels), objective.head(features)
    assert float((teacher_logits.argmax(1) == head_logits.argmax(1)).float().mean()) > 0.4
    assert set(model.state_dict()) == set(VIT.build(child.network.spec).state_dict())


class Interrupted(OtherClasses):
    """Objective that interrupts the training after some calls."""

    left = 1000

    def forward(self, network, batch):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().forward(network, batch)


@pytest.mark.parametrize("more", [{}, {"accumulate": 2, "mixup": 0.5}], ids=str)
def test_resumed_training_gives_identical_weights(distil_gene, parity_images, tmp_path, more):
    settings = TrainSettings(steps=8, batch_size=24, lr=5e-3, checkpoint_every=3, log_every=1, **more)

    def fit(folder, stop=None):
        child = distil_gene.inherit(size=Size(depth=1), classes=parity_images.classes)
        objective = Distil().objective(distil_gene, child)
        objective.__class__ = Interrupted
        if stop is not None:
            objective.left = stop * settings.accumulate
        Run(folder, device="cpu", quiet=True).fit("child", child.network, objective, parity_images, settings)
        return {**child.model.state_dict(), **objective.state_dict()}, objective.left

    alone, _ = fit(None)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop=5)
    resumed, left = fit(tmp_path)
    assert 1000 - left == 5 * settings.accumulate  # from the checkpoint after step 3
    assert all(torch.equal(value, resumed[name]) for name, value in alone.items())


def test_auxiliary_head_stays_float32_with_bf16_features(distil_gene, parity_images):
    for precision in ("bf16-mixed", "bf16-true"):
        child = distil_gene.inherit(size=Size(depth=1), classes=parity_images.classes)
        objective = Distil().objective(distil_gene, child)
        run = Run(device="cpu", precision=precision, quiet=True)
        result = run.fit(
            "child", child.network, objective, parity_images, TrainSettings(steps=2, batch_size=24, log_every=1)
        )
        assert 0 < result.losses[-1][1] < 20
        assert objective.head.weight.dtype == torch.float32


@pytest.mark.parametrize("bad", [{"alpha": 1.1}, {"temperature": 0}, {"label_smoothing": 1}, {"beta": 1}], ids=str)
def test_bad_settings_are_refused(bad):
    with pytest.raises(SettingError):
        Distil(**bad)


@pytest.mark.parametrize("family", ["vgg", "resnet12", "resnet"])
def test_convolutional_students_follow_convolutional_teachers(ancestors, parity_images, pico, pixels, family):
    teacher = ancestors[family]
    gene = Distil().condense(teacher, pico, RUN)
    child = gene.inherit(size=Size(width=3), classes=3)
    objective = Distil(alpha=0.4, temperature=1.0).objective(gene, child)
    child.model.eval()  # batch statistics would change between the two passes
    found = float(objective(child.network.logits, Batch(pixels, LABELS)).detach())
    model, images = child.model, child.network.preprocess(pixels)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        labels = float(cross_entropy(model(images), LABELS))
        kl = kl_divergence(teacher.logits(pixels), objective.head(features), 1.0)
    assert found == pytest.approx(labels + 0.4 * kl, abs=1e-5)
    assert Distil().traits.needs_teacher
    assert "fresh" in child.ledger.totals()
    assert len(child.ledger.totals()) == 1
