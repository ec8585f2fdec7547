"""Modules of other libraries rebuilt as timm's, if the outputs are equal: a ResNet or a ViT by its tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from germline.errors import GermlineError
from germline.loading.build import describe_network
from germline.loading.infer import INFERRED, infer_spec
from germline.loading.tensor_names import rename_tensors
from germline.loading.weights import load_weights
from germline.network import Network
from germline.registry import ARCHITECTURES
from germline.scoring import evaluation_mode

_TOLERANCE = 1e-4  # of outputs, relative to the largest
_IMAGES = 4


def rebuild_network(network: Network) -> Network | None:
    """Rebuild a module that no architecture knows by its class, from its tensors.

    Returns:
        The rebuilt network, whose outputs are those of the module; None if no architecture gives such outputs.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in network.model.state_dict().items()}
    name = Path(type(network.model).__name__)
    for architecture in INFERRED:
        heads = _find_heads(network.model) if architecture == "vit" else None
        try:
            named = rename_tensors(tensors, name)
            spec, _ = infer_spec(architecture, named.tensors, {} if heads is None else {"heads": heads}, name)
            model = ARCHITECTURES[architecture].build(spec).eval()
            load_weights(model, named.tensors, name)
            change = _compare(network, model)
        except (GermlineError, RuntimeError, AssertionError, ValueError, TypeError):
            continue
        described, reason = describe_network(model, network.preprocess)
        if change <= _TOLERANCE and described is not None:
            note = f"the {name} is rebuilt as timm's {type(model).__name__}; outputs are equal to {change:.1g}"
            return replace(network, model=model, spec=described, reason=reason, notes=(*network.notes, note))
    return None


def _find_heads(model: nn.Module) -> int | None:
    """Find the number of heads that a module's attention stores; None if it stores none."""
    for part in model.modules():
        for key in ("num_heads", "num_attention_heads"):
            value: Any = getattr(part, key, None)
            if isinstance(value, int) and value > 0:
                return value
    return None


def _compare(network: Network, model: nn.Module) -> float:
    """Return the largest difference of outputs on fixed images, relative to the largest output."""
    channels, side = network.preprocess.channels, network.preprocess.image_size
    waves = torch.linspace(0, 400, _IMAGES * channels * side**2).sin().reshape(_IMAGES, channels, side, side)
    device = next((tensor.device for tensor in network.model.parameters()), waves.device)
    with evaluation_mode(network.model), torch.no_grad():
        theirs, ours = network.model(waves.to(device)).cpu(), model(waves)
    if theirs.shape != ours.shape:
        return float("inf")
    return float((theirs - ours).abs().max() / theirs.abs().max().clamp_min(1e-12))
