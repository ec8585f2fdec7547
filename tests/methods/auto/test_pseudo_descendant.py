"""The meta-network, the matching loss, and the pseudo descendant's training."""

import logging

import pytest
import torch

from germline.data import Augment
from germline.methods.auto.meta_network import (
    AncestorFeatures,
    AncestorOutputs,
    FeatureSpec,
    MetaNetwork,
    ProjectedNetwork,
    compute_matching_loss,
    make_owner_table,
)
from germline.methods.auto.pseudo_descendant import BilevelSettings, PseudoDescendant, PseudoTask
from germline.randomness import generator, use_generator
from germline.registry import architecture_of
from germline.training import Run, TrainSettings

SGD = TrainSettings(steps=6, batch_size=8, optimizer="sgd", lr=0.02, weight_decay=1e-3, checkpoint_every=2, log_every=1)


def make_settings(**changes):
    given = {"form": "relu6", "inner": 2, "gamma": 1.0, "lr": 0.05, "weight_decay": 1e-4, "batches": "separate"}
    return BilevelSettings(**{**given, "absolute": False, "batch_size": 8, **changes})


def make_feature_spec(network):
    return FeatureSpec.of(
        network.model, network.spec, architecture_of(network.spec).feature_names(network.spec), network.preprocess
    )


def make_objective(ancestor, network, pico, grid=4, steps=6, **changes):
    features = AncestorFeatures(ancestor, make_feature_spec(ancestor), grid)
    with use_generator(generator(0, "projections")):
        matched = ProjectedNetwork(network, make_feature_spec(network), features.side, grid)
    even = torch.arange(0, len(pico.train), 2)
    task = PseudoTask(pico.train.subset(even), pico.train.subset(even + 1), Augment(pico.augmentation), 3)
    return PseudoDescendant(features, matched, task, make_settings(**changes), steps)


@pytest.mark.parametrize("form", ["relu6", "softplus", "constant"])
def test_weights_start_at_one_and_stay_between_zero_and_six(form):
    meta = MetaNetwork(form, (3, 5), 4)
    pooled = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    assert meta(pooled).shape == (7, 4, 2)
    assert torch.allclose(meta(pooled), torch.ones(()), atol=1e-6)
    for name, parameter in meta.named_parameters():
        assert not parameter.requires_grad, name
        parameter.data = 20 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    found = meta(pooled)
    assert 0 <= float(found.min()) < 1
    assert 5 < float(found.max()) <= 6
    assert (found.std(dim=0) > 0).any() == (form != "constant")


def test_weight_of_a_pair_depends_only_on_its_own_tap():
    meta = MetaNetwork("relu6", (2, 3), 1)
    meta.weight.data.fill_(0.1)
    pooled = torch.zeros(1, 5)
    pooled[0, 3] = 2.0
    assert torch.allclose(meta(pooled), torch.tensor([[[1.0, 1.2]]]))


def test_matching_loss_equals_hand_calculation():
    widths = (1, 2)
    ours = [torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).repeat(2, 1, 2, 2)]
    extract = AncestorOutputs([torch.zeros(2, 3, 2, 2)], torch.zeros(2, 3))
    weights = torch.tensor([[[2.0, 1.0]], [[4.0, 0.0]]])
    # squared: 1 and (4 + 9) / 2; absolute: 1 and 5 / 2; the loss is the mean over both images
    squared = compute_matching_loss(ours, extract, weights, make_owner_table(widths), absolute=False)
    absolute = compute_matching_loss(ours, extract, weights, make_owner_table(widths), absolute=True)
    assert float(squared) == pytest.approx((2 + 6.5 + 4) / 2)
    assert float(absolute) == pytest.approx((2 + 2.5 + 4) / 2)


def test_tokens_become_maps_without_the_class_token(make_network):
    network = make_network(class_token=True)
    side = make_feature_spec(network)
    assert side.widths == (16, 16)
    tokens = torch.randn(2, 17, 16)
    (first, second) = side.maps(dict.fromkeys(side.taps, tokens))
    assert first.shape == second.shape == (2, 16, 4, 4)
    assert torch.equal(first[1, :, 0, 1], tokens[1, 2])


def test_ancestor_maps_are_resized_to_the_network_s_sizes(ancestors, make_network, pico, pixels):
    conv, vit = ancestors["vgg"], make_network()
    features = AncestorFeatures(conv, make_feature_spec(conv))
    extract = features.extract(pixels, [(4, 4), (2, 2)])
    channels = sum(features.side.widths)
    assert [tuple(one.shape) for one in extract.targets] == [(8, channels, 4, 4), (8, channels, 2, 2)]
    assert extract.pooled.shape == (8, channels)
    matched = ProjectedNetwork(vit, make_feature_spec(vit), features.side)
    logits, projected = matched(pixels)
    assert torch.equal(logits, vit.logits(pixels))
    assert [one.shape[1] for one in projected] == [channels] * 2
    same_width = ProjectedNetwork(vit, make_feature_spec(vit), make_feature_spec(make_network(seed=1)))
    assert not list(same_width.projections.parameters())  # tokens of the same width need no projection
    bounded = AncestorFeatures(conv, features.side, 2).extract(pixels, [(2, 2)]).targets[0]
    assert torch.allclose(bounded.mean(dim=(2, 3)), extract.pooled, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "vgg", "resnet12", "resnet"])
def test_virtual_steps_change_only_sums_and_counts(name, ancestors, pico):
    ancestor = ancestors[name]
    spec = ancestor.spec
    with use_generator(generator(1, "pseudo")):
        model = architecture_of(spec).build(spec).train()
    network = type(ancestor)(model, ancestor.preprocess, ancestor.classes, spec=spec)
    objective = make_objective(ancestor, network, pico, absolute=name == "vit")
    batch = objective._make_loaders()[0].batch(5)
    first = torch.optim.SGD([*model.parameters(), *objective.projections.parameters()], lr=0.01, momentum=0.9)
    objective.before_step(0, "pseudo", 0)
    objective(network.logits, batch).backward()
    first.step()
    first.zero_grad()
    ancestor_before = {key: one.clone() for key, one in ancestor.model.state_dict().items()}
    before = {key: one.clone() for key, one in (model.state_dict() | objective.state_dict()).items()}
    velocities = [state["momentum_buffer"].clone() for state in first.state.values()]
    objective.after_step(model, first)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
    own = objective.state_dict()
    assert all(torch.equal(own[key], before[key]) for key in own.keys() - {"sums", "counts"})
    assert all(torch.equal(s["momentum_buffer"], v) for s, v in zip(first.state.values(), velocities, strict=True))
    assert all(torch.equal(one, ancestor_before[key]) for key, one in ancestor.model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in objective.meta.parameters())


def fit(folder, ancestor, network, pico, objective):
    run = Run(folder, device="cpu", quiet=True)
    return run.fit("pseudo", network, objective, pico.train, SGD, val=pico.val, augmentation=pico.augmentation)


@pytest.mark.parametrize(("name", "precision"), [("vit", "bf16-true"), ("vgg", "bf16-true"), ("vgg", "bf16-mixed")])
def test_virtual_steps_are_float32_in_every_precision(name, precision, ancestors, pico, monkeypatch):
    ancestor = ancestors[name]
    losses, seen = {}, set()
    original = PseudoDescendant._call_with

    def call(self, weights, pixels):
        seen.update(weight.dtype for weight in weights.values())
        return original(self, weights, pixels)

    monkeypatch.setattr(PseudoDescendant, "_call_with", call)
    for kind in ("32-true", precision):
        with use_generator(generator(1, "pseudo")):
            model = architecture_of(ancestor.spec).build(ancestor.spec)
        network = type(ancestor)(model, ancestor.preprocess, ancestor.classes, spec=ancestor.spec)
        objective = make_objective(ancestor, network, pico, inner=1, form="softplus")
        run, start = Run(None, device="cpu", precision=kind, quiet=True), objective.meta.bias.clone()
        result = run.fit("pseudo", network, objective, pico.train, SGD.model_copy(update={"steps": 1}))
        losses[kind] = result.losses[-1][1]
        # Adam's first step is the learning rate wherever there is a gradient.
        assert torch.allclose((objective.meta.bias - start).abs(), torch.full((), 0.05), rtol=0.05), kind
    assert seen == {torch.float32}
    assert losses[precision] == pytest.approx(losses["32-true"], abs=0.05)
    assert losses[precision] != losses["32-true"]


def test_killed_training_resumes_bit_for_bit(ancestors, pico, make_network, tmp_path):
    ancestor = ancestors["vit"]

    def train(folder, stop=None):
        network = make_network(seed=5)
        objective = make_objective(ancestor, network, pico)
        if stop is not None:
            step, original = [0], objective.after_step

            def after_step(model, first):
                step[0] += 1
                if step[0] > stop:
                    raise KeyboardInterrupt
                original(model, first)

            objective.after_step = after_step
            with pytest.raises(KeyboardInterrupt):
                fit(folder, ancestor, network, pico, objective)
            return None
        fit(folder, ancestor, network, pico, objective)
        return {**network.model.state_dict(), **objective.state_dict()}

    uninterrupted = train(tmp_path / "uninterrupted")
    train(tmp_path / "killed", stop=4)
    assert list((tmp_path / "killed/pseudo/checkpoints").glob("*/second.safetensors"))
    resumed = train(tmp_path / "killed")
    loaded = train(tmp_path / "killed")  # a finished phase is loaded, not trained again
    assert uninterrupted.keys() == resumed.keys() == loaded.keys()
    assert all(torch.equal(one, resumed[key]) and torch.equal(one, loaded[key]) for key, one in uninterrupted.items())
    assert float((uninterrupted["meta.bias"] - 1).abs().max()) > 0.01
    assert uninterrupted["counts"].sum() == SGD.steps


def test_scores_are_means_over_the_last_quarter_of_steps(ancestors, pico, make_network):
    objective = make_objective(ancestors["vit"], make_network(), pico, steps=4)
    objective.sums.copy_(torch.arange(16.0).view(4, 2, 2))
    objective.counts.fill_(2)
    assert torch.equal(objective.scores(), torch.tensor([[6.0, 7.0], [6.5, 7.5]]))
    assert [step for step, _ in objective.history()] == [1, 2, 3, 4]
    assert torch.equal(objective.history()[1][1], torch.tensor([[2.0, 3.0], [2.5, 3.5]]))


def test_training_warns_when_all_pairs_have_weight_zero(ancestors, pico, make_network, caplog):
    ancestor, network = ancestors["vit"], make_network(seed=5)
    objective = make_objective(ancestor, network, pico)
    objective.meta.bias.data.fill_(-9.0)
    with caplog.at_level(logging.WARNING, "germline"):
        fit(None, ancestor, network, pico, objective)
    assert objective.dead == SGD.steps
    assert [record.message for record in caplog.records if "had weight 0" in record.message] == [
        "All pairs of layers had weight 0 in 1 steps. Use meta=softplus."
    ]


def test_fixed_batches_keep_the_first_meta_batch(ancestors, pico, make_network):
    ancestor = ancestors["vit"]
    batches = {}
    for kind in ("separate", "fixed"):
        objective = make_objective(ancestor, make_network(seed=5), pico, batches=kind)
        seen = []
        for step in range(2):
            objective.before_step(0, "pseudo", step)
            seen.append(objective._meta_batch.pixels)
        batches[kind] = torch.equal(*seen)
    assert batches == {"separate": False, "fixed": True}
