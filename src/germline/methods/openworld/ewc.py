"""Anchors: weights held near what they were, each as tightly as it is important."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from germline.data import AnyImages, Batch, in_order
from germline.network import Network
from germline.training import Objective
from germline.training.objectives import Forward, label_loss

_MAX_SCALE = 1e30  # beyond, a tensor's own numbers are at an end


class EwcPenalty(nn.Module):
    """A penalty of strength / 2 x sum of importance x (weight - anchor)^2, taken as a proximal step.

    After an optimiser step of rate r the weight goes to anchor + (weight - anchor) / (1 + r x strength x importance),
    the exact minimum of the penalty beside the squared distance gone, so no strength is too large. At `inf` all that
    is anchored is put back, buffers included; at 0 nothing is touched.

    Source of the penalty: elastic weight consolidation, Kirkpatrick et al., arXiv 1612.00796.
    """

    def __init__(self, values: Mapping[str, Tensor], importance: Mapping[str, Tensor], strength: float) -> None:
        """Set up.

        Args:
            values: What is anchored, by name in the network; tensors that training must not change.
            importance: Of parameters among them, of the same shapes; others are held by `inf` alone.
            strength: Of the penalty, 0 to infinity.
        """
        super().__init__()
        self.strength = strength
        self._values = {name: f"value_{index}" for index, name in enumerate(values)}
        self._importance = {name: f"importance_{index}" for index, name in enumerate(importance)}
        # They move with the module and are no part of what is trained or kept: they can be made again.
        for places, tensors in ((self._values, values), (self._importance, importance)):
            for name, place in places.items():
                self.register_buffer(place, tensors[name].detach().clone(), persistent=False)

    @torch.no_grad()
    def take_proximal_step(self, model: nn.Module, rate: float) -> None:
        """Bring a network back towards the anchor after a step of that rate."""
        if self.strength == 0:
            return
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        if math.isinf(self.strength):
            for name, place in self._values.items():
                tensors[name].copy_(self.get_buffer(place))
            return
        scale = min(rate * self.strength, _MAX_SCALE)
        for name, place in self._importance.items():
            value = self.get_buffer(self._values[name])
            tensors[name].copy_(value + (tensors[name] - value) / (1 + scale * self.get_buffer(place)))


def learning_rate_of(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the step that was just made; the loop has one for all weights."""
    return float(optimizer.param_groups[0]["lr"])


class EwcObjective(Objective):
    """Cross entropy, and an anchor."""

    def __init__(self, anchor: EwcPenalty) -> None:
        super().__init__()
        self.anchor = anchor

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The mean cross entropy, in nats; the penalty is no part of it."""
        return label_loss(network(batch.pixels), batch)

    def after(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """The proximal step."""
        self.anchor.take_proximal_step(model, learning_rate_of(first))


class EpochEwcObjective(Objective):
    """Cross entropy, and an anchor that is cast anew at the end of each epoch: the public code's drift damper.

    Anchor and importance are those of the weights and the gradient of an epoch's last batch; the first epoch has none.
    It holds nothing of what was inherited. Source: the public code of arXiv 2106.06788. The importance is the squared
    gradient of the batch times its size.
    """

    def __init__(self, model: nn.Module, names: list[str], strength: float, every: int) -> None:
        """Set up.

        Args:
            model: To be trained.
            names: Of the parameters that are anchored.
            strength: Of the penalty.
            every: Steps of an epoch.
        """
        super().__init__()
        self._names, self._strength, self._every, self._step, self._images = names, strength, every, 0, 0
        parameters = dict(model.named_parameters())
        for index, name in enumerate(names):
            self.register_buffer(f"value_{index}", parameters[name].detach().clone())
            self.register_buffer(f"importance_{index}", torch.zeros_like(parameters[name]))

    def begin(self, seed: int, name: str, step: int) -> None:
        """Which step it is says which epoch it is."""
        self._step = step

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The mean cross entropy, in nats."""
        self._images = len(batch.pixels)
        return label_loss(network(batch.pixels), batch)

    def after(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """The proximal step, and at the end of an epoch another anchor."""
        parameters = dict(model.named_parameters())
        cast = (self._step + 1) % self._every == 0
        for index, name in enumerate(self._names):
            weight = parameters[name]
            value, importance = self.get_buffer(f"value_{index}"), self.get_buffer(f"importance_{index}")
            if self._step >= self._every:
                scale = min(learning_rate_of(first) * self._strength, _MAX_SCALE)
                weight.copy_(value + (weight - value) / (1 + scale * importance))
            if cast:
                value.copy_(weight)
                importance.copy_(self._images * weight.grad.square() if weight.grad is not None else 0 * weight)


def estimate_fisher(
    network: Network, columns: Tensor, images: AnyImages, count: int, source: torch.Generator
) -> dict[str, Tensor]:
    """The diagonal of the Fisher information, by parameter name: how much the network's answers hang on each weight.

    Mean over pictures of the squared gradient of log p(y | picture), y drawn from the network's own answer; picture by
    picture, in evaluation mode.

    Args:
        network: Stays as it is.
        columns: Outputs that the answer is over, int64 [K].
        images: To draw from.
        count: Pictures drawn, at most.
        source: Draws pictures and answers.
    """
    parameters = dict(network.model.named_parameters())
    found = {name: torch.zeros_like(value) for name, value in parameters.items()}
    drawn = images.subset(torch.randperm(len(images), generator=source)[:count])
    network.model.eval()
    for batch in in_order(drawn, 1, next(iter(parameters.values())).device):
        words = log_softmax(network.model(network.preprocess(batch.pixels))[0, columns], dim=0)
        answer = torch.multinomial(words.detach().exp().cpu(), 1, generator=source)
        gradients = torch.autograd.grad(words[int(answer)], list(parameters.values()), allow_unused=True)
        for name, own in zip(parameters, gradients, strict=True):
            if own is not None:
                found[name] += own.square() / len(drawn)
    return found


def normalise_importance(importance: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An importance whose mean over all its elements is 1, so that strengths compare; all ones where it is nothing.

    Source: Progress & Compress, Schwarz et al., arXiv 1805.06370, which does so task by task.
    """
    total = float(sum(own.double().sum() for own in importance.values()))
    mean = total / max(1, sum(own.numel() for own in importance.values()))
    if not mean:
        return {name: torch.ones_like(own) for name, own in importance.items()}
    return {name: (own.double() / mean).to(own.dtype) for name, own in importance.items()}
