"""The gradient through virtual steps against finite differences, and that virtual steps leave no trace."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from germline.methods.auto.bilevel import SgdRule, SgdState, compute_hypergradient, take_virtual_step

RULE = SgdRule(lr=0.05, momentum=0.9, weight_decay=0.01)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def started(weights, rule, seed=7):
    weights = {name: one.detach().clone().requires_grad_() for name, one in weights.items()}
    velocities = {name: 0.1 * drawn(seed, *one.shape) for name, one in weights.items()}
    return SgdState(weights, velocities, dict.fromkeys(weights, rule))


def linear():
    """A linear map; what is told weighs the pictures of the inner losses."""
    images, wanted = drawn(0, 6, 4), drawn(1, 6, 3)

    def inner(weights, told):
        apart = (images @ weights["w"] - wanted).square().mean(dim=1)
        return (torch.sigmoid(told["a"]) * apart).mean() + told["unused"].sum() * 0

    def outer(weights, _):
        return (images[:3] @ weights["w"]).pow(2).mean()

    told = {"a": drawn(2, 6), "unused": drawn(3, 2)}
    return started({"w": drawn(4, 4, 3), "idle": drawn(5, 2)}, RULE), [inner] * 3, outer, told


def network(model, seed, told):
    """A network whose features are drawn to some others, each channel as much as it is told."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model().double().train()
    images, labels, wanted = drawn(seed, 6, 2, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2]), drawn(seed + 1, 5)

    def logits(weights):
        copies = {name: buffer.clone() for name, buffer in model.named_buffers()}
        return functional_call(model, {**weights, **copies}, (images,))

    def inner(weights, hyper):
        return (hyper["a"].square() * (logits(weights)[:, :5] - wanted).square().mean(dim=0)).sum()

    def labelled(weights, _):
        return cross_entropy(logits(weights), labels)

    start = started(dict(model.named_parameters()), SgdRule(0.05, 0.9, 0.0, 0.01, True))
    return start, [inner, inner, labelled], labelled, told


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, images):
        return self.head(torch.tanh(self.norm(self.conv(images))).mean(dim=(2, 3)))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.norm, self.head = nn.Linear(8, 12), nn.LayerNorm(4), nn.Linear(4, 5)

    def forward(self, images):
        query, key, value = self.token(images.flatten(2).unflatten(2, (2, 8)).flatten(1, 2)).chunk(3, dim=-1)
        found = nn.functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        return self.head(nn.functional.gelu(self.norm(found)).mean(dim=1))


PROBLEMS = {
    "linear": linear,
    "convolutions": lambda: network(Convolved, 10, {"a": drawn(12, 5)}),
    "attention": lambda: network(Attending, 20, {"a": drawn(22, 5)}),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_agrees_with_finite_differences(name):
    start, inner, outer, told = PROBLEMS[name]()
    found, value = compute_hypergradient(start, inner, outer, told)

    def after(changed):
        return float(compute_hypergradient(start, inner, outer, changed)[1])

    assert after(told) == float(value)
    size, largest = 1e-5, max(float(one.abs().max()) for one in found.values())
    assert largest > 1e-6
    for key, tensor in told.items():
        for at in range(tensor.numel()):
            nudge = torch.zeros_like(tensor)
            nudge[at] = size
            up, down = (after({**told, key: tensor + sign * nudge}) for sign in (1, -1))
            assert float(found[key][at]) == pytest.approx((up - down) / (2 * size), rel=1e-4, abs=1e-4 * largest)


@pytest.mark.parametrize("nesterov", [True, False])
def test_virtual_steps_are_those_of_torch(nesterov):
    first, second = nn.Parameter(drawn(0, 3)), nn.Parameter(drawn(1, 2))
    groups = [{"params": [first], "weight_decay": 0.1}, {"params": [second], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=nesterov)
    for step in range(3):
        start = SgdState.of(optimizer, {"first": first, "second": second})
        gradients = {"first": drawn(step, 3), "second": None if step == 1 else drawn(step, 2)}
        there = take_virtual_step(start, gradients)
        first.grad, second.grad = gradients["first"], gradients["second"]
        optimizer.step()
        assert torch.allclose(there.weights["first"], first, rtol=1e-14)
        assert torch.allclose(there.weights["second"], second, rtol=1e-14)
        for name, one in (("first", first), ("second", second)):
            assert torch.allclose(there.velocities[name], optimizer.state[one]["momentum_buffer"], rtol=1e-14)


def test_more_steps_reach_further():
    start, inner, outer, told = linear()
    one, three = (compute_hypergradient(start, inner[:count], outer, told)[0]["a"] for count in (1, 3))
    none, value = compute_hypergradient(start, [], outer, told)
    assert three.norm() > one.norm() > 0
    assert none["a"].count_nonzero() == 0
    assert value == outer(start.weights, told)
