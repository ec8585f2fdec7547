"""Base class of `tleg` and `sws`: blocks on lines along depth, stage by stage."""

from __future__ import annotations

import torch

from germline.architectures import Spec, Target
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Origin
from germline.methods.assembly import build_descendant
from germline.methods.auxiliary import AuxiliaryMethod
from germline.methods.tleg.expansion import CoefficientGrid, ExpandedNetwork, block_positions, expand_blocks
from germline.registry import architecture_of
from germline.traits import Sizes


class LinearMethod(AuxiliaryMethod):
    """A method whose auxiliary network has the blocks of each stage on one line.

    Attributes:
        segments: Blocks of each stage, adding up to the depth.
    """

    segments: tuple[int, ...] | None = None

    def line(self) -> tuple[CoefficientGrid, bool]:
        """Return the grid of coefficients along a stage, and whether blocks have slopes."""
        raise NotImplementedError

    def build_auxiliary(self, spec: Spec) -> ExpandedNetwork:
        """Build the auxiliary network, freshly initialised by the global generator."""
        grid, slopes = self.line()
        return ExpandedNetwork(architecture_of(spec), spec, self._segments(spec), grid, slopes=slopes)

    def check_auxiliary(self, spec: Spec) -> None:
        """Refuse segments that do not add up to the depth."""
        self._segments(spec)

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Evaluate the lines at the target's blocks.

        The frame is copied, resized or adapted. The head is copied or initialised.
        """
        grid, slopes = self.line()
        parts = architecture_of(target.spec).parts(target.spec)
        places = block_positions(len(parts.blocks), self._segments(gene.spec), grid)
        grown = expand_blocks(gene.tensors, parts.blocks, places)
        frame = {name.removeprefix("frame."): tensor for name, tensor in gene.tensors.items()}
        # A block without a slope equals its segment's block to the bit.
        origin: Origin = "expanded" if slopes else "copied"
        blocks = {name: (tensor, origin) for name, tensor in grown.items()}
        return build_descendant(gene, target, frame=frame, blocks=blocks, generator=generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Describe the sizes: any depth from the number of segments."""
        fields = spec.model_dump()
        least = len(self._segments(spec))
        return Sizes(f"depth={least} or more, at width={fields['width']},heads={fields['heads']}")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse another width or other heads, and a depth below the number of segments."""
        own, wanted = gene.spec.model_dump(), spec.model_dump()
        change = "linear expansion" if self.line()[1] else "sharing of blocks"
        for key in ("width", "heads"):
            if own[key] != wanted[key]:
                raise SettingError(
                    f"this gene cannot grow {key}={wanted[key]}",
                    f"{change} changes the depth alone, and the gene has {key}={own[key]}",
                    f"remove {key} from the size",
                )
        least = len(self._segments(gene.spec))
        if wanted["depth"] < least:
            raise SettingError(
                f"this gene cannot grow depth={wanted['depth']}",
                f"it has {least} segments, each with at least one block",
                f"choose depth={least} or more",
            )

    def _segments(self, spec: Spec) -> tuple[int, ...]:
        depth = spec.model_dump()["depth"]
        segments = self.segments or (depth,)
        if sum(segments) != depth or min(segments) < 1:
            reason = f"their blocks add up to {sum(segments)}, not to depth={depth}"
            if min(segments) < 1:
                reason = "a segment has at least one block"
            preset = str(getattr(self, "preset", None))
            if self.presets.get(preset, {}).get("segments") == segments:
                reason += f", and the preset {preset} sets them"
            raise SettingError(f"segments={segments}", reason, "give the blocks of each segment, at least one")
        return segments
