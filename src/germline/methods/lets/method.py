"""LeTs: narrow blocks, and learnt maps that make them wider and deeper."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from germline.architectures import Size, Spec, Target
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.auxiliary import AuxiliaryMethod
from germline.methods.lets.expansion import count_frame_origins, generate_blocks, generate_frame
from germline.methods.lets.layout import PAIR, GeneLayout, RowRule, select_size
from germline.methods.lets.network import LetsNetwork
from germline.methods.lets.presets import PRESETS
from germline.methods.presets import Presets
from germline.methods.slicing import build_resized_descendant, keep_head_length, parts_of
from germline.registry import architecture_of
from germline.traits import Sizes


class LeTs(AuxiliaryMethod):
    """LeTs (NeurIPS 2024): narrow blocks, and learnt maps that make them wider and deeper.

    The gene has a few narrow layers, maps of rows and coefficients. A gene layer W becomes W1 = [W | W F_in^T], then
    [W1 ; F_out W1]. A layer of the large auxiliary network is a weighted sum of two such layers. All of it is trained
    through the auxiliary network, which is distilled from the ancestor. A descendant takes the rows and coefficients of
    its size, and is then trained without the maps.

    Source: Xia et al., "Initializing Variable-sized Vision Transformers from Learngene with Learnable Transformation",
    NeurIPS 2024, and its public code. One map F_emb serves the residual stream everywhere, the final norm
    and the head included. Each gene layer has F_q, F_k, F_v (also for the inputs of the projection) and F_ffn. Tokens
    and positions have the large width. These rules are ours:

    1. Heads have one length everywhere, so a width is a multiple of it. Rows of attention are taken as whole heads, the
       same for query, key and value, and for both gene layers of a pair.
    2. A shallower descendant takes layers of the auxiliary network at even spacing.
    3. A width below the gene's takes the gene's first heads and channels; no map acts.
    4. LayerScale is mapped like a norm. Norms within heads have coefficients alone.
    5. Matrices start as timm's, maps and coefficients as in the public code. Coefficients have no weight decay.
    6. An odd number of large layers leaves a row of coefficients to one layer.

    The operations that compute the tensors of the auxiliary network are not in the cost.

    Attributes:
        preset: Values of settings that are not given: `paper` (ViT of width 768), `lab` (small networks) or `tiny`
            (tests).
        gene_width: Width of the gene, a multiple of the length of a head and below `width`.
        gene_depth: Number of layers of the gene, an even number up to `depth`.
        rows: Rows of the maps that a descendant takes: the first (`continuous`), or those of largest (`top-n`) or least
            (`bottom-n`) L2 norm.
        depth: Number of blocks of the large auxiliary network, the largest depth of a descendant; None uses the
            model's.
        width: Token length of the large auxiliary network, the largest width; None uses the model's.
    """

    name: ClassVar[str] = "lets"
    paper: ClassVar[str] = "NeurIPS 2024"
    presets: ClassVar[Presets] = PRESETS
    uniform_reason: ClassVar[str] = "its maps are those of the blocks of a ViT"

    preset: Literal["paper", "lab", "tiny"] = "lab"
    gene_width: int = Field(ge=1)
    gene_depth: int = Field(ge=PAIR)
    rows: RowRule = "continuous"

    def build_auxiliary(self, spec: Spec) -> LetsNetwork:
        """Build the auxiliary network, freshly initialised by the global generator."""
        return LetsNetwork(architecture_of(spec), spec, self._layout(spec))

    def check_auxiliary(self, spec: Spec) -> None:
        """Refuse a gene that is not narrower and not shallower than the auxiliary network.

        Raises:
            SettingError: Names the setting.
        """
        layout = self._layout(spec)
        if self.gene_width % layout.head_length or self.gene_width >= layout.large_width:
            widths = range(layout.head_length, layout.large_width, layout.head_length)
            raise SettingError(
                f"gene_width={self.gene_width} with width={layout.large_width}",
                f"The gene is narrower, and each of its heads has {layout.head_length} channels",
                f"Set gene_width to a multiple of {layout.head_length} up to {widths[-1]}"
                if widths
                else "Set more heads",
            )
        if self.gene_depth % PAIR or self.gene_depth > layout.large_depth:
            raise SettingError(
                f"gene_depth={self.gene_depth} with depth={layout.large_depth}",
                "Each layer of the auxiliary network mixes a pair of gene layers",
                f"Set gene_depth to an even number up to {layout.large_depth}",
            )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Compute the tensors of the target's width and depth.

        In stem, norm and head, the gene's own rows are copied and the others are generated. All elements of blocks are
        generated, since coefficients act on them.
        """
        layout, fields = self._layout(gene.spec), target.spec.model_dump()
        selection = select_size(layout, gene.tensors, fields["width"], fields["depth"], self.rows)
        frame = generate_frame(gene.tensors, layout, selection)
        blocks = generate_blocks(gene.tensors, layout, selection, parts_of(target.spec))
        origins = count_frame_origins(frame, layout, selection)
        origins |= {name: {"generated": tensor.numel()} for name, tensor in blocks.items()}
        return build_resized_descendant(gene, target, {**frame, **blocks}, origins, generator)

    def descendant_spec(self, spec: Spec, size: Size, gene: Learngene | None = None) -> Spec:
        """Return the spec of a descendant; a width without heads keeps the length of a head.

        Raises:
            SettingError: A network of this size cannot be built, or other heads have no width.
        """
        fields = spec.model_dump()
        length, heads = fields["width"] // fields["heads"], size.get("heads", fields["heads"])
        if "width" not in size and heads != fields["heads"]:
            is_less = heads < fields["heads"]
            raise SettingError(
                f"this gene cannot grow width={fields['width']},heads={heads}",
                f"each of its heads has {length} channels",
                f"use width={heads * length},heads={heads}" if is_less else "remove heads from the size",
            )
        return super().descendant_spec(spec, keep_head_length(spec, size), gene)

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse a size above the auxiliary network's, and heads of another length."""
        own, wanted = gene.spec.model_dump(), spec.model_dump()
        for key in ("depth", "width"):
            if wanted[key] > own[key]:
                raise SettingError(
                    f"this gene cannot grow {key}={wanted[key]}",
                    f"its maps were learnt in an auxiliary network of {key}={own[key]}",
                    f"use {key}={own[key]} or less",
                )
        length = own["width"] // own["heads"]
        if wanted["width"] != wanted["heads"] * length:
            width = max(1, round(wanted["width"] / length)) * length
            raise SettingError(
                f"this gene cannot grow width={wanted['width']},heads={wanted['heads']}",
                f"each of its heads has {length} channels",
                f"use for example width={width},heads={width // length}",
            )

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Describe the sizes: any depth and whole heads up to the auxiliary network's."""
        fields = spec.model_dump()
        length = fields["width"] // fields["heads"]
        return Sizes(
            f"depth={fields['depth']} or less and width={fields['width']} or less, in heads of {length} channels"
        )

    def _layout(self, spec: Spec) -> GeneLayout:
        return GeneLayout.from_spec(spec, self.gene_width, self.gene_depth)
