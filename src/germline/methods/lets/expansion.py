"""Compute the tensors of a network from a gene: width by maps of rows, depth by coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from germline.architectures import Parts
from germline.ledger import Origin
from germline.methods.lets.layout import PAIR, GeneLayout, Selection

Axis = Literal["stream", "query", "key", "value", "hidden"]

TABLES = ("cls_token", "reg_token", "pos_embed")  # they have the large width, since no map acts on them
# What outputs and inputs of a layer are; the norms of query and key have the length of a head, which never changes.
_AXES: Mapping[str, tuple[Axis | None, Axis | None]] = {
    "patch_embed.proj": ("stream", None),
    "norm": ("stream", None),
    "fc_norm": ("stream", None),
    "head": (None, "stream"),
    "norm1": ("stream", None),
    "norm2": ("stream", None),
    "ls1": ("stream", None),
    "ls2": ("stream", None),
    "attn.q": ("query", "stream"),
    "attn.k": ("key", "stream"),
    "attn.v": ("value", "stream"),
    "attn.q_norm": (None, None),
    "attn.k_norm": (None, None),
    "attn.proj": ("stream", "value"),
    "mlp.fc1": ("hidden", "stream"),
    "mlp.fc2": ("stream", "hidden"),
}


class WidthMap(NamedTuple):
    """How an axis of a gene's tensor becomes longer.

    Attributes:
        own: Number of the gene's own channels that are taken, from the first.
        rows: Map [further channels, channels of the gene]; each further channel is a sum of the gene's channels.
    """

    own: int
    rows: Tensor


def split_block(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a block with query, key and value apart."""
    apart = {}
    for name, tensor in tensors.items():
        if name.startswith("attn.qkv."):
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                apart[f"attn.{letter}.{name.rpartition('.')[2]}"] = part
        else:
            apart[name] = tensor
    return apart


def join_block(apart: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a block with query, key and value in one tensor again."""
    block = {name: tensor for name, tensor in apart.items() if not name.startswith(("attn.q.", "attn.k.", "attn.v."))}
    for kind in ("weight", "bias"):
        if f"attn.q.{kind}" in apart:
            block[f"attn.qkv.{kind}"] = torch.cat([apart[f"attn.{letter}.{kind}"] for letter in "qkv"])
    return block


def widen_tensor(tensor: Tensor, outputs: WidthMap | None, inputs: WidthMap | None) -> Tensor:
    """Return [W | W F_in^T], with F_out times that below it; an axis without a map stays as it is."""
    flat = tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None]
    if inputs is not None:
        flat = flat[:, : inputs.own]
        flat = torch.cat([flat, flat @ inputs.rows.T], dim=1) if len(inputs.rows) else flat
    if outputs is not None:
        flat = flat[: outputs.own]
        flat = torch.cat([flat, outputs.rows @ flat]) if len(outputs.rows) else flat
    return flat[:, 0] if tensor.ndim == 1 else flat.reshape(len(flat), -1, *tensor.shape[2:])


def coefficient_key(name: str) -> str:
    """Return the name of a block tensor's coefficients; names of parameters have no dots."""
    return name.replace(".", "_")


def generate_frame(gene: Mapping[str, Tensor], layout: GeneLayout, selection: Selection) -> dict[str, Tensor]:
    """Return stem, norm and head of the selected size by full name."""
    stream = WidthMap(selection.width, _take_rows(gene["stream_map"], selection.stream))
    columns = torch.cat([torch.arange(selection.width), layout.width + selection.stream])
    frame = {}
    for key, tensor in gene.items():
        if key.startswith("frame."):
            name = key.removeprefix("frame.")
            if name in TABLES:
                frame[name] = tensor if len(columns) == layout.large_width else tensor[..., columns]
            else:
                frame[name] = _widen(name, tensor, {"stream": stream})
    return frame


def generate_blocks(
    gene: Mapping[str, Tensor], layout: GeneLayout, selection: Selection, parts: Parts
) -> dict[str, Tensor]:
    """Return the block tensors of the selected size by full name; layers with the same coefficients share tensors.

    Args:
        gene: Tensors of the gene by name.
        layout: Sizes of the gene.
        selection: What is taken of the gene.
        parts: Names of the tensors of a network of that size.
    """
    sources = [layout.layer_sources()[layer] for layer in selection.layers]
    wide: dict[int, list[dict[str, Tensor]]] = {}
    mixed: dict[int, dict[str, Tensor]] = {}
    for pair, row in sources:
        if pair not in wide:
            members = range(pair * PAIR, (pair + 1) * PAIR)
            wide[pair] = [_widen_layer(gene, selection, layer, pair) for layer in members]
        if row not in mixed:
            mixed[row] = join_block(_mix_layers(gene, wide[pair], row))
    return {
        full: mixed[row][name]
        for (_, row), names in zip(sources, parts.blocks, strict=True)
        for name, full in names.items()
    }


def count_frame_origins(
    frame: Mapping[str, Tensor], layout: GeneLayout, selection: Selection
) -> dict[str, dict[Origin, int]]:
    """Count the elements of a generated frame by origin: rows of the gene itself, and rows made by a map.

    Args:
        frame: Stem, norm and head as `generate_frame` returns them.
        layout: Sizes of the gene.
        selection: What is taken of the gene.
    """
    width = selection.width + len(selection.stream)
    origins: dict[str, dict[Origin, int]] = {}
    for name, tensor in frame.items():
        if name in TABLES:
            origins[name] = {"copied" if width == layout.large_width else "sliced": tensor.numel()}
        elif _AXES[name.rpartition(".")[0]] == (None, "stream") and tensor.ndim == 1:
            origins[name] = {"copied": tensor.numel()}
        else:
            own = tensor.numel() // width * selection.width
            counts: dict[Origin, int] = {"copied" if selection.width == layout.width else "sliced": own}
            origins[name] = {**counts, **({"generated": tensor.numel() - own} if tensor.numel() > own else {})}
    return origins


def _widen_layer(gene: Mapping[str, Tensor], selection: Selection, layer: int, pair: int) -> dict[str, Tensor]:
    """Return the tensors of one gene layer at the selected width."""
    rows = {"query": selection.attention, "key": selection.attention, "value": selection.attention}
    maps: dict[str, WidthMap] = {
        axis: WidthMap(selection.width, _take_rows(gene[f"{axis}_map.{layer}"], chosen[pair]))
        for axis, chosen in rows.items()
    }
    maps["hidden"] = WidthMap(selection.hidden, _take_rows(gene[f"hidden_map.{layer}"], selection.mlp[pair]))
    maps["stream"] = WidthMap(selection.width, _take_rows(gene["stream_map"], selection.stream))
    prefix = f"blocks.{layer}."
    block = {key.removeprefix(prefix): tensor for key, tensor in gene.items() if key.startswith(prefix)}
    return {name: _widen(name, tensor, maps) for name, tensor in split_block(block).items()}


def _mix_layers(gene: Mapping[str, Tensor], layers: Sequence[Mapping[str, Tensor]], row: int) -> dict[str, Tensor]:
    """Return the weighted sum of both layers of a pair; every tensor has coefficients of its own."""
    first, second = layers
    shares = {name: gene[f"depth.{coefficient_key(name)}"][row].unbind() for name in first}
    return {name: shares[name][0] * tensor + shares[name][1] * second[name] for name, tensor in first.items()}


def _widen(name: str, tensor: Tensor, maps: Mapping[str, WidthMap]) -> Tensor:
    outputs, inputs = _AXES[name.rpartition(".")[0]]
    return widen_tensor(
        tensor,
        maps[outputs] if outputs else None,
        maps[inputs] if inputs and tensor.ndim > 1 else None,
    )


def _take_rows(rows: Tensor, chosen: Tensor) -> Tensor:
    """Return the chosen rows; all of them without a copy."""
    return rows if len(chosen) == len(rows) else rows[chosen]
