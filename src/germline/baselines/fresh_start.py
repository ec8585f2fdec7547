"""Initial values of fresh networks that can be set: positions and LayerScale of a ViT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from germline.architectures import Spec
from germline.architectures.transformer_spec import TransformerSpec
from germline.errors import SettingError
from germline.methods.base import Method
from germline.training.stable_dump import StableDump

InitialPositions = Annotated[float, Field(gt=0, le=10)] | Literal["sin-cos"]
# Deviation of timm's initial positions, and of the ViT and DeiT papers' code.
TIMM_DEVIATION = 0.02
# Initial values that can be tuned beside rates, by setting, with their names in reports.
START_LABELS: Mapping[str, str] = {"positions": "initial positions", "layer_scale": "initial LayerScale"}
InitialScale = Annotated[float, Field(gt=0, le=1)]
POSITIONS, LAYER_SCALE = "pos_embed", (".ls1.gamma", ".ls2.gamma")


class FreshStart(StableDump, Method):
    """A method whose descendants are fresh, so that their initial values are a choice.

    timm draws the positions of a ViT with a deviation of 0.02, as DeiT does. A trained ViT's deviation is often more
    than ten times larger, so that random weights learn positions slowly. A fair control tunes the choice beside its
    learning rate.

    Attributes:
        positions: Initial positions of a ViT: their standard deviation, or `sin-cos` for waves of rising length along
            both axes. None: timm's normal distribution with deviation 0.02. They are trained in any case.
        layer_scale: Initial value of LayerScale in a network that has it. None: the spec's, which is timm's 1e-5 for a
            spec that was read from a trained network.
    """

    omitted: ClassVar[Mapping[str, Any]] = {"positions": None, "layer_scale": None}

    positions: InitialPositions | None = None
    layer_scale: InitialScale | None = None

    @field_validator("positions")
    @classmethod
    def _read_default(cls, value: float | str | None) -> float | str | None:
        # The same network, and therefore the same cell of a store.
        return None if value == TIMM_DEVIATION else value

    def check_start(self, spec: Spec) -> None:
        """Refuse initial values for a network that does not have them.

        Raises:
            SettingError: The network has no such positions, or no LayerScale.
        """
        self.check_positions(spec)
        if self.layer_scale is not None and getattr(spec, "init_values", None) is None:
            raise SettingError(
                f"layer_scale={self.layer_scale} for a network without LayerScale",
                "Its blocks have no such factors",
                "Remove `layer_scale`",
            )

    def set_start(self, model: nn.Module, spec: Spec) -> None:
        """Set the initial values of a fresh network; nothing is drawn.

        Raises:
            SettingError: The network does not have them.
        """
        self.check_start(spec)
        self.set_positions(model, spec)
        if self.layer_scale is not None:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if name.endswith(LAYER_SCALE):
                        parameter.fill_(self.layer_scale)

    def check_positions(self, spec: Spec) -> None:
        """Refuse positions for a network without a table of positions, or of a width that waves cannot fill.

        Raises:
            SettingError: The network cannot have these positions.
        """
        if self.positions is None:
            return
        if not isinstance(spec, TransformerSpec):
            raise SettingError(
                f"positions={self.positions} for a network without positions",
                "Only ViTs have a table of positions",
                "Remove `positions`",
            )
        width = spec.segment_sizes[0].width
        if self.positions == "sin-cos" and width % 4:
            raise SettingError(
                f"positions=sin-cos with width {width}",
                "Sine and cosine of both axes share the width equally, so it is a multiple of 4",
                "Use a deviation such as positions=0.5, or another width",
            )

    def set_positions(self, model: nn.Module, spec: Spec) -> None:
        """Replace the drawn positions of a fresh network; nothing is drawn.

        A deviation scales timm's own draw, so that networks of one seed differ in nothing else.

        Raises:
            SettingError: The network cannot have these positions.
        """
        self.check_positions(spec)
        if self.positions is None or not isinstance(spec, TransformerSpec):
            return
        table = dict(model.named_parameters())[POSITIONS]
        with torch.no_grad():
            if isinstance(self.positions, float):
                table.mul_(self.positions / TIMM_DEVIATION)
            else:
                side = spec.image_size // spec.patch_size
                waves = sin_cos_positions(side, table.shape[-1])
                # Class and register tokens have no place in the image and keep their draw.
                table[0, table.shape[1] - len(waves) :] = waves


def sin_cos_positions(side: int, width: int) -> Tensor:
    """Return positions [side x side, width] of a square of patches: sines and cosines along both axes.

    A quarter of the width each: sine and cosine of the column, sine and cosine of the row. Wave i of n has the angular
    frequency 10000 ** (-i / n).

    Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762. Along two axes: Chen et al., "An Empirical
    Study of Training Self-Supervised Vision Transformers", arXiv 2104.02057.
    """
    waves = width // 4
    frequencies = 10000.0 ** (-torch.arange(waves, dtype=torch.float64) / waves)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    columns, rows = angles.repeat(side, 1), angles.repeat_interleave(side, 0)
    return torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], 1).float()
