"""Feature maps of an ancestor held against those of another network, pair by pair, each pair with a learnt weight."""

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

MetaForm = Literal["relu6", "softplus", "constant"]
MOST = 6.0  # no pair weighs more
STEEP = 10.0  # of the constant form's softplus
_ONE = math.log(math.e - 1)  # softplus of this is 1


@dataclass(frozen=True)
class Side:
    """Where a network is tapped, and what comes of it.

    Attributes:
        taps: Names of modules.
        widths: Channels of each one's maps.
        prefix: Tokens that stand before those of the picture.
    """

    taps: tuple[str, ...]
    widths: tuple[int, ...]
    prefix: int = 0

    @classmethod
    def of(cls, model: nn.Module, spec: Spec, taps: Sequence[str], preprocess: Preprocess) -> Side:
        """Look at a network once, with an empty picture, to see how wide its maps are."""
        prefix = int(spec.class_token) + spec.reg_tokens if isinstance(spec, TransformerSpec) else 0
        device = next(model.parameters()).device
        seen = torch.zeros(1, preprocess.channels, preprocess.image_size, preprocess.image_size, device=device)
        mode = model.training
        with torch.no_grad():
            _, found = extract_features(model.eval(), taps, seen)
        model.train(mode)
        widths = tuple(as_maps(found[tap], prefix).shape[1] for tap in taps)
        return cls(tuple(taps), widths, prefix)

    def maps(self, found: dict[str, Tensor]) -> list[Tensor]:
        """The tapped features as maps [B, C, H, W], in the order of the taps."""
        return [as_maps(found[tap], self.prefix) for tap in self.taps]


def as_maps(features: Tensor, prefix: int) -> Tensor:
    """Features as maps [B, C, H, W]; tokens [B, tokens, C] of a square picture lose those that stand before."""
    if features.ndim == 4:
        return features
    patches = features[:, prefix:].transpose(1, 2)
    side = math.isqrt(patches.shape[2])
    return patches.reshape(*patches.shape[:2], side, side)


@dataclass(frozen=True)
class Look:
    """What the ancestor says of a batch, for all layers at once.

    Attributes:
        targets: For each tap of the other network the ancestor's maps [B, sum of widths, h, w] at its size, one tap's
            channels behind the other's.
        pooled: Their means over the picture [B, sum of widths], before any change of size.
    """

    targets: list[Tensor]
    pooled: Tensor


@dataclass(frozen=True)
class Elder:
    """An ancestor that is looked at and never trained.

    Attributes:
        network: The ancestor, in eval mode.
        side: Where it is tapped.
        grid: Largest height and width at which maps are matched; None for those of the other network.
    """

    network: Network
    side: Side
    grid: int | None = None

    @torch.no_grad()
    def look(self, pixels: Tensor, sizes: Sequence[tuple[int, int]]) -> Look:
        """Its maps of pixels [B, C, H, W] in [0, 1], brought to each of those heights and widths.

        Bilinearly, as published, or where a grid bounds the maps by means over places.
        """
        network = self.network
        maps = [one.float() for one in self.side.maps(self._taps(network, pixels))]
        at = {size: torch.cat([self._resized(one, size) for one in maps], dim=1) for size in dict.fromkeys(sizes)}
        pooled = torch.cat([one.mean(dim=(2, 3)) for one in maps], dim=1)
        return Look([at[size] for size in sizes], pooled)

    def _taps(self, network: Network, pixels: Tensor) -> dict[str, Tensor]:
        return extract_features(network.model, self.side.taps, network.preprocess(pixels))[1]

    def _resized(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        if maps.shape[-2:] == size:
            return maps
        if self.grid is not None and maps.shape[-1] > size[-1]:
            return adaptive_avg_pool2d(maps, size)
        return interpolate(maps, size=size, mode="bilinear", align_corners=False)


class MetaNetwork(nn.Module):
    """The weight of each pair, in [0, 6], from the ancestor's pooled maps: one scalar a picture and pair.

    `relu6`: ReLU6(a . pooled + b); `softplus`: the same with softplus, cut at 6, which cannot die; `constant`:
    softplus(10 b), cut at 6, the same for all pictures. Every pair begins with weight 1.

    Its parameters have `requires_grad` off: they belong to the second optimiser.

    Source: arXiv 2305.02279. Departure: a begins with zeros, so that all pairs begin alike and what tells them apart
    has been learnt.

    Attributes:
        weight: [taps of the other network, sum of the ancestor's widths].
        bias: [taps of the other network, the ancestor's taps].
    """

    def __init__(self, form: MetaForm, widths: Sequence[int], others: int) -> None:
        """Set up.

        Args:
            form: Of the three.
            widths: Channels of the ancestor's taps.
            others: Taps of the other network.
        """
        super().__init__()
        self.form = form
        begin = {"relu6": 1.0, "softplus": _ONE, "constant": _ONE / STEEP}[form]
        if form != "constant":
            self.weight = nn.Parameter(torch.zeros(others, sum(widths)), requires_grad=False)
        self.bias = nn.Parameter(torch.full((others, len(widths)), begin), requires_grad=False)
        self.owner: Tensor
        self.register_buffer("owner", owners(widths), persistent=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Weights [B, taps of the other network, the ancestor's taps] of pooled maps [B, sum of widths]."""
        if self.form == "constant":
            return softplus(STEEP * self.bias).clamp(max=MOST).expand(len(pooled), -1, -1)
        raw = (pooled[:, None] * self.weight) @ self.owner + self.bias
        return relu6(raw) if self.form == "relu6" else softplus(raw).clamp(max=MOST)


def owners(widths: Sequence[int]) -> Tensor:
    """A table [sum of widths, taps] of 1 where a channel is a tap's, and 0 elsewhere."""
    return torch.repeat_interleave(torch.eye(len(widths)), torch.tensor(widths), dim=0)


class Matched(nn.Module):
    """A network that gives its logits and, led to the ancestor's widths, the maps at its taps.

    Maps of another width go through 1x1 convolutions, tokens through linear maps, which is the same; tokens of the
    ancestor's own width stay as they are.

    Attributes:
        model: The network.
        projections: One a tap, [B, C, H, W] to [B, sum of the ancestor's widths, H, W].
    """

    def __init__(self, network: Network, side: Side, elder: Side, grid: int | None = None) -> None:
        """Set up; the projections are drawn by the global generator.

        Args:
            network: Whose maps are matched.
            side: Where it is tapped.
            elder: Where the ancestor is.
            grid: Maps larger than that are averaged to it, which costs far less than to match all their places.
        """
        super().__init__()
        self.model = network.model
        self._preprocess, self._side, self._grid = network.preprocess, side, grid
        tokens = isinstance(network.spec, TransformerSpec)
        self.projections = nn.ModuleList(
            Repeat(len(elder.widths))
            if tokens and set(elder.widths) == {width}
            else nn.Conv2d(width, sum(elder.widths), 1)
            for width in side.widths
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits [B, classes], and the projected maps of each tap."""
        return self.look(pixels, None)

    def look(self, pixels: Tensor, run: Any) -> tuple[Tensor, list[Tensor]]:
        """As `forward`; `run` takes the pixels in the place of the network, and leads to it."""
        logits, found = extract_features(
            self.model, self._side.taps, self._preprocess(pixels) if run is None else pixels, run=run
        )
        return logits, self._projected(found)

    def sizes(self, pixels: Tensor) -> list[tuple[int, int]]:
        """Height and width of the maps at each tap."""
        mode = self.model.training
        with torch.no_grad():
            _, found = extract_features(self.model.eval(), self._side.taps, self._preprocess(pixels[:1]))
        self.model.train(mode)
        return [(one.shape[2], one.shape[3]) for one in self._maps(found)]

    def _projected(self, found: dict[str, Tensor]) -> list[Tensor]:
        return [projection(one) for projection, one in zip(self.projections, self._maps(found), strict=True)]

    def _maps(self, found: dict[str, Tensor]) -> list[Tensor]:
        maps, grid = self._side.maps(found), self._grid
        if grid is None:
            return maps
        # A projection of each place and a mean over places may change their order.
        return [one if one.shape[-1] <= grid else adaptive_avg_pool2d(one, (grid, grid)) for one in maps]


class Repeat(nn.Module):
    """The same maps so many times over, one behind the other."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] to [B, times x C, H, W]."""
        return maps.repeat(1, self.times, 1, 1)


def matching_loss(projected: Sequence[Tensor], look: Look, weights: Tensor, owner: Tensor, *, absolute: bool) -> Tensor:
    """The sum over all pairs of the mean over pictures of weight x difference.

    A pair's difference in a picture is the mean, over channels and places, of the squared difference of its maps, or of
    the absolute one.

    Args:
        projected: For each tap of the other network its maps [B, sum of the ancestor's widths, h, w].
        look: The ancestor's.
        weights: [B, taps of the other network, the ancestor's taps].
        owner: Which channel is which of the ancestor's taps'.
        absolute: As published for ViTs.
    """
    total = torch.zeros((), device=weights.device, dtype=weights.dtype)
    mean = owner / owner.sum(dim=0)
    for at, (ours, theirs) in enumerate(zip(projected, look.targets, strict=True)):
        apart = ours - theirs
        apart = (apart.abs() if absolute else apart.square()).mean(dim=(2, 3)) @ mean
        total = total + (weights[:, at] * apart).sum(dim=1).mean()
    return total
