"""FRONT: the low frequencies of an ancestor's tensors, from which networks of any size are computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from germline.architectures import Spec, Target
from germline.data import DataSet
from germline.learngene import Descendant, Learngene
from germline.ledger import Origin
from germline.methods.base import GeneCost, Method
from germline.methods.checks import check_architecture, require_ancestor
from germline.methods.front.cosine import (
    MissingRule,
    ScaleRule,
    coefficient_shape,
    decode_role,
    encode_role,
    measure_deviation,
)
from germline.methods.front.presets import PRESETS
from germline.methods.front.roles import HiddenRule, TensorRole, list_roles, match_roles
from germline.methods.presets import Presets, PresetSettings
from germline.methods.slicing import build_resized_descendant, parts_of
from germline.network import Network
from germline.provenance import Provenance
from germline.registry import architecture_of
from germline.training import Run
from germline.traits import Sizes, Traits

_DEVIATION = "deviation."


class FRONT(PresetSettings, Method):
    """FRONT (arXiv 2603.07523): low frequencies of an ancestor's tensors grow to any depth and width.

    Tensors of one role are stacked over blocks. The gene is a corner of the orthonormal DCT-II of each stack, along
    depth and all channels. For a descendant the corner is cut or padded, and transformed back. Nothing is trained.

    Source: FRONT, ICML 2026, arXiv 2603.07523. Query, key and value are transformed apart; the public code crosses
    their borders. Heads are an axis of their own, because the softmax makes each head a unit. So channels do not move
    across the border between two heads. Tensors are not standardised first. A tensor's axis goes from n to t elements.

    1. A matrix that writes and reads channels follows `scale` along each axis, depth included.
    2. Norms, biases, LayerScale, tokens, positions and the kernel that reads images keep their values, whatever the
       scale. So do running means. Running variances do as logarithms, and stay positive.
    3. The head reads channels only. It is scaled by sqrt(n/t), so that logits keep their size.
    4. With whole hidden units, matrices of MLPs follow `scale` along depth alone. Along the width they follow rules 2
       and 3.
    5. Kernel positions, image channels, tokens and classes are no axes of the transform.
    6. In networks of stages the first block of each stage is apart, and the others are stacked if their shapes are
       equal. A stage of one block cannot become deeper.

    At the default scale, a linear layer between two streams that grow by one factor keeps its function exactly.

    Attributes:
        preset: Values of settings that are not given: `paper` (the public code's), `lab` or `tiny` (tests); None is the
            default of each setting.
        keep: Share of the coefficients along each axis that is stored, which is the size of the gene; 1 is all.
        scale: Factor of a matrix along an axis from n to t: 1 (`orthonormal`), sqrt(n/t) (`public`), sqrt(t/n)
            (`smooth`). `matched` is `smooth`, and then restores the standard deviation of the ancestor's stack.
        hidden: Rule for the hidden channels of MLPs: `transform` them, or take whole `units` by an index map. Outputs
            of a repeated unit are divided by its copies.
        missing: Coefficients of matrices that are not stored: `zero`, `gaussian` noise with the root mean square of
            those stored, or `repeat` those stored.
    """

    name: ClassVar[str] = "front"
    paper: ClassVar[str] = "arXiv 2603.07523"
    architectures: ClassVar[tuple[str, ...]] = ("vit", "vgg", "resnet12", "resnet")
    traits: ClassVar[Traits] = Traits(varies_with_seed=False)
    presets: ClassVar[Presets] = PRESETS

    preset: Literal["paper", "lab", "tiny"] | None = None
    keep: float = Field(default=1.0, gt=0, le=1)
    scale: ScaleRule = "orthonormal"
    hidden: HiddenRule = "transform"
    missing: MissingRule = "zero"

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec.

        Raises:
            SettingError: There is no ancestor, or it is of an architecture whose tensors are no stacks.
            ArtefactError: No architecture describes it.
        """
        spec = require_ancestor(self.name, ancestor)[1]
        check_architecture(self, spec)
        return spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Transform the ancestor's tensors and keep their low frequencies.

        Raises:
            SettingError: There is no ancestor, or it is of an architecture whose tensors are no stacks.
            ArtefactError: No architecture describes it.
        """
        network, spec = require_ancestor(self.name, ancestor)
        check_architecture(self, spec)
        state = network.model.state_dict()
        roles = list_roles(spec, self.hidden)
        coefficients = {key: encode_role(role, state, self.keep) for key, role in roles.items()}
        deviations = {
            f"{_DEVIATION}{key}": measure_deviation(role, state)
            for key, role in roles.items()
            if self._has_deviation(role)
        }
        return Learngene(
            method=self.name,
            settings=self.model_dump(mode="json"),
            architecture=architecture_of(spec).name,
            spec=spec,
            tensors={**coefficients, **deviations},
            preprocess=network.preprocess,
            classes=network.classes or None,
            provenance=Provenance(
                ancestor=network.source, ancestor_licence=network.licence, data=data.name, data_licence=data.licence
            ),
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Compute every tensor from the coefficients; the head is computed too, or fresh.

        Every element that goes through a transform is recorded as "generated", also at the ancestor's own size, where
        it equals the ancestor's up to rounding.
        """
        pairs = match_roles(gene.spec, target.spec, self.hidden)
        tensors: dict[str, Tensor] = {}
        computed: set[str] = set()
        for key, (source, role) in pairs.items():
            deviation = gene.tensors.get(f"{_DEVIATION}{key}")
            tensors |= decode_role(
                gene.tensors[key],
                source,
                role,
                scale=self.scale,
                missing=self.missing,
                deviation=deviation,
                generator=generator,
            )
            computed |= set(role.names) if role.is_computed else set()
        origins: dict[str, Mapping[Origin, int]] = {name: {"generated": tensors[name].numel()} for name in computed}
        return build_resized_descendant(gene, target, tensors, origins, generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: every one, as far as stages have blocks of one shape."""
        if len(parts_of(spec).stages) == 1:
            return Sizes("any depth, width and heads, smaller or larger than the ancestor's")
        return Sizes("any width, and any depth of stages that have several blocks of one shape")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse a spec with tensors whose role the ancestor lacks."""
        match_roles(gene.spec, spec, self.hidden)

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Return the cost: nothing is trained, and the kept coefficients are stored."""
        roles: Mapping[str, TensorRole] = list_roles(spec, self.hidden)
        stored = {key: math.prod(coefficient_shape(role, self.keep)) for key, role in roles.items()}
        for key, role in roles.items():
            if self._has_deviation(role):
                stored[f"{_DEVIATION}{key}"] = math.prod(axis.size for axis in role.axes if axis.kind == "fixed")
        return GeneCost(stored=stored)

    def _has_deviation(self, role: TensorRole) -> bool:
        return self.scale == "matched" and role.is_matrix
