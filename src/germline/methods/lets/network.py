"""The auxiliary network of LeTs, whose tensors are functions of a narrow gene."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from germline.architectures import Architecture, Size, Spec
from germline.methods.generated_network import GeneratedNetwork
from germline.methods.lets.expansion import TABLES, coefficient_key, generate_blocks, generate_frame, split_block
from germline.methods.lets.layout import GeneLayout, select_all

_NOISE = 0.03  # largest value that is added to one-hot coefficients at the start


class LetsNetwork(GeneratedNetwork):
    """A large network that is computed from narrow blocks, maps of width and coefficients of depth.

    Source: LeTs, NeurIPS 2024, and its public code for the start.

    Attributes:
        blocks: Layers of the gene.
        stream_map: Map F_emb [further channels, channels] of the stream, tied everywhere.
        query_map: Map F_q of each gene layer.
        key_map: Map F_k of each gene layer.
        value_map: Map F_v of each gene layer, also for the inputs of the projection.
        hidden_map: Map F_ffn of each gene layer.
        depth: Coefficients g [rows, 2] of each tensor of a block, with query, key and value apart.
    """

    def __init__(self, architecture: Architecture[Any], spec: Spec, layout: GeneLayout) -> None:
        """Create the network with the start of the public code.

        Args:
            architecture: Architecture of the network.
            spec: Spec of the large network.
            layout: Sizes of the gene.
        """
        heads = layout.width // layout.head_length
        narrow = architecture.resize(spec, Size(depth=layout.depth, width=layout.width, heads=heads))
        frame, large = architecture.frame(narrow), architecture.frame(spec)
        for name in TABLES:
            if getattr(frame, name, None) is not None:
                setattr(frame, name, getattr(large, name))
        super().__init__(architecture, spec, frame)
        self._layout, self._parts = layout, architecture.parts(spec)
        self.blocks = nn.ModuleList(architecture.block(narrow) for _ in range(layout.depth))
        further = layout.large_width - layout.width
        hidden = layout.hidden(layout.width)
        self.stream_map = _draw_map(further, layout.width)
        self.query_map, self.key_map, self.value_map = (
            nn.ParameterList(_draw_map(further, layout.width) for _ in self.blocks) for _ in range(3)
        )
        self.hidden_map = nn.ParameterList(
            _draw_map(layout.hidden(layout.large_width) - hidden, hidden) for _ in self.blocks
        )
        names = split_block(dict(self.blocks[0].named_parameters()))
        self.depth = nn.ParameterDict({coefficient_key(name): _draw_coefficients(layout) for name in names})

    def generate(self) -> dict[str, Tensor]:
        """Compute all tensors of the large network.

        They are computed in the parameters' own precision, so that a descendant has the same ones.
        """
        gene = dict(self.named_parameters())
        selection = select_all(self._layout)
        with torch.autocast(self.stream_map.device.type, enabled=False):
            frame = generate_frame(gene, self._layout, selection)
            return {**frame, **generate_blocks(gene, self._layout, selection, self._parts)}

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters without weight decay: the frame's, and all coefficients."""
        return super().no_weight_decay() | {f"depth.{name}" for name in self.depth}


def _draw_map(further: int, channels: int) -> nn.Parameter:
    """Draw a map with rows that add up to 1, so that each further channel starts as a mean of the gene's channels."""
    rows = torch.rand(further, channels)
    return nn.Parameter(rows / rows.sum(dim=1, keepdim=True))


def _draw_coefficients(layout: GeneLayout) -> nn.Parameter:
    start = layout.start_coefficients()
    noisy = start + _NOISE * torch.rand_like(start)
    return nn.Parameter(noisy / noisy.sum(dim=1, keepdim=True))
