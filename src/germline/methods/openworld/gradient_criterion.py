"""The gradient criterion: it counts gradients, and chooses the units that all tasks of a network share.

It works on the blocks of any architecture: conv units of a VGG, blocks of a ViT.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Literal

import torch
from torch import Tensor, nn

from germline.architectures import Spec, extract_features, on_meta_device
from germline.data import AnyImages, iterate_batches
from germline.errors import SettingError
from germline.network import Network
from germline.registry import architecture_of

CountingRule = Literal["scale-free", "positive"]
Heat = Sequence[Sequence[Sequence[float]]]  # by task, epoch and unit
MEDIAN_SAMPLE = 16_384  # number of elements for a median
DEAD_CHECK_IMAGES = 64  # number of images on which a dead unit gives constant outputs


def unit_weight_names(spec: Spec) -> tuple[tuple[str, ...], ...]:
    """List the full names of each unit's matrices and kernels; vectors are left out, as in the paper."""
    architecture = architecture_of(spec)
    with on_meta_device():
        shapes = {name: value.ndim for name, value in architecture.build(spec).named_parameters()}
    blocks = architecture.parts(spec).blocks
    return tuple(tuple(name for name in block.values() if shapes.get(name, 0) > 1) for block in blocks)


class GradientWatch(nn.Module):
    """Counts at each step the share of each unit's weights whose gradient is above a threshold.

    q(unit, epoch) = mean over steps of the share of |gradient| > epsilon. Source: arXiv 2106.06788. The paper's code
    counts positive gradients alone, above a number set by hand (`positive`). Here sizes of gradients count, and epsilon
    is the median over all units in the first task (`scale-free`). The scale of the loss then does not matter.

    Attributes:
        epsilon: Threshold; in the first task the mean over the steps so far.
        counted: Sums of shares [epochs, units].
        steps: Number of steps by epoch [epochs].
    """

    def __init__(
        self,
        units: Sequence[Sequence[str]],
        *,
        steps: int,
        epoch: int,
        epsilon: float | None,
        rule: CountingRule = "scale-free",
    ) -> None:
        """Prepare the counts of one task.

        Args:
            units: Names of each unit's weights.
            steps: Number of steps of the task.
            epoch: Number of steps of an epoch.
            epsilon: Threshold; None finds it during the task, as the running mean of the steps' medians.
            rule: Rule of counting.

        Raises:
            SettingError: `positive` without a threshold.
        """
        super().__init__()
        if rule == "positive" and epsilon is None:
            raise SettingError(
                "criterion=positive without epsilon", "It counts gradients above a number", "Set epsilon=5e-10"
            )
        self._units, self._epoch, self._finds = units, epoch, epsilon is None
        self._sign = rule == "positive"
        epochs = max(1, math.ceil(steps / epoch))
        self.epsilon: Tensor
        self.counted: Tensor
        self.steps: Tensor
        self.register_buffer("epsilon", torch.tensor(epsilon or 0.0))
        self.register_buffer("counted", torch.zeros(epochs, len(units)))
        self.register_buffer("steps", torch.zeros(epochs, dtype=torch.int64))

    @torch.no_grad()
    def record_step(self, model: nn.Module, step: int) -> None:
        """Count the gradients of a step, from 0; a parameter without a gradient counts as zeros."""
        parameters = dict(model.named_parameters())
        gradients = [[(parameters[name].grad, parameters[name].numel()) for name in unit] for unit in self._units]
        if self._finds:
            self._update_epsilon([gradient for unit in gradients for gradient, _ in unit if gradient is not None], step)
        shares = [self._share(unit) for unit in gradients]
        epoch = step // self._epoch
        self.counted[epoch] += torch.stack(shares)
        self.steps[epoch] += 1

    def rates(self) -> list[list[float]]:
        """Return q by epoch and unit."""
        rates: list[list[float]] = (self.counted / self.steps.clamp_min(1)[:, None]).tolist()
        return rates

    def _update_epsilon(self, gradients: Sequence[Tensor], step: int) -> None:
        if not gradients:
            return
        stride = max(1, sum(gradient.numel() for gradient in gradients) // MEDIAN_SAMPLE)
        sample = torch.cat([gradient.flatten()[::stride] for gradient in gradients]).abs()
        self.epsilon += (sample.float().median() - self.epsilon) / (step + 1)

    def _share(self, unit: Sequence[tuple[Tensor | None, int]]) -> Tensor:
        above = torch.zeros((), device=self.epsilon.device)
        for gradient, _ in unit:
            if gradient is not None:
                above += torch.count_nonzero((gradient if self._sign else gradient.abs()) > self.epsilon)
        return above / sum(count for _, count in unit)


@dataclass(frozen=True)
class WindowChoice:
    """The window that the gradient criterion chooses, with the scores of all.

    Attributes:
        start: First unit of the window, counted from 0.
        scores: Mean + standard deviation of q over the last half of the tasks, by unit.
        windows: Sum of the scores by first unit; None for a window that cannot be taken.
    """

    start: int
    scores: tuple[float, ...]
    windows: tuple[float | None, ...]


def choose_window(
    heat: Heat, size: int, *, dead: Collection[int] = (), fitting: Collection[int] | None = None
) -> WindowChoice:
    """Choose the contiguous window of units with the smallest and steadiest gradients.

    The last half of the tasks counts.

    Args:
        heat: q by task, epoch and unit.
        size: Number of units in the window.
        dead: Units with constant outputs. A window with a dead unit is refused, however small its gradients.
        fitting: First units of windows that may be taken; None for all.

    Raises:
        SettingError: No window is left.
    """
    by_task = [[fmean(column) for column in zip(*epochs, strict=True)] for epochs in heat]
    late = by_task[len(by_task) // 2 :]
    scores = tuple(fmean(rates) + pstdev(rates) for rates in zip(*late, strict=True))
    starts = range(len(scores) - size + 1)
    windows = tuple(
        None
        if (fitting is not None and start not in fitting) or set(range(start, start + size)) & set(dead)
        else sum(scores[start : start + size])
        for start in starts
    )
    known = {start: value for start, value in enumerate(windows) if value is not None}
    if not known:
        dead_text = ", ".join(str(unit + 1) for unit in sorted(dead)) or "none"
        raise SettingError(
            f"No window of {size} units can be taken",
            f"Of {len(scores)} units these are dead, with constant outputs: {dead_text}",
            "Set a lower rate for the collective, or use a smaller window",
        )
    return WindowChoice(min(known, key=lambda start: known[start]), scores, windows)


@torch.no_grad()
def find_dead_units(network: Network, images: AnyImages) -> tuple[int, ...]:
    """Find the units that give the same output for every image in evaluation; counted from 0.

    Raises:
        SettingError: No architecture knows the network.
    """
    if network.spec is None:
        raise SettingError(
            "This network is of no known architecture",
            "Its units have no names",
            "Use a network that germline can rebuild",
        )
    taps = architecture_of(network.spec).feature_names(network.spec)
    sample = images.subset(torch.linspace(0, len(images) - 1, min(DEAD_CHECK_IMAGES, len(images))).round().long())
    was_training = network.model.training
    network.model.eval()
    batch = next(iter(iterate_batches(sample, DEAD_CHECK_IMAGES)))
    _, features = extract_features(network.model, taps, network.preprocess(batch.pixels))
    network.model.train(was_training)
    return tuple(
        index
        for index, tap in enumerate(taps)
        if torch.equal(features[tap], features[tap][:1].expand_as(features[tap]))
    )
