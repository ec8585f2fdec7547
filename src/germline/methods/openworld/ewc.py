"""Elastic weight consolidation (EWC): weights are pulled towards earlier values, each by its importance."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from germline.data import AnyImages, Batch, iterate_batches
from germline.network import Network
from germline.training import CrossEntropy
from germline.training.objectives import Forward

_MAX_SCALE = 1e30  # larger scales would overflow the numbers of a tensor


class EwcPenalty(nn.Module):
    """EWC penalty of Kirkpatrick et al., arXiv 1612.00796, taken as a proximal step.

    The penalty is strength / 2 x sum of importance x (weight - anchor)^2. The proximal anchor is the earlier value of
    the weight. After an optimiser step of rate r the weight becomes

        anchor + (weight - anchor) / (1 + r x strength x importance).

    That is the exact minimum of the penalty plus the squared distance to the weight, so no strength is too large. At
    `inf` all anchored tensors are put back, buffers included. At 0 nothing changes.
    """

    def __init__(self, values: Mapping[str, Tensor], importance: Mapping[str, Tensor], strength: float) -> None:
        """Copy the anchors and their importance.

        Args:
            values: Anchors, by name in the network.
            importance: Importance of the parameters among them, in the same shapes. Other tensors are only pulled at
                `inf`.
            strength: Strength of the penalty, from 0 to infinity.
        """
        super().__init__()
        self.strength = strength
        self._values = {name: f"value_{index}" for index, name in enumerate(values)}
        self._importance = {name: f"importance_{index}" for index, name in enumerate(importance)}
        # Buffers move with the module. They are not saved, because they can be made again.
        for places, tensors in ((self._values, values), (self._importance, importance)):
            for name, place in places.items():
                self.register_buffer(place, tensors[name].detach().clone(), persistent=False)

    @torch.no_grad()
    def take_proximal_step(self, model: nn.Module, rate: float) -> None:
        """Pull a network towards the anchors after an optimiser step of that rate."""
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
    """Return the learning rate of the last step; the training loop has one for all weights."""
    return float(optimizer.param_groups[0]["lr"])


class EwcObjective(CrossEntropy):
    """Cross entropy, with a proximal step of the EWC penalty after each optimiser step.

    Its value has no penalty. Label smoothing is that of the training settings.
    """

    def __init__(self, anchor: EwcPenalty) -> None:
        super().__init__(label_smoothing=None)
        self.anchor = anchor

    def after_step(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """Take the proximal step."""
        self.anchor.take_proximal_step(model, learning_rate_of(first))


class EpochEwcObjective(CrossEntropy):
    """Cross entropy with a proximal anchor that is renewed at the end of each epoch.

    Label smoothing is that of the training settings.

    Source: the drift damper in the public code of arXiv 2106.06788. Anchor and importance are those of the weights and
    the gradient of an epoch's last batch. The importance is the squared gradient of the batch times its size. The first
    epoch has no anchor. Inherited values play no part.
    """

    def __init__(self, model: nn.Module, names: list[str], strength: float, every: int) -> None:
        """Copy the parameters to anchor.

        Args:
            model: Model to train.
            names: Names of the parameters that are anchored.
            strength: Strength of the penalty.
            every: Number of steps of an epoch.
        """
        super().__init__(label_smoothing=None)
        self._names, self._strength, self._every, self._step, self._images = names, strength, every, 0, 0
        parameters = dict(model.named_parameters())
        for index, name in enumerate(names):
            self.register_buffer(f"value_{index}", parameters[name].detach().clone())
            self.register_buffer(f"importance_{index}", torch.zeros_like(parameters[name]))

    def before_step(self, seed: int, name: str, step: int) -> None:
        """Note the step, which tells the epoch."""
        self._step, self._images = step, 0

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Return the mean cross entropy in nats; a batch can come in parts."""
        self._images += len(batch.pixels)
        return super().forward(network, batch)

    def after_step(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """Take the proximal step, and renew the anchor at the end of an epoch."""
        parameters = dict(model.named_parameters())
        is_epoch_end = (self._step + 1) % self._every == 0
        for index, name in enumerate(self._names):
            weight = parameters[name]
            value, importance = self.get_buffer(f"value_{index}"), self.get_buffer(f"importance_{index}")
            if self._step >= self._every:
                scale = min(learning_rate_of(first) * self._strength, _MAX_SCALE)
                weight.copy_(value + (weight - value) / (1 + scale * importance))
            if is_epoch_end:
                value.copy_(weight)
                importance.copy_(self._images * weight.grad.square() if weight.grad is not None else 0 * weight)


def estimate_fisher(
    network: Network, columns: Tensor, images: AnyImages, count: int, source: torch.Generator
) -> dict[str, Tensor]:
    """Estimate the diagonal of the Fisher information, by parameter name.

    It is the mean over images of the squared gradient of log p(y | image). The class y is drawn from the network's own
    prediction. Images are taken one by one, in evaluation mode.

    Args:
        network: Network to measure, whose weights are not changed.
        columns: Outputs of the prediction, int64 [K].
        images: Images to draw from.
        count: Largest number of images to draw.
        source: Generator that draws images and classes.
    """
    parameters = dict(network.model.named_parameters())
    information = {name: torch.zeros_like(value) for name, value in parameters.items()}
    drawn = images.subset(torch.randperm(len(images), generator=source)[:count])
    network.model.eval()
    for batch in iterate_batches(drawn, 1, next(iter(parameters.values())).device):
        log_probabilities = log_softmax(network.model(network.preprocess(batch.pixels))[0, columns], dim=0)
        answer = torch.multinomial(log_probabilities.detach().exp().cpu(), 1, generator=source)
        gradients = torch.autograd.grad(log_probabilities[int(answer)], list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                information[name] += gradient.square() / len(drawn)
    return information


def normalise_importance(importance: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scale an importance to mean 1 over all its elements, so that strengths compare.

    An importance of zeros becomes all ones. Source: Progress & Compress, Schwarz et al., arXiv 1805.06370, which also
    scales task by task.
    """
    total = float(sum(value.double().sum() for value in importance.values()))
    mean = total / max(1, sum(value.numel() for value in importance.values()))
    if not mean:
        return {name: torch.ones_like(value) for name, value in importance.items()}
    return {name: (value.double() / mean).to(value.dtype) for name, value in importance.items()}
