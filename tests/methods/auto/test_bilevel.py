"""The gradient through virtual steps agrees with finite differences, and virtual steps with those of PyTorch."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from germline.methods.auto.bilevel import SgdRule, SgdState, compute_hypergradient, take_virtual_step

RULE = SgdRule(lr=0.05, momentum=0.9, weight_decay=0.01)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_state(weights, rule, seed=7):
    weights = {name: one.detach().clone().requires_grad_() for name, one in weights.items()}
    velocities = {name: 0.1 * draw(seed, *one.shape) for name, one in weights.items()}
    return SgdState(weights, velocities, dict.fromkeys(weights, rule))


def make_linear_problem():
    """A linear map; `hyper` has the weight of each image in the inner losses."""
    images, targets = draw(0, 6, 4), draw(1, 6, 3)

    def inner(weights, hyper):
        errors = (images @ weights["w"] - targets).square().mean(dim=1)
        return (torch.sigmoid(hyper["a"]) * errors).mean() + hyper["unused"].sum() * 0

    def outer(weights, _):
        return (images[:3] @ weights["w"]).pow(2).mean()

    hyper = {"a": draw(2, 6), "unused": draw(3, 2)}
    return make_state({"w": draw(4, 4, 3), "idle": draw(5, 2)}, RULE), [inner] * 3, outer, hyper


def make_network_problem(model, seed, hyper):
    """A network that matches random features; `hyper` has the weight of each channel in the inner losses."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model().double().train()
    images, labels, targets = draw(seed, 6, 2, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2]), draw(seed + 1, 5)

    def logits(weights):
        copies = {name: buffer.clone() for name, buffer in model.named_buffers()}
        return functional_call(model, {**weights, **copies}, (images,))

    def inner(weights, hyper):
        return (hyper["a"].square() * (logits(weights)[:, :5] - targets).square().mean(dim=0)).sum()

    def outer(weights, _):
        return cross_entropy(logits(weights), labels)

    start = make_state(dict(model.named_parameters()), SgdRule(0.05, 0.9, 0.0, 0.01, True))
    return start, [inner, inner, outer], outer, hyper


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, images):
        return self.head(torch.tanh(self.norm(self.conv(images))).mean(dim=(2, 3)))


class AttentionNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.norm, self.head = nn.Linear(8, 12), nn.LayerNorm(4), nn.Linear(4, 5)

    def forward(self, images):
        query, key, value = self.token(images.flatten(2).unflatten(2, (2, 8)).flatten(1, 2)).chunk(3, dim=-1)
        found = nn.functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        return self.head(nn.functional.gelu(self.norm(found)).mean(dim=1))


PROBLEMS = {
    "linear": make_linear_problem,
    "convolutions": lambda: make_network_problem(ConvNet, 10, {"a": draw(12, 5)}),
    "attention": lambda: make_network_problem(AttentionNet, 20, {"a": draw(22, 5)}),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_hypergradient_agrees_with_finite_differences(name):
    start, inner, outer, hyper = PROBLEMS[name]()
    gradient, value = compute_hypergradient(start, inner, outer, hyper)

    def outer_loss(changed):
        return float(compute_hypergradient(start, inner, outer, changed)[1])

    assert outer_loss(hyper) == float(value)
    size, largest = 1e-5, max(float(one.abs().max()) for one in gradient.values())
    assert largest > 1e-6
    for key, tensor in hyper.items():
        for at in range(tensor.numel()):
            change = torch.zeros_like(tensor)
            change[at] = size
            up, down = (outer_loss({**hyper, key: tensor + sign * change}) for sign in (1, -1))
            assert float(gradient[key][at]) == pytest.approx((up - down) / (2 * size), rel=1e-4, abs=1e-4 * largest)


@pytest.mark.parametrize("nesterov", [True, False])
def test_virtual_steps_equal_those_of_torch(nesterov):
    first, second = nn.Parameter(draw(0, 3)), nn.Parameter(draw(1, 2))
    groups = [{"params": [first], "weight_decay": 0.1}, {"params": [second], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=nesterov)
    for step in range(3):
        start = SgdState.of(optimizer, {"first": first, "second": second})
        gradients = {"first": draw(step, 3), "second": None if step == 1 else draw(step, 2)}
        after = take_virtual_step(start, gradients)
        first.grad, second.grad = gradients["first"], gradients["second"]
        optimizer.step()
        assert torch.allclose(after.weights["first"], first, rtol=1e-14)
        assert torch.allclose(after.weights["second"], second, rtol=1e-14)
        for name, one in (("first", first), ("second", second)):
            assert torch.allclose(after.velocities[name], optimizer.state[one]["momentum_buffer"], rtol=1e-14)


def test_more_inner_steps_give_a_larger_gradient():
    start, inner, outer, hyper = make_linear_problem()
    one, three = (compute_hypergradient(start, inner[:count], outer, hyper)[0]["a"] for count in (1, 3))
    none, value = compute_hypergradient(start, [], outer, hyper)
    assert three.norm() > one.norm() > 0
    assert none["a"].count_nonzero() == 0
    assert value == outer(start.weights, hyper)
