"""How the layers of a large network come from the narrow layers of a gene, and which rows a descendant takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from germline.architectures import Spec
from germline.methods.slicing import choose_indices

RowRule = Literal["continuous", "top-n", "bottom-n"]
PAIR = 2  # gene layers that a layer of the large network mixes, and layers of it that share coefficients


@dataclass(frozen=True)
class GeneLayout:
    """Sizes of a gene and of the large network that it describes.

    Attributes:
        width: Width of the gene.
        depth: Number of layers of the gene, an even number.
        large_width: Width of the large network.
        large_depth: Number of layers of the large network.
        head_length: Channels of an attention head, in both.
        mlp_ratio: Hidden channels of an MLP divided by the width, in both.
    """

    width: int
    depth: int
    large_width: int
    large_depth: int
    head_length: int
    mlp_ratio: float

    @classmethod
    def from_spec(cls, spec: Spec, gene_width: int, gene_depth: int) -> GeneLayout:
        """Return the layout of a gene whose large network has a spec.

        Args:
            spec: Spec of the large network, a ViT.
            gene_width: Width of the gene.
            gene_depth: Number of layers of the gene.
        """
        fields: dict[str, Any] = spec.model_dump()
        width, length = fields["width"], fields["width"] // fields["heads"]
        return cls(gene_width, gene_depth, width, fields["depth"], length, fields["mlp_ratio"])

    def hidden(self, width: int) -> int:
        """Return the hidden channels of an MLP at a width."""
        return int(width * self.mlp_ratio)

    def layer_sources(self) -> list[tuple[int, int]]:
        """Return, for each large layer, its pair of gene layers and the row of its coefficients.

        The large layers are divided evenly among the pairs, in order. Two consecutive layers of a pair share a row.
        """
        pairs = self.depth // PAIR
        share, over = divmod(self.large_depth, pairs)
        sources, rows = [], 0
        for pair in range(pairs):
            layers = share + (pair < over)
            sources += [(pair, rows + index // PAIR) for index in range(layers)]
            rows += -(-layers // PAIR)
        return sources

    def start_coefficients(self) -> Tensor:
        """Return one-hot coefficients [rows, 2]; first rows of a pair are its first layer, last ones its second."""
        rows: dict[int, set[int]] = {}
        for pair, row in self.layer_sources():
            rows.setdefault(pair, set()).add(row)
        members = [index * PAIR // len(owned) for owned in rows.values() for index in range(len(owned))]
        return torch.eye(PAIR)[members]


@dataclass(frozen=True)
class Selection:
    """What a descendant takes of a gene: layers, own channels, and rows of the maps.

    Attributes:
        layers: Indices of layers of the large network.
        width: Number of the gene's own channels, from the first.
        hidden: Number of the gene's own hidden channels, from the first.
        stream: Rows of the map of the stream, int64.
        attention: Rows of the maps of query, key and value, for each pair of gene layers.
        mlp: Rows of the maps of the MLPs, for each pair of gene layers.
    """

    layers: tuple[int, ...]
    width: int
    hidden: int
    stream: Tensor
    attention: tuple[Tensor, ...]
    mlp: tuple[Tensor, ...]


def select_all(layout: GeneLayout) -> Selection:
    """Select the whole large network."""
    return select_size(layout, {}, layout.large_width, layout.large_depth, "continuous")


def select_size(layout: GeneLayout, gene: Mapping[str, Tensor], width: int, depth: int, rule: RowRule) -> Selection:
    """Select a width and a depth.

    Layers are spaced evenly. A width above the gene's adds rows of the maps by the rule, and the norms of both gene
    layers of a pair count together. Attention rows are taken as whole heads, by the norm of their query, key and
    value rows together. A width below the gene's takes the gene's first heads and channels.

    Args:
        layout: Sizes of the gene.
        gene: Tensors of the gene by name; unused by the rule `continuous`.
        width: Width of the descendant.
        depth: Number of layers of the descendant.
        rule: First rows (`continuous`), or those of largest (`top-n`) or least (`bottom-n`) L2 norm, in rising order.
    """
    own = min(width, layout.width)
    stream = width - own
    hidden = layout.hidden(width) - layout.hidden(own)
    attention, mlp = [], []
    for pair in range(layout.depth // PAIR):
        members = range(pair * PAIR, (pair + 1) * PAIR)
        heads = [f"{axis}_map.{layer}" for axis in ("query", "key", "value") for layer in members]
        chosen = _choose_rows(gene, heads, stream // layout.head_length, rule, layout.head_length)
        offsets = torch.arange(layout.head_length)
        attention.append((chosen[:, None] * layout.head_length + offsets).flatten())
        mlp.append(_choose_rows(gene, [f"hidden_map.{layer}" for layer in members], hidden, rule))
    return Selection(
        layers=choose_indices("even", layout.large_depth, depth),
        width=own,
        hidden=layout.hidden(own),
        stream=_choose_rows(gene, ["stream_map"], stream, rule),
        attention=tuple(attention),
        mlp=tuple(mlp),
    )


def _choose_rows(gene: Mapping[str, Tensor], names: Sequence[str], count: int, rule: RowRule, unit: int = 1) -> Tensor:
    """Choose `count` units of neighbouring rows by the norm over all maps of these names."""
    if rule == "continuous":
        return torch.arange(count)
    squares = torch.stack([gene[name].double().square().sum(dim=1) for name in names]).sum(dim=0)
    order = squares.view(-1, unit).sum(dim=1).argsort(descending=rule == "top-n", stable=True)
    return order[:count].sort().values
