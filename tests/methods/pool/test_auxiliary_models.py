"""Auxiliary models: matched positions, the loss by hand, and independence of the models from each other."""

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax, mse_loss

from germline.architectures import VIT
from germline.data import Batch
from germline.methods.pool.auxiliary_models import (
    AuxiliaryDistillation,
    AuxiliaryModels,
    LabelLoss,
    MatchedFeatures,
    pair_positions,
)
from germline.methods.pool.build import create_auxiliary_models
from germline.methods.pool.method import Pool
from germline.methods.pool.paths import PoolLayout
from germline.methods.pool.sizes import PathSpecs
from germline.network import Network
from germline.training import Run, TrainSettings
from germline.training.optimizer import make_optimizer
from germline.training.trainer import Trainer

LOGITS = {"temperature": 1.0, "reduction": "batchmean", "label_smoothing": 0.0}


@pytest.mark.parametrize(
    ("which", "student", "ancestor", "expected"),
    [
        ("end", 6, 12, [(5, 11)]),
        ("mid,end", 6, 12, [(3, 7), (5, 11)]),
        ("front,mid,end", 6, 12, [(1, 3), (3, 7), (5, 11)]),
        ("front,mid,end", 9, 12, [(2, 3), (5, 7), (8, 11)]),
        ("front,mid,end", 3, 12, [(0, 3), (1, 7), (2, 11)]),
        # with fewer than three blocks, each block occurs once, at the later of two positions
        ("front,mid,end", 2, 12, [(0, 3), (1, 11)]),
        ("mid,end", 2, 2, [(1, 1)]),
        ("front,mid,end", 1, 12, [(0, 11)]),
        ("front,mid,end", 4, 6, [(1, 1), (2, 3), (3, 5)]),
        ("front,mid,end", 6, 2, [(1, 0), (3, 1), (5, 1)]),
    ],
)
def test_positions_are_paired_by_relative_depth(which, student, ancestor, expected):
    assert pair_positions(which, student, ancestor) == tuple(expected)


def make_students(ancestor, widths=(8, 16), losses="all", which="front,mid,end", alpha=0.1, **changes):
    """Make students of the ancestor and their common loss."""
    specs = PathSpecs.of(PoolLayout((8, 16), 2), ancestor.spec, (1, 2))
    specs = PathSpecs(specs.layout, {width: specs.models[width] for width in widths})
    features = {width: MatchedFeatures.at(which, losses, spec, ancestor.spec) for width, spec in specs.models.items()}
    matrices = {}
    for width, one in features.items():
        torch.manual_seed(width)
        matrices[width] = one.matrices(width, ancestor.spec.width)
    students = AuxiliaryModels(
        create_auxiliary_models("pool", specs, TrainSettings(), 0), {w: one.taps for w, one in features.items()}
    )
    return students, AuxiliaryDistillation(ancestor, features, matrices, alpha=alpha, **{**LOGITS, **changes})


@pytest.fixture
def batch(pico):
    return Batch(pico.train.images[::10].float() / 255, pico.train.labels[::10])


@pytest.mark.parametrize("losses", ["logits", "logits+rep", "all"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_loss_equals_hand_calculation(ancestor, batch, losses, temperature):
    students, objective = make_students(ancestor, losses=losses, alpha=0.25, temperature=temperature)
    images = ancestor.preprocess(batch.pixels)
    expected = 0.0
    with torch.no_grad():
        tokens = [ancestor.model.patch_embed(images) + ancestor.model.pos_embed]
        attended = []
        for block in ancestor.model.blocks:
            attended.append(block.attn(block.norm1(tokens[-1])))
            tokens.append(block(tokens[-1]))
        target = log_softmax(ancestor.model(images) / temperature, 1)
        for width, model in students.students.items():
            student_tokens = [model.patch_embed(images) + model.pos_embed]
            student_attended = []
            for block in model.blocks:
                student_attended.append(block.attn(block.norm1(student_tokens[-1])))
                student_tokens.append(block(student_tokens[-1]))
            logits = model(images)
            found = log_softmax(logits / temperature, 1)
            part = temperature**2 * (target.exp() * (target - found)).sum() / len(logits)
            matrices = objective.matrices[width]
            for index in (0, 1):
                if losses != "logits":
                    part += mse_loss(student_tokens[index + 1], matrices["hidden"][index](tokens[index + 1]))
                if losses == "all":
                    part += mse_loss(student_attended[index], matrices["attention"][index](attended[index]))
            expected += 0.25 * cross_entropy(logits, batch.labels) + 0.75 * part
    loss = objective(lambda pixels: students(ancestor.preprocess(pixels)), batch)
    assert loss.detach().item() == pytest.approx(expected.detach().item(), rel=1e-5)


def test_legacy_reduction_is_the_mean_over_classes(ancestor, batch):
    students, objective = make_students(ancestor, alpha=0.0, losses="logits")
    _, legacy = make_students(ancestor, alpha=0.0, losses="logits", reduction="legacy_numel")

    def forward(pixels):
        return students(ancestor.preprocess(pixels))

    with torch.no_grad():
        assert float(objective(forward, batch)) == pytest.approx(10 * float(legacy(forward, batch)), rel=1e-5)
    unlabelled = Batch(batch.pixels, None)  # with alpha=0 the labels are not used
    assert torch.equal(objective(forward, unlabelled), objective(forward, batch))


def test_ancestor_runs_once_per_step(ancestor, pico):
    students, objective = make_students(ancestor)
    calls = []
    handle = ancestor.model.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    network = Network(students, ancestor.preprocess, pico.classes)
    try:
        Run(device="cpu", quiet=True).fit(
            "auxiliaries", network, objective, pico.train, TrainSettings(steps=5, batch_size=20)
        )
    finally:
        handle.remove()
    assert calls == [False] * 5


def test_matrices_are_trained_without_weight_decay(ancestor, pico, batch):
    students, objective = make_students(ancestor)
    objective(lambda pixels: students(ancestor.preprocess(pixels)), batch).backward()
    named = dict(objective.named_parameters())
    assert len(named) == 2 * (2 + 2) * 2
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in named.values())
    optimizer = make_optimizer(students, objective, TrainSettings(weight_decay=0.3), {"matrices.": 0.0})
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decays[id(parameter)] for parameter in named.values()} == {0.0}
    assert decays[id(students.students["8"].blocks[0].attn.qkv.weight)] == 0.3
    assert decays[id(students.students["8"].pos_embed)] == 0.0
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    network = Network(students, ancestor.preprocess, pico.classes)
    Run(device="cpu", quiet=True).fit(
        "auxiliaries", network, objective, pico.train, TrainSettings(steps=3, batch_size=20)
    )
    assert not [name for name, parameter in objective.named_parameters() if torch.equal(parameter, before[name])]


def test_pool_sets_decays_of_matrices_and_rates_of_models(ancestor, pico, monkeypatch):
    decays, factors, original = {}, {}, Trainer._prepare

    def record_groups(fit):
        original(fit)
        named = {id(parameter): name for name, parameter in fit.objective.named_parameters()}
        if fit.name == "auxiliaries":
            names = {id(parameter): name for name, parameter in fit.network.model.named_parameters()} | named
            factors.update({names[id(p)]: g["factor"] for g in fit._raw_optimizer.param_groups for p in g["params"]})
        for group in fit._raw_optimizer.param_groups:
            decays.update({named[id(p)]: group["weight_decay"] for p in group["params"] if id(p) in named})

    monkeypatch.setattr(Trainer, "_prepare", record_groups)
    Pool(preset="tiny", rates=(1.0, 0.1)).condense(ancestor, pico, Run(device="cpu", quiet=True))
    assert {name.split(".")[1] for name, factor in factors.items() if factor == 0.1} == {"16"}
    assert {name.split(".")[1] for name, factor in factors.items() if factor == 1} == {"8"}
    assert set(decays.values()) == {0.0}
    # Matrices of hidden maps and attention outputs have a weight and a bias.
    # The small model has two positions, the large model has one.
    assert len(decays) == 2 * 2 * (2 + 1)


@pytest.mark.parametrize(("accumulate", "factor"), [(1, 1.0), (2, 1.0), (1, 0.1)])
def test_joint_training_equals_separate_trainings(ancestor, pico, accumulate, factor):
    settings = TrainSettings(steps=6, batch_size=24, lr=3e-3, mixup=0.5, label_smoothing=0.1, accumulate=accumulate)

    def train(widths, settings=settings, rates=None):
        students, objective = make_students(ancestor, widths, label_smoothing=0.1)
        network = Network(students, ancestor.preprocess, pico.classes)
        Run(device="cpu", quiet=True).fit(
            "auxiliaries",
            network,
            objective,
            pico.train,
            settings,
            augmentation=pico.augmentation,
            decays={"matrices.": 0.0},
            rates=rates,
        )
        return {**students.state_dict(), **objective.state_dict()}

    together = train((8, 16), rates={"students.16.": factor, "matrices.16.": factor})
    small, large = train((8,)), train((16,), settings.model_copy(update={"lr": 3e-3 * factor}))
    start, _ = make_students(ancestor)
    assert together.keys() == small.keys() | large.keys()
    for name, value in {**small, **large}.items():
        assert torch.allclose(together[name], value, atol=1e-5), name
    changed = [
        name for name, value in start.state_dict().items() if not torch.allclose(value, together[name], atol=1e-4)
    ]
    assert len(changed) == len(start.state_dict())


def test_label_loss_is_the_sum_over_students(ancestor, batch):
    students, _ = make_students(ancestor)
    images = ancestor.preprocess(batch.pixels)
    expected = sum(cross_entropy(model(images), batch.labels) for model in students.students.values())
    loss = LabelLoss()(lambda pixels: students(ancestor.preprocess(pixels)), batch)
    assert loss.detach().item() == pytest.approx(expected.detach().item(), rel=1e-6)


def test_students_return_logits_and_features(ancestor, pixels):
    students, _ = make_students(ancestor, which="end")
    outputs = students(ancestor.preprocess(pixels))
    assert [tuple(output.logits.shape) for output in outputs] == [(8, 10)] * 2
    assert [set(output.features) for output in outputs] == [{"blocks.1", "blocks.1.attn"}] * 2
    assert outputs[0].features["blocks.1.attn"].shape == (8, 16, 8)
    assert students.no_weight_decay() >= {"students.8.pos_embed", "students.16.pos_embed"}
    assert VIT.attention_names(ancestor.spec) == ("blocks.0.attn", "blocks.1.attn")
