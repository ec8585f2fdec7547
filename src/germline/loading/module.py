"""Networks given as torch modules in Python."""

from __future__ import annotations

from torch import nn

from germline.architectures import Preprocess
from germline.loading.build import describe_network, read_preprocess
from germline.network import Network


def wrap_module(model: nn.Module, preprocess: Preprocess, classes: tuple[str, ...]) -> Network:
    """Make a network of a bare module; its own timm configuration, if it has one, has priority over `preprocess`."""
    config = getattr(model, "pretrained_cfg", None)
    chosen = read_preprocess(config) if config and config.get("mean") else preprocess
    source = f"a {type(model).__name__} given in Python"
    return Network(model, chosen, classes, spec=describe_network(model, chosen), source=source)
