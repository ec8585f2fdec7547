"""Matching of an ancestor's feature maps with another network's, with a learnt weight for each pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu6, softplus

from germline.architectures import Preprocess, Spec, TransformerSpec, extract_features
from germline.network import Network
from germline.registry import architecture_of

MetaForm = Literal["relu6", "softplus", "constant"]
MAX_WEIGHT = 6.0  # of a pair
STEEPNESS = 10.0  # of the softplus in the form `constant`
_ONE = math.log(math.e - 1)  # softplus of this is 1


@dataclass(frozen=True)
class FeatureSpec:
    """Modules whose outputs are matched, and their shapes.

    Attributes:
        taps: Names of the modules.
        widths: Number of channels of each module's maps.
        spec: Spec of the network, whose architecture turns outputs into maps; None if they are maps already.
    """

    taps: tuple[str, ...]
    widths: tuple[int, ...]
    spec: Spec | None = None

    @classmethod
    def of(cls, model: nn.Module, spec: Spec, taps: Sequence[str], preprocess: Preprocess) -> FeatureSpec:
        """Find the widths by a forward pass of an empty image."""
        device = next(model.parameters()).device
        pixels = torch.zeros(1, preprocess.channels, preprocess.image_size, preprocess.image_size, device=device)
        mode = model.training
        with torch.no_grad():
            _, outputs = extract_features(model.eval(), taps, pixels)
        model.train(mode)
        architecture = architecture_of(spec)
        widths = tuple(architecture.as_maps(spec, outputs[tap]).shape[1] for tap in taps)
        return cls(tuple(taps), widths, spec)

    def maps(self, outputs: dict[str, Tensor]) -> list[Tensor]:
        """Return module outputs as maps [B, C, H, W], in the order of `taps`."""
        selected = [outputs[tap] for tap in self.taps]
        if self.spec is None:
            return selected
        architecture = architecture_of(self.spec)
        return [architecture.as_maps(self.spec, features) for features in selected]


@dataclass(frozen=True)
class AncestorOutputs:
    """The ancestor's feature maps of a batch, all layers together.

    Attributes:
        targets: For each tap of the other network, the ancestor's maps [B, sum of widths, h, w] at that tap's size. The
            channels of all the ancestor's taps are concatenated.
        pooled: Means of the maps over all places [B, sum of widths], before resizing.
    """

    targets: list[Tensor]
    pooled: Tensor


@dataclass(frozen=True)
class AncestorFeatures:
    """A frozen ancestor whose feature maps are read.

    Attributes:
        network: The ancestor, in eval mode.
        side: Modules whose outputs are read.
        grid: Largest height and width at which maps are matched; None for the other network's sizes.
    """

    network: Network
    side: FeatureSpec
    grid: int | None = None

    @torch.no_grad()
    def extract(self, pixels: Tensor, sizes: Sequence[tuple[int, int]]) -> AncestorOutputs:
        """Return the ancestor's maps of pixels [B, C, H, W] in [0, 1], resized to each height and width.

        Resizing is bilinear, as published. Maps that `grid` makes smaller are averaged instead.
        """
        network = self.network
        maps = [one.float() for one in self.side.maps(self._taps(network, pixels))]
        resized = {size: torch.cat([self._resize(one, size) for one in maps], dim=1) for size in dict.fromkeys(sizes)}
        pooled = torch.cat([one.mean(dim=(2, 3)) for one in maps], dim=1)
        return AncestorOutputs([resized[size] for size in sizes], pooled)

    def _taps(self, network: Network, pixels: Tensor) -> dict[str, Tensor]:
        return extract_features(network.model, self.side.taps, network.preprocess(pixels))[1]

    def _resize(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        if maps.shape[-2:] == size:
            return maps
        if self.grid is not None and maps.shape[-1] > size[-1]:
            return adaptive_avg_pool2d(maps, size)
        return interpolate(maps, size=size, mode="bilinear", align_corners=False)


class MetaNetwork(nn.Module):
    """Weights of pairs in [0, 6] from the ancestor's pooled maps: one per image and pair.

    `relu6`: ReLU6(a . pooled + b). `softplus`: the same with softplus, clipped at 6; its gradient never vanishes
    below 6. `constant`: softplus(10 b), clipped at 6, the same for all images. Every pair starts with weight 1.

    Its parameters have `requires_grad` off, since they belong to the second optimiser.

    Source: arXiv 2305.02279. Departure: a starts at zero, so that all pairs start equal and every difference is
    learnt.

    Attributes:
        weight: [taps of the other network, sum of the ancestor's widths].
        bias: [taps of the other network, the ancestor's taps].
    """

    def __init__(self, form: MetaForm, widths: Sequence[int], others: int) -> None:
        """Create the parameters.

        Args:
            form: Function that gives the weights.
            widths: Number of channels of each of the ancestor's taps.
            others: Number of taps of the other network.
        """
        super().__init__()
        self.form = form
        start = {"relu6": 1.0, "softplus": _ONE, "constant": _ONE / STEEPNESS}[form]
        if form != "constant":
            self.weight = nn.Parameter(torch.zeros(others, sum(widths)), requires_grad=False)
        self.bias = nn.Parameter(torch.full((others, len(widths)), start), requires_grad=False)
        self.owner: Tensor
        self.register_buffer("owner", make_owner_table(widths), persistent=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return weights [B, taps of the other network, the ancestor's taps] for pooled maps [B, sum of widths]."""
        if self.form == "constant":
            return softplus(STEEPNESS * self.bias).clamp(max=MAX_WEIGHT).expand(len(pooled), -1, -1)
        raw = (pooled[:, None] * self.weight) @ self.owner + self.bias
        return relu6(raw) if self.form == "relu6" else softplus(raw).clamp(max=MAX_WEIGHT)


def make_owner_table(widths: Sequence[int]) -> Tensor:
    """Return a table [sum of widths, taps] with 1 where a channel belongs to a tap, and 0 elsewhere."""
    return torch.repeat_interleave(torch.eye(len(widths)), torch.tensor(widths), dim=0)


class ProjectedNetwork(nn.Module):
    """A network that returns its answers and its maps, projected to the ancestor's widths.

    Answers are its logits. With a feature map they are mapped features or last tokens instead.

    Projections are 1x1 convolutions, which equal linear maps of tokens. Tokens of the ancestor's own width are not
    projected.

    Attributes:
        model: The network.
        projections: One module per tap, from [B, C, H, W] to [B, sum of the ancestor's widths, H, W].
        feature_map: Map from pooled features or last tokens to the ancestor's; None for logits.
    """

    feature_map: nn.Module | None

    def __init__(self, network: Network, side: FeatureSpec, ancestor: FeatureSpec, grid: int | None = None) -> None:
        """Create the projections with the global random generator.

        Args:
            network: Network whose maps are matched.
            side: Features of that network.
            ancestor: Features of the ancestor.
            grid: Largest height and width of matched maps. Larger maps are averaged, which costs far less.
        """
        super().__init__()
        self.model = network.model
        self._preprocess, self._side, self._grid = network.preprocess, side, grid
        self.feature_map = None
        self._token_tap: str | None = None
        tokens = isinstance(network.spec, TransformerSpec)
        self.projections = nn.ModuleList(
            RepeatChannels(len(ancestor.widths))
            if tokens and set(ancestor.widths) == {width}
            else nn.Conv2d(width, sum(ancestor.widths), 1)
            for width in side.widths
        )

    def answer_features(self, feature_map: nn.Module, tap: str | None) -> None:
        """Answer with mapped features.

        Args:
            feature_map: Map to the ancestor's width, trained with the network.
            tap: Module whose output is mapped, arranged as maps; None for the outputs of a network without a head.
        """
        self.feature_map = feature_map
        self._token_tap = tap

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return answers, usually logits [B, classes], and the projected maps of each tap."""
        return self.extract(pixels, None)

    def extract(self, pixels: Tensor, run: Any) -> tuple[Tensor, list[Tensor]]:
        """Do the same as `forward`, with `run(pixels)` called instead of the network."""
        tap, spec = self._token_tap, self._side.spec
        taps = self._side.taps if tap is None else (*self._side.taps, tap)
        answers, outputs = extract_features(
            self.model, taps, self._preprocess(pixels) if run is None else pixels, run=run
        )
        if self.feature_map is not None:
            if tap is not None and spec is not None:
                answers = architecture_of(spec).as_maps(spec, outputs[tap])
            answers = self.feature_map(answers.float())
        return answers, self._project(outputs)

    def sizes(self, pixels: Tensor) -> list[tuple[int, int]]:
        """Return height and width of the maps at each tap."""
        mode = self.model.training
        images = self._preprocess(pixels[:1]).to(next(self.model.parameters()).dtype)
        with torch.no_grad():
            _, outputs = extract_features(self.model.eval(), self._side.taps, images)
        self.model.train(mode)
        return [(one.shape[2], one.shape[3]) for one in self._maps(outputs)]

    def _project(self, outputs: dict[str, Tensor]) -> list[Tensor]:
        # Projections are float32 in every precision of a run.
        return [projection(one.float()) for projection, one in zip(self.projections, self._maps(outputs), strict=True)]

    def _maps(self, outputs: dict[str, Tensor]) -> list[Tensor]:
        maps, grid = self._side.maps(outputs), self._grid
        if grid is None:
            return maps
        # Averaging before projecting gives the same maps as projecting before averaging.
        return [one if one.shape[-1] <= grid else adaptive_avg_pool2d(one, (grid, grid)) for one in maps]


class RepeatChannels(nn.Module):
    """Maps repeated along the channel dimension."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, maps: Tensor) -> Tensor:
        """Repeat maps [B, C, H, W] to [B, times x C, H, W]."""
        return maps.repeat(1, self.times, 1, 1)


def compute_matching_loss(
    projected: Sequence[Tensor], ancestor: AncestorOutputs, weights: Tensor, owner: Tensor, *, absolute: bool
) -> Tensor:
    """Compute the sum over pairs of the mean over images of weight x difference.

    The difference of a pair in an image is the mean over channels and places of the squared or absolute difference of
    its maps.

    Args:
        projected: Maps [B, sum of the ancestor's widths, h, w] for each tap of the other network.
        ancestor: Outputs of the ancestor.
        weights: Weights [B, taps of the other network, the ancestor's taps].
        owner: Table of `make_owner_table`.
        absolute: Whether differences are absolute, as published for ViTs, instead of squared.
    """
    total = torch.zeros((), device=weights.device, dtype=weights.dtype)
    mean = owner / owner.sum(dim=0)
    for index, (maps, targets) in enumerate(zip(projected, ancestor.targets, strict=True)):
        difference = maps - targets
        difference = (difference.abs() if absolute else difference.square()).mean(dim=(2, 3)) @ mean
        total = total + (weights[:, index] * difference).sum(dim=1).mean()
    return total
