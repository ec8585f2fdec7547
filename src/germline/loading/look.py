"""A look at an ancestor before anything is trained: weights, size, channels, form and number of outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from germline.architectures import Preprocess
from germline.arguments import describe_argument
from germline.data import DataSet, iterate_batches
from germline.errors import ArtefactError, DataError
from germline.learngene import Descendant
from germline.loading.assume import assume_preprocess, check_square
from germline.loading.build import describe_network
from germline.loading.labels import number_classes
from germline.loading.load import load_network
from germline.loading.outputs import LogitsReader, describe_outputs, find_logits, run_batch
from germline.loading.weights import check_weights
from germline.network import Network

LOOK_IMAGES = 2
_WRAPPERS = ("DataParallel", "DistributedDataParallel", "AveragedModel", "FullyShardedDataParallel")


def read_ancestor(ancestor: Network | nn.Module | str | Path | None, data: DataSet) -> Network | None:
    """Read an ancestor as a network with class names and preprocessing, after one small batch through it.

    Raises:
        DataError: A module has another number of outputs than the data has classes.
        ArtefactError: The ancestor's weights are not finite, it cannot read the images, or it gives no logits.
    """
    if ancestor is None:
        return None
    if isinstance(ancestor, Network):
        network = ancestor
    elif isinstance(ancestor, (str, Path)):
        network = load_network(ancestor)
    elif isinstance(ancestor, nn.Module):
        network = _wrap_bare_module(ancestor, data)
    else:
        fix = "pass a torch module, a germline.Network, or the name of a folder or file"
        if isinstance(ancestor, Descendant):
            fix = "pass the network of the descendant"
        raise ArtefactError(describe_argument("ancestor", ancestor), "an ancestor is a network with its weights", fix)
    return look_at(network, data)


def look_at(network: Network, data: DataSet) -> Network:
    """Check a network on one small batch, and name its classes where its source does not.

    Raises:
        DataError: A module has another number of outputs than the data has classes.
        ArtefactError: Its weights are not finite, it cannot read the images, or it gives no logits.
    """
    network = _cast_weights(network)
    pixels = next(
        iterate_batches(data.train.subset(torch.arange(min(LOOK_IMAGES, len(data.train)))), LOOK_IMAGES)
    ).pixels
    pixels = pixels.to(next((tensor.device for tensor in network.model.parameters()), pixels.device))
    outputs = run_batch(network.model, network.logits, pixels)
    logits = find_logits(outputs)
    if not network.has_head:
        return network
    if logits is None or logits.ndim != 2 or len(logits) != len(pixels) or not logits.is_floating_point():
        raise ArtefactError(
            f"the ancestor gives {describe_outputs(outputs)} for {len(pixels)} images",
            "logits [images, classes] are expected",
            "pass a classifier whose output is its logits",
        )
    if logits is not outputs:
        reader = LogitsReader(network.model)
        network = replace(
            network, model=reader, notes=(*network.notes, f"logits are read from {describe_outputs(outputs)}")
        )
    if not bool(logits.isfinite().all()):
        raise ArtefactError(
            "the ancestor's logits are not finite numbers",
            "nothing can be learned from them",
            "use a checkpoint from before its training failed",
        )
    return _name_classes(network, logits.shape[1], data)


def _name_classes(network: Network, outputs: int, data: DataSet) -> Network:
    """Check the number of classes; a network without class names is assumed to know the data's."""
    if "classes" not in network.assumed:
        if outputs != len(network.classes):
            raise ArtefactError(
                f"the ancestor has {outputs} outputs and {len(network.classes)} class names",
                "each output has one name",
                "pass a germline.Network that names all of its classes",
            )
        return network
    if network.classes == () and data.classes and outputs != len(data.classes):
        raise DataError(
            f"the ancestor has {outputs} outputs, '{data.name}' has {len(data.classes)} classes",
            "a module without class names is assumed to know the classes of the data",
            "use data with the ancestor's own classes, or pass a germline.Network that names them",
        )
    if outputs == len(data.classes) and network.classes != data.classes:
        note = f"assumed classes: the {outputs} of '{data.name}', in the order of {', '.join(data.classes[:3])} ..."
        return replace(network, classes=data.classes, notes=(*network.notes, note))
    return network if network.classes else replace(network, classes=number_classes(outputs))


def _wrap_bare_module(module: nn.Module, data: DataSet) -> Network:
    model, notes = _unwrap(module)
    check_weights(model)
    preprocess, assumptions = assume_preprocess(model, data)
    source = f"a {type(model).__name__} given in Python"
    return describe_again(
        Network(
            model,
            preprocess,
            (),
            source=source,
            notes=(*notes, *assumptions),
            assumed=frozenset({"classes", "image_size", "statistics"}),
        ),
        preprocess,
    )


def describe_again(network: Network, preprocess: Preprocess) -> Network:
    """Return a network with another preprocessing, and the spec that belongs to it."""
    spec, reason = describe_network(network.model, preprocess)
    return replace(network, preprocess=preprocess, spec=spec, reason=reason)


def _unwrap(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Take a module out of wrappers for several devices, averaging and compilation."""
    notes: list[str] = []
    while True:
        name = type(module).__name__
        inner: Any = getattr(module, "_orig_mod", None)
        if inner is None and name in _WRAPPERS:
            inner = getattr(module, "module", None)
        if not isinstance(inner, nn.Module):
            return module, tuple(notes)
        notes.append(f"the {type(inner).__name__} is taken out of its {name}")
        module = inner


def _cast_weights(network: Network) -> Network:
    """Return the network with float32 weights; the given one keeps its own."""
    check_weights(network.model)
    check_square(network.preprocess.image_size, type(network.model).__name__)
    return network.in_float32()
