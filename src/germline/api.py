"""The two verbs and training, for Python users; the command line calls the same functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from germline.architectures import Preprocess, Size
from germline.data import DataSet, load_data
from germline.errors import DataError, SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Ledger
from germline.methods.base import Method, method_of
from germline.network import Network, load_network, wrap_module
from germline.randomness import generator, use_generator
from germline.registry import architecture_of, model_spec
from germline.training import CrossEntropy, FitResult, Objective, Run, TrainSettings


def condense(
    method: Method,
    *,
    ancestor: Network | nn.Module | str | Path | None = None,
    data: DataSet | str | Any,
    run: Run | None = None,
) -> Learngene:
    """Condense an ancestor into a learngene.

    Args:
        method: How, with its settings, such as `TLEG(epochs=20)`.
        ancestor: A network, a torch module, a run folder, or a name that `load_network` takes.
        data: A data set, its name, or what `germline.data` takes.
        run: Where to keep checkpoints and on what to compute; None keeps nothing.

    Raises:
        GermlineError: The ancestor, data or settings do not fit.
    """
    source = load_data(data)
    check_inputs(method, source, ancestor=ancestor is not None)
    return method.condense(load_ancestor(ancestor, source), source, run or Run())


def check_inputs(method: Method, data: DataSet, *, ancestor: bool) -> None:
    """Refuse what the method would not look at.

    Args:
        method: That is to condense.
        data: Given, with sets for further roles.
        ancestor: Whether one is given.

    Raises:
        SettingError: Names it.
    """
    if ancestor and method.ancestor == "none":
        raise SettingError("an ancestor is given", f"{method.name} makes its own", "leave it out")
    if odd := sorted(data.roles.keys() - set(method.traits.roles)):
        raise SettingError(
            f"data for {odd[0]}={data.roles[odd[0]].name}",
            f"{method.name} reads {', '.join(method.traits.roles)}",
            f"leave {odd[0]} out",
        )


def load_ancestor(ancestor: Network | nn.Module | str | Path | None, data: DataSet) -> Network | None:
    """What was given as ancestor, as a network with labels and preprocessing.

    A bare module is taken to have been trained on the data's classes, and to see pictures as its own timm configuration
    says, or else normalised by the data's statistics.

    Raises:
        DataError: A bare module's outputs are not as many as the data's classes.
    """
    if ancestor is None or isinstance(ancestor, Network):
        return ancestor
    if isinstance(ancestor, (str, Path)):
        return load_network(ancestor)
    labels = data.classes
    preprocess = Preprocess.from_images(data.train.sample())
    network = wrap_module(ancestor, preprocess, labels)
    outputs = getattr(ancestor, "num_classes", len(labels))
    if labels and outputs != len(labels):
        raise DataError(
            f"the ancestor has {outputs} outputs, '{data.name}' has {len(labels)} classes",
            fix="use data with the ancestor's own classes, or pass a germline.Network that names them",
        )
    return network


def train(
    network: Network,
    data: DataSet,
    settings: TrainSettings,
    *,
    objective: Objective | None = None,
    run: Run | None = None,
    name: str = "train",
) -> FitResult:
    """Train a network in place on a data set's training split, evaluated on its validation split.

    Raises:
        DataError: The label spaces differ, or there are no labels.
        TrainingError: The loss stopped being a number.
    """
    check_labels(network, data)
    return (run or Run()).fit(
        name,
        network,
        objective or CrossEntropy(settings.label_smoothing),
        data.train,
        settings,
        val=data.val,
        augmentation=data.augmentation,
    )


def build_gene_objective(gene: str | Path | Learngene, network: Network) -> Objective | None:
    """What a descendant is trained with by its gene's method; None for plain cross entropy.

    Args:
        gene: From which it has grown.
        network: As it was grown: weights that the method holds on to are those that it has now.

    Raises:
        ArtefactError: There is no such gene.
        SettingError: The network has not the gene's tensors.
    """
    found = gene if isinstance(gene, Learngene) else Learngene.load(gene)
    method = method_of(found)
    if network.spec is None:
        raise SettingError("a network that no architecture knows", "it has grown from no gene", "leave the gene out")
    method.check_size(found, network.spec)
    return method.objective(found, Descendant(network, Ledger()))


def check_labels(network: Network, data: DataSet) -> None:
    """Refuse to train a network on other classes than its own.

    Raises:
        DataError: The label spaces differ, or there are no labels.
    """
    if data.train.labels is None or data.val.labels is None:
        raise DataError(f"'{data.name}' has no labels", "training needs them", "put each class in a folder of its own")
    if network.classes != data.classes:
        raise DataError(
            f"the network knows {len(network.classes)} classes, '{data.name}' has {len(data.classes)} or other names",
            f"the first are {', '.join(network.classes[:3])} against {', '.join(data.classes[:3])}",
            "inherit with the data's classes: germline inherit ... --data NAME",
        )


def build_start_network(
    model: str, data: DataSet, settings: TrainSettings, seed: int, size: Size | None = None
) -> Network:
    """The network that `germline train` begins with: a folder as it is, a preset or timm ViT freshly initialised.

    Args:
        model: A folder, a name that `load_network` takes, a preset or a timm ViT's name. A preset goes before a timm
            model of the same name: `vgg11` is ours, `timm:vgg11` is timm's, with its weights.
        data: Gives the label space, channels and picture size of a fresh network.
        settings: Gives its dropped paths.
        seed: Draws its weights.
        size: Where it differs from the model's own.

    Raises:
        UnknownNameError: There is neither.
        SettingError: Dropped paths are asked of a network that has none.
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
        raise SettingError(f"drop_path={settings.drop_path}", f"a {name} has no paths to drop", "leave drop_path out")
    with use_generator(generator(seed, "train", "initial weights")):
        built = architecture_of(spec).build(spec)
    source = f"{model}, trained on {data.name} from random weights"
    preprocess = Preprocess.from_images(data.train.sample())
    return Network(built, preprocess, data.classes, spec=spec, licence=data.licence, source=source)
