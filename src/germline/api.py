"""The functions `condense`, `train` and `evaluate` for Python users; the command line calls them too."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import NoneType
from typing import Any

from torch import nn

from germline.architectures import Preprocess, Size, on_meta_device
from germline.arguments import check_type, describe_argument, name_class
from germline.data import DataSet, Split, load_data
from germline.errors import DataError, GermlineError, SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Ledger
from germline.loading import MeasuredAncestor, load_network, measure_ancestor, read_ancestor, rebuild_network
from germline.methods.base import Method, find_method, method_of
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.registry import architecture_of, model_spec
from germline.scoring import borrowed
from germline.training import CrossEntropy, FitResult, Objective, Run, TrainSettings
from germline.training.augmentation import check_augmentation
from germline.training.batch_limit import check_batch_memory
from germline.training.class_scores import ClassScores, match_classes, score_classes
from germline.training.device import check_device, find_best_device
from germline.training.settings import check_settings_type
from germline.training.small_data import warn_of_repeated_images

_LOG = logging.getLogger(__name__)


def condense(
    method: Method,
    *,
    ancestor: Network | nn.Module | str | Path | None = None,
    data: DataSet | str | Any,
    run: Run | None = None,
) -> Learngene:
    """Condense an ancestor into a learngene.

    Args:
        method: Method with its settings, such as `TLEG(epochs=20)`.
        ancestor: Network, torch module, run folder, or a name that `load_network` accepts. A module is not changed: its
            mode and device are restored.
        data: Data set, its name, or anything else that `germline.load_data` accepts.
        run: Folder of checkpoints and device; None saves no checkpoints.

    Raises:
        GermlineError: The ancestor, data or settings do not fit.
    """
    _check_method(method)
    _check_run(run)
    source = load_data(data)
    check_inputs(method, source, ancestor=ancestor is not None)
    return condense_measured(method, measure_for(method, ancestor, source), source, run or Run())


def measure_for(
    method: Method, ancestor: Network | nn.Module | str | Path | None, data: DataSet
) -> MeasuredAncestor | None:
    """Read a method's ancestor, refuse what the method cannot use, and measure it on validation images.

    Raises:
        GermlineError: The ancestor, data or settings do not fit.
    """
    network = read_ancestor(ancestor, data)
    # What no measurement can change is refused first.
    try:
        method.condense_spec(network, data)
    except GermlineError:
        rebuilt = None if network is None or network.spec is not None else rebuild_network(network)
        if rebuilt is None:
            raise
        network = rebuilt
        method.condense_spec(network, data)
    return None if network is None else measure_ancestor(network, data)


def condense_measured(method: Method, ancestor: MeasuredAncestor | None, data: DataSet, run: Run) -> Learngene:
    """Condense an ancestor that was measured, after telling the user what was assumed and what looks wrong.

    Raises:
        GermlineError: The ancestor, data or settings do not fit.
    """
    if run.fabric.is_global_zero:
        if ancestor is not None:
            for warning in ancestor.warnings:
                _LOG.warning(warning)
            for line in () if run.quiet else ancestor.lines:
                print(f"germline: {line}", file=sys.stderr, flush=True)
        for key, settings in _list_trainings(method):
            # A method may train on the data or on those of a role, or on a part of them.
            images = max(len(source.train) for source in (data, *data.roles.values()))
            warn_of_repeated_images(settings, images, key)
    if ancestor is None:
        return method.condense(None, data, run)
    # The ancestor is the user's: methods run it in eval mode and on their device.
    with borrowed(ancestor.network.model):
        return method.condense(ancestor.network, data, run)


def check_inputs(method: Method, data: DataSet, *, ancestor: bool) -> None:
    """Refuse inputs that the method would ignore.

    Args:
        method: Method that is to condense.
        data: Data set, with sets for further roles.
        ancestor: Whether an ancestor is given.

    Raises:
        SettingError: An ancestor or a set for a role is given that the method does not read. Or a setting changes
            images at random, and the data allow no augmentation. Or a batch is larger than the memory.
    """
    if ancestor and method.ancestor == "none":
        raise SettingError("an ancestor is given", f"the method {method.name} makes its own", "remove it")
    if odd := sorted(data.roles.keys() - set(method.traits.roles)):
        raise SettingError(
            f"data for {odd[0]}={data.roles[odd[0]].name}",
            f"the method {method.name} reads {', '.join(method.traits.roles)}",
            f"remove {odd[0]}",
        )
    for key, settings in _list_trainings(method):
        check_augmentation(settings, data.augmentation)
        check_batch_memory(settings, data.train, key)


def _list_trainings(method: Method) -> list[tuple[str, TrainSettings]]:
    """List the settings of a method's trainings, each with the start of its settings' names."""
    parts = (("", method), *((f"{key}.", value) for key, value in vars(method).items()))
    return [(key, settings) for key, settings in parts if isinstance(settings, TrainSettings)]


def _check_method(method: object) -> None:
    """Refuse a method that is given by its name, its class or its settings.

    Raises:
        SettingError: The message names the class that belongs to the name.
        UnknownNameError: There is no method of that name.
    """
    if isinstance(method, str):
        made = f"{name_class(find_method(method))}(...)"
        raise SettingError(f"method='{method}' is a name", "A method is an object with its settings", f"Use {made}")
    check_type(
        "method", method, Method, "A method is an object with its settings", "Use for example gl.TLEG(steps=2000)"
    )


def _check_run(run: object) -> None:
    check_type("run", run, (Run, NoneType), "It is a run with a folder, seed and device", 'Use gl.Run("runs/first")')


def load_ancestor(ancestor: Network | nn.Module | str | Path | None, data: DataSet) -> Network | None:
    """Load an ancestor as a network with class names and preprocessing, and look at it.

    A bare module is assumed to know the data's classes. Its size and channels are its own. Its mean and std come from
    its timm configuration, or from the data if it has none, and others are tried on validation images.

    Raises:
        DataError: A network without class names has another number of outputs than the data has classes.
        ArtefactError: The ancestor computes nothing that can be learned from.
    """
    network = read_ancestor(ancestor, data)
    return None if network is None else measure_ancestor(network, data).network


def train(
    network: Network | Descendant,
    data: DataSet | str | Any,
    settings: TrainSettings,
    *,
    objective: Objective | None = None,
    run: Run | None = None,
    name: str = "train",
) -> FitResult:
    """Train a network in place on a data set's training split, and evaluate it on the validation split.

    Args:
        network: Network or descendant to train.
        data: Data with the network's classes: a data set, its name, or anything else that `germline.load_data` accepts.
        settings: Settings of the training.
        objective: Loss; None for cross entropy.
        run: Folder of checkpoints and device; None saves no checkpoints.
        name: Name of the training within the run.

    Raises:
        DataError: The data set has other classes than the network, or no labels.
        SettingError: An argument has another type, or a batch is larger than the memory.
        TrainingError: The loss is not a finite number.
    """
    subject = _network_of(network)
    check_settings_type(settings)
    _check_run(run)
    source, place = load_data(data), run or Run()
    check_labels(subject, source)
    check_batch_memory(settings, source.train)
    if place.fabric.is_global_zero:
        warn_of_repeated_images(settings, len(source.train))
    return fit_classifier(subject, source, settings, objective=objective, run=place, name=name)


def fit_classifier(
    network: Network, data: DataSet, settings: TrainSettings, *, objective: Objective | None = None, run: Run, name: str
) -> FitResult:
    """Train as `train` does, without a warning about the settings.

    Raises:
        DataError: The data set has other classes than the network, or no labels.
        TrainingError: The loss is not a finite number.
    """
    check_labels(network, data)
    return run.fit(
        name,
        network,
        objective or CrossEntropy(settings.label_smoothing),
        data.train,
        settings,
        val=data.val,
        augmentation=data.augmentation,
    )


def evaluate(
    network: Network | Descendant, data: DataSet | str | Any, *, split: Split = "val", device: str = "auto"
) -> ClassScores:
    """Measure a network on labelled images; classes are matched by name.

    Args:
        network: Network or descendant, with a head for the data's classes.
        data: Data set, its name, or anything else that `germline.load_data` accepts.
        split: Part of the data: "train", "val" or "test".
        device: "cpu", "cuda" or "mps"; "auto" takes the best one.

    Returns:
        Accuracy, loss, accuracy per class and confusions.

    Raises:
        DataError: The images have no labels, or other classes than the network.
        SettingError: There is no such device, or an argument has another type.
        UnknownNameError: There is no such split.
    """
    subject, source = _network_of(network), load_data(data)
    check_device(device, "32-true")
    images, _ = match_classes(subject, source.split(split), source.name)
    return score_classes(subject, images, find_best_device() if device == "auto" else device)


def _network_of(network: object) -> Network:
    """Return the network of an argument that is a network or a descendant.

    Raises:
        SettingError: It is something else; the message says how to make a network of it.
    """
    if isinstance(network, Descendant):
        return network.network
    if isinstance(network, Network):
        return network
    why, fix = "It is a network with class names and preprocessing", "Use for example gl.load_network(...)"
    if isinstance(network, (str, Path)):
        fix = f'Use gl.load_network("{network}")'
    elif isinstance(network, Learngene):
        why, fix = "A learngene grows networks", "Use its inherit(size=...), and pass the descendant"
    elif isinstance(network, nn.Module):
        why = "A bare module has no class names and no preprocessing"
        fix = "Use gl.Network(module, gl.Preprocess(...), classes)"
    raise SettingError(describe_argument("network", network), why, fix)


def build_gene_objective(gene: str | Path | Learngene, network: Network, seed: int = 0) -> Objective | None:
    """Build the loss with which a gene's method trains a descendant; None for plain cross entropy.

    Args:
        gene: Gene that the network has grown from.
        network: Descendant before its training; a method may hold it near its present weights.
        seed: Random seed of what the loss draws, such as a second head.

    Raises:
        ArtefactError: There is no such gene.
        SettingError: The gene cannot grow such a network.
    """
    learngene = gene if isinstance(gene, Learngene) else Learngene.load(gene)
    method = method_of(learngene)
    if network.spec is None:
        raise SettingError(
            "a gene is given for a network that no architecture knows",
            "such a network has not grown from a gene",
            "remove the gene",
        )
    method.check_size(learngene, network.spec)
    return method.objective(learngene, Descendant(network, Ledger(), {"seed": seed}))


def check_labels(network: Network, data: DataSet) -> None:
    """Refuse to train a network on other classes than its own.

    Raises:
        DataError: The data set has other classes than the network, or no labels.
    """
    if data.train.labels is None or data.val.labels is None:
        raise DataError(f"'{data.name}' has no labels", "training needs them", "use one folder per class")
    if network.classes != data.classes:
        raise DataError(
            f"the network knows {len(network.classes)} classes, '{data.name}' has {len(data.classes)} or other names",
            f"the first are {', '.join(network.classes[:3])} against {', '.join(data.classes[:3])}",
            "run germline inherit with --data, so that the network has the data's classes",
        )


def build_start_network(
    model: str, data: DataSet, settings: TrainSettings, seed: int, size: Size | None = None, *, is_hollow: bool = False
) -> Network:
    """Build the network that `germline train` starts with: a loaded one, or a freshly initialised preset or timm model.

    Args:
        model: Folder, name that `load_network` accepts, preset, or timm model. A preset has priority over a timm model
            of the same name: `vgg11` is ours, `timm:vgg11` is timm's with its weights.
        data: Data set that gives the classes, channels and image size of a fresh network.
        settings: Settings that give its rate of dropped paths.
        seed: Random seed of its weights.
        size: Changes to the model's size.
        is_hollow: Whether a fresh network has shapes alone, without weights and statistics of images.

    Raises:
        UnknownNameError: No preset and no timm model has that name.
        SettingError: The network has no such size, or no paths to drop.
    """
    if Path(model).is_dir() or ":" in model:
        return load_network(model)
    channels, side = data.train.channels, data.train.side
    spec = model_spec(model, image_size=side, channels=channels, classes=len(data.classes))
    spec = architecture_of(spec).resize(spec, size or Size())
    if "drop_path" in type(spec).model_fields:
        spec = spec.model_copy(update={"drop_path": settings.drop_path})
    elif settings.drop_path:
        name = architecture_of(spec).name
        raise SettingError(f"drop_path={settings.drop_path}", f"a {name} has no paths to drop", "remove drop_path")
    with on_meta_device() if is_hollow else use_generator(generator(seed, "train", "initial weights")):
        module = architecture_of(spec).build(spec)
    source = f"{model}, trained on {data.name} from random weights"
    if is_hollow:
        grey = (0.5,) * channels
        preprocess = Preprocess(channels=channels, image_size=side, mean=grey, std=grey)
    else:
        preprocess = Preprocess.from_images(data.train.sample())
    return Network(module, preprocess, data.classes, spec=spec, licence=data.licence, source=source)
