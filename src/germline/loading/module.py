"""Networks given as torch modules in Python."""

from __future__ import annotations

from torch import nn

from germline.architectures import Preprocess
from germline.loading.build import describe_network
from germline.network import Network


def wrap_module(model: nn.Module, preprocess: Preprocess, classes: tuple[str, ...]) -> Network:
    """Make a network of a bare module, the preprocessing of its images, and its class names."""
    spec, reason = describe_network(model, preprocess)
    return Network(
        model, preprocess, classes, spec=spec, source=f"a {type(model).__name__} given in Python", reason=reason
    )
