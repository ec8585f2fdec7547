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


def settings(**changes):
    given = {"form": "relu6", "inner": 2, "gamma": 1.0, "lr": 0.05, "weight_decay": 1e-4, "batches": "separate"}
    return BilevelSettings(**{**given, "absolute": False, "batch_size": 8, **changes})


def side_of(network):
    return FeatureSpec.of(
        network.model, network.spec, architecture_of(network.spec).feature_names(network.spec), network.preprocess
    )


def objective(ancestor, network, pico, grid=4, steps=6, **changes):
    elder = AncestorFeatures(ancestor, side_of(ancestor), grid)
    with use_generator(generator(0, "projections")):
        matched = ProjectedNetwork(network, side_of(network), elder.side, grid)
    even = torch.arange(0, len(pico.train), 2)
    task = PseudoTask(pico.train.subset(even), pico.train.subset(even + 1), Augment(pico.augmentation), 3)
    return PseudoDescendant(elder, matched, task, settings(**changes), steps)


@pytest.mark.parametrize("form", ["relu6", "softplus", "constant"])
def test_weights_begin_at_one_and_stay_between_zero_and_six(form):
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


def test_a_pair_s_weight_depends_on_its_own_tap_alone():
    meta = MetaNetwork("relu6", (2, 3), 1)
    meta.weight.data.fill_(0.1)
    pooled = torch.zeros(1, 5)
    pooled[0, 3] = 2.0
    assert torch.allclose(meta(pooled), torch.tensor([[[1.0, 1.2]]]))


def test_the_matching_loss_by_hand():
    widths = (1, 2)
    ours = [torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).repeat(2, 1, 2, 2)]
    extract = AncestorOutputs([torch.zeros(2, 3, 2, 2)], torch.zeros(2, 3))
    weights = torch.tensor([[[2.0, 1.0]], [[4.0, 0.0]]])
    # squared: 1 and (4 + 9) / 2; absolute: 1 and 5 / 2; the mean of both pictures
    squared = compute_matching_loss(ours, extract, weights, make_owner_table(widths), absolute=False)
    absolute = compute_matching_loss(ours, extract, weights, make_owner_table(widths), absolute=True)
    assert float(squared) == pytest.approx((2 + 6.5 + 4) / 2)
    assert float(absolute) == pytest.approx((2 + 2.5 + 4) / 2)


def test_tokens_become_maps_without_the_class_token(make_network):
    network = make_network(class_token=True)
    side = side_of(network)
    assert side.widths == (16, 16)
    tokens = torch.randn(2, 17, 16)
    (first, second) = side.maps(dict.fromkeys(side.taps, tokens))
    assert first.shape == second.shape == (2, 16, 4, 4)
    assert torch.equal(first[1, :, 0, 1], tokens[1, 2])


def test_where_the_ancestor_has_other_sizes_its_maps_are_resized(ancestors, make_network, pico, pixels):
    conv, vit = ancestors["vgg"], make_network()
    elder = AncestorFeatures(conv, side_of(conv))
    extract = elder.extract(pixels, [(4, 4), (2, 2)])
    whole = sum(elder.side.widths)
    assert [tuple(one.shape) for one in extract.targets] == [(8, whole, 4, 4), (8, whole, 2, 2)]
    assert extract.pooled.shape == (8, whole)
    matched = ProjectedNetwork(vit, side_of(vit), elder.side)
    logits, projected = matched(pixels)
    assert torch.equal(logits, vit.logits(pixels))
    assert [one.shape[1] for one in projected] == [whole] * 2
    alike = ProjectedNetwork(vit, side_of(vit), side_of(make_network(seed=1)))
    assert not list(alike.projections.parameters())  # tokens of one width stay as they are
    bounded = AncestorFeatures(conv, elder.side, 2).extract(pixels, [(2, 2)]).targets[0]
    assert torch.allclose(bounded.mean(dim=(2, 3)), extract.pooled, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "vgg", "resnet12", "resnet"])
def test_virtual_steps_leave_no_trace(name, ancestors, pico):
    ancestor = ancestors[name]
    spec = ancestor.spec
    with use_generator(generator(1, "pseudo")):
        model = architecture_of(spec).build(spec).train()
    network = type(ancestor)(model, ancestor.preprocess, ancestor.classes, spec=spec)
    made = objective(ancestor, network, pico, absolute=name == "vit")
    batch = made._make_loaders()[0].batch(5)
    first = torch.optim.SGD([*model.parameters(), *made.projections.parameters()], lr=0.01, momentum=0.9)
    made.before_step(0, "pseudo", 0)
    made(network.logits, batch).backward()
    first.step()
    first.zero_grad()
    elder = {key: one.clone() for key, one in ancestor.model.state_dict().items()}
    before = {key: one.clone() for key, one in (model.state_dict() | made.state_dict()).items()}
    momenta = [state["momentum_buffer"].clone() for state in first.state.values()]
    made.after_step(model, first)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
    own = made.state_dict()
    assert all(torch.equal(own[key], before[key]) for key in own.keys() - {"sums", "counts"})
    assert all(torch.equal(s["momentum_buffer"], m) for s, m in zip(first.state.values(), momenta, strict=True))
    assert all(torch.equal(one, elder[key]) for key, one in ancestor.model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in made.meta.parameters())


def fitted(folder, ancestor, network, pico, made):
    run = Run(folder, device="cpu", quiet=True)
    return run.fit("pseudo", network, made, pico.train, SGD, val=pico.val, augmentation=pico.augmentation)


@pytest.mark.parametrize(("name", "precision"), [("vit", "bf16-true"), ("vgg", "bf16-true"), ("vgg", "bf16-mixed")])
def test_virtual_steps_are_float32_in_every_precision(name, precision, ancestors, pico, monkeypatch):
    ancestor = ancestors[name]
    losses, seen = {}, set()
    whole = PseudoDescendant._call_with

    def call(self, weights, pixels):
        seen.update(weight.dtype for weight in weights.values())
        return whole(self, weights, pixels)

    monkeypatch.setattr(PseudoDescendant, "_call_with", call)
    for kind in ("32-true", precision):
        with use_generator(generator(1, "pseudo")):
            model = architecture_of(ancestor.spec).build(ancestor.spec)
        network = type(ancestor)(model, ancestor.preprocess, ancestor.classes, spec=ancestor.spec)
        made = objective(ancestor, network, pico, inner=1, form="softplus")
        run, start = Run(None, device="cpu", precision=kind, quiet=True), made.meta.bias.clone()
        result = run.fit("pseudo", network, made, pico.train, SGD.model_copy(update={"steps": 1}))
        losses[kind] = result.losses[-1][1]
        # Adam's first step is the learning rate wherever there is a gradient.
        assert torch.allclose((made.meta.bias - start).abs(), torch.full((), 0.05), rtol=0.05), kind
    assert seen == {torch.float32}
    assert losses[precision] == pytest.approx(losses["32-true"], abs=0.05)
    assert losses[precision] != losses["32-true"]


def test_its_training_resumes_to_the_bit(ancestors, pico, make_network, tmp_path):
    ancestor = ancestors["vit"]

    def state(folder, stop=None):
        network = make_network(seed=5)
        made = objective(ancestor, network, pico)
        if stop is not None:
            step, whole = [0], made.after_step

            def after(model, first):
                step[0] += 1
                if step[0] > stop:
                    raise KeyboardInterrupt
                whole(model, first)

            made.after_step = after
            with pytest.raises(KeyboardInterrupt):
                fitted(folder, ancestor, network, pico, made)
            return None
        fitted(folder, ancestor, network, pico, made)
        return {**network.model.state_dict(), **made.state_dict()}

    alone = state(tmp_path / "alone")
    state(tmp_path / "killed", stop=4)
    assert list((tmp_path / "killed/pseudo/checkpoints").glob("*/second.safetensors"))
    killed = state(tmp_path / "killed")
    finished = state(tmp_path / "killed")  # what a finished phase is read back as
    assert alone.keys() == killed.keys() == finished.keys()
    assert all(torch.equal(one, killed[key]) and torch.equal(one, finished[key]) for key, one in alone.items())
    assert float((alone["meta.bias"] - 1).abs().max()) > 0.01
    assert alone["counts"].sum() == SGD.steps


def test_scores_are_means_of_the_last_quarter(ancestors, pico, make_network):
    made = objective(ancestors["vit"], make_network(), pico, steps=4)
    made.sums.copy_(torch.arange(16.0).view(4, 2, 2))
    made.counts.fill_(2)
    assert torch.equal(made.scores(), torch.tensor([[6.0, 7.0], [6.5, 7.5]]))
    assert [step for step, _ in made.history()] == [1, 2, 3, 4]
    assert torch.equal(made.history()[1][1], torch.tensor([[2.0, 3.0], [2.5, 3.5]]))


def test_it_is_said_when_all_pairs_are_dead(ancestors, pico, make_network, caplog):
    ancestor, network = ancestors["vit"], make_network(seed=5)
    made = objective(ancestor, network, pico)
    made.meta.bias.data.fill_(-9.0)
    with caplog.at_level(logging.WARNING, "germline"):
        fitted(None, ancestor, network, pico, made)
    assert made.dead == SGD.steps
    assert [record.message for record in caplog.records if "had weight 0" in record.message] == [
        "All pairs of layers had weight 0 in 1 steps. Use meta=softplus."
    ]


def test_the_literal_form_keeps_its_first_meta_batch(ancestors, pico, make_network):
    ancestor = ancestors["vit"]
    batches = {}
    for kind in ("separate", "fixed"):
        made = objective(ancestor, make_network(seed=5), pico, batches=kind)
        seen = []
        for step in range(2):
            made.before_step(0, "pseudo", step)
            seen.append(made._meta_batch.pixels)
        batches[kind] = torch.equal(*seen)
    assert batches == {"separate": False, "fixed": True}
