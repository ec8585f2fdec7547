"""Exact growth: a wider and deeper network that computes what its ancestor does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from germline.architectures import Size, Spec, Target
from germline.data import DataSet
from germline.learngene import Descendant, Learngene
from germline.ledger import Origin
from germline.methods.axis_maps import TensorMaps, count_origins, divide_by_copies, map_tensors, take_elements
from germline.methods.checks import check_architecture
from germline.methods.grow.sizes import (
    can_add_identity,
    check_multiples,
    check_stage_widths,
    check_stages,
    list_silent_tensors,
)
from germline.methods.slicing import (
    SlicePlan,
    build_resized_descendant,
    choose_blocks,
    keep_head_length,
    plan_slices,
    stage_depths,
)
from germline.methods.whole_ancestor import WholeAncestor
from germline.network import Network
from germline.registry import architecture_of
from germline.traits import Sizes


class Grow(WholeAncestor):
    """HyperCloning (arXiv 2409.12903): a larger network that computes what its ancestor does.

    Widths are multiplied by whole numbers: channels are repeated, and what reads them is divided by the number of
    copies. Added blocks add nothing to their input.

    Source of the width: Samragh et al., "Scaling Smart: Accelerating Large Language Model Pre-training with Small Model
    Initialization", arXiv 2409.12903. A matrix is repeated along both axes and divided by the factor of its inputs.
    Vectors, positions, class token, patch kernel and running statistics are repeated. Attention heads keep their
    length, and their number is multiplied. In VGG and ResNet, each stage can have a factor of its own.

    Source of the depth: with `identity`, each added block is beside the block that it copies. The last layers of both
    its branches are zero, as in LLaMA Pro (arXiv 2401.02415). These are LayerScale if there is one, else the output
    projections, and the last norm in a ResNet. A VGG has no shortcuts, and a ResNet12 has a leaky ReLU behind every
    block, so `identity` cannot deepen them. With `repeat`, the whole row of blocks is repeated, as in G_stack (arXiv
    2405.15319). The function is then not kept. The first block of a stage is never repeated.

    Copies have equal gradients in every step, and so remain equal. A fresh head makes only the channels differ that it
    reads, not hidden channels or attention heads. `noise` and dropout of single units make all copies differ. Noise is
    not in the ledger.

    Attributes:
        depth: Added blocks: `identity` blocks change nothing; `repeat` repeats the whole row of blocks, and does not
            keep the function.
        noise: Noise on the repeated rows of matrices and kernels, in standard deviations of each tensor; 0 keeps the
            function.
    """

    name: ClassVar[str] = "grow"
    paper: ClassVar[str] = "arXiv 2409.12903"

    depth: Literal["identity", "repeat"] = "identity"
    noise: float = Field(default=0.0, ge=0)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec.

        Raises:
            SettingError: There is no ancestor, or it is of an architecture that cannot grow.
            ArtefactError: No architecture describes it.
        """
        spec = super().condense_spec(ancestor, data)
        check_architecture(self, spec)
        return spec

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Repeat and divide every tensor; the frame is adapted, and the head is repeated too or fresh."""
        plan = self._plan(gene.spec, target.spec)
        maps = map_tensors(plan, gene.spec, "stacked")
        silent = list_silent_tensors(plan) if self.depth == "identity" else frozenset()
        repeated, tensors = plan.repeated, dict[str, Tensor]()
        origins: dict[str, Mapping[Origin, int]] = {}
        for name, source in plan.sources.items():
            own = maps.get(name, {})
            tensor = divide_by_copies(take_elements(gene.tensors[source], own), own)
            if name in silent:
                tensors[name], origins[name] = torch.zeros_like(tensor), {"zero-filled": tensor.numel()}
                continue
            tensors[name] = self._add_noise(tensor, own, generator)
            origins[name] = count_origins(tensor.shape, own, is_further=name in repeated, divided=True)
        return build_resized_descendant(gene, target, tensors, origins, generator)

    def descendant_spec(self, spec: Spec, size: Size, gene: Learngene | None = None) -> Spec:
        """Return the spec of a descendant; a width without a number of heads multiplies the heads too.

        Raises:
            SettingError: A network of this size cannot be built.
        """
        resized: Spec = architecture_of(spec).resize(spec, keep_head_length(spec, size))
        return resized

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: whole multiples of the widths, and any further blocks that can be added."""
        fields = spec.model_dump()
        widths = f"width={fields['width']},heads={fields['heads']}" if "heads" in fields else "the ancestor's widths"
        depths = " + ".join(map(str, stage_depths(spec)))
        can_deepen = self.depth == "repeat" or can_add_identity(spec)
        return Sizes(f"whole multiples of {widths}, with {depths} blocks{' or more' if can_deepen else ''}")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse fewer blocks, blocks that cannot be added, and widths that are no whole multiples."""
        self._plan(gene.spec, spec)

    def _plan(self, ancestor: Spec, wanted: Spec) -> SlicePlan:
        check_stages(ancestor, wanted, can_change=self.depth == "repeat")
        check_stage_widths(ancestor, wanted)
        order: Literal["even", "stacked"] = "even" if self.depth == "identity" else "stacked"
        plan = plan_slices(ancestor, wanted, choose_blocks("first", ancestor, wanted, deeper=order), is_wider=True)
        check_multiples(plan, ancestor)
        return plan

    def _add_noise(self, tensor: Tensor, maps: TensorMaps, generator: torch.Generator) -> Tensor:
        """Add noise to the rows that repeat others, so that they can learn something else."""
        if not self.noise or 0 not in maps or tensor.ndim < 2:
            return tensor
        is_further = maps[0].is_further.view(-1, *[1] * (tensor.ndim - 1))
        drawn = torch.randn(tensor.shape, generator=generator).to(tensor)
        return tensor + self.noise * tensor.std() * drawn * is_further
