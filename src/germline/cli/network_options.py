"""Options that say what a file of weights does not, and the network that is loaded with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from germline.network import Network

NetworkOptions = tuple[str | None, int | None, str | None, str | None]  # model, image size, mean and deviation

Model = Annotated[
    str | None,
    typer.Option(help="Network of a weight file: resnet18, vit,heads=3 or a name in timm, with what no tensor shows."),
]
ImageSize = Annotated[int | None, typer.Option(help="Image size that a weight file was trained at, in pixels.")]
Mean = Annotated[
    str | None, typer.Option(help="Mean per channel that a weight file was trained with, such as 0.49,0.48,0.45.")
]
Std = Annotated[
    str | None, typer.Option(help="Deviation per channel that a weight file was trained with, in units of [0, 1].")
]


def read_network_options(
    model: str | None, image_size: int | None, mean: str | None, std: str | None
) -> dict[str, Any]:
    """Read what was given about a network's weights, as arguments of `load_network`.

    Raises:
        SettingError: A text is not a list of numbers.
    """
    given = {
        "model": model,
        "image_size": image_size,
        "mean": read_numbers("mean", mean),
        "std": read_numbers("std", std),
    }
    return {key: value for key, value in given.items() if value is not None}


def check_network_inputs(
    network: str | None, data: str | None, options: NetworkOptions, *, may_have_roles: bool = False
) -> dict[str, Any]:
    """Check the names of a network and of data before torch is imported, and read what was given about the network.

    Args:
        network: Name of a network; None if the command runs without one.
        data: Name of a data set; None if the command reads none.
        options: Model, image size, mean and deviation, as the user typed them.
        may_have_roles: Whether the command reads further data sets, such as `held_out`.

    Returns:
        Arguments of `load_network`.

    Raises:
        GermlineError: A name or an option is wrong, or an option describes a network that is not there.
    """
    from germline.cli.names import check_data_name, check_network_name
    from germline.errors import SettingError

    if data is not None:
        check_data_name(data, may_have_roles=may_have_roles)
    if network is not None:
        check_network_name(network)
    given = read_network_options(*options)
    if network is None and given:
        raise SettingError(
            f"--{next(iter(given)).replace('_', '-')} without --ancestor", "It describes one", "Remove it"
        )
    return given


def choose_device(name: str) -> str:
    """Return the device of a command that trains nothing; the best one for "auto".

    Raises:
        SettingError: There is no such device.
    """
    from germline.training.device import check_device, find_best_device

    check_device(name, "32-true")
    return find_best_device() if name == "auto" else name


def read_numbers(name: str, text: str | None) -> list[float] | None:
    """Read numbers that are separated by commas or spaces.

    Raises:
        SettingError: The text holds something else.
    """
    from germline.errors import SettingError

    if text is None:
        return None
    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise SettingError(
            f"--{name} {text}", "It is one number per channel", f"Use for example --{name} 0.5,0.5,0.5"
        ) from error


def load_checked(name: str, given: dict[str, Any], data: Any = None) -> Network:
    """Load a network and look at it: finite weights, logits for each class, class names, preprocessing.

    Args:
        name: Name that `load_network` accepts.
        given: Arguments from `check_network_inputs`.
        data: Data set that names the classes of a network without names; None leaves them numbered.

    Raises:
        GermlineError: The network cannot be read, has no classifier, or does not fit the data.
    """
    from germline.errors import ArtefactError
    from germline.loading import load_network
    from germline.loading.accuracy import measure_ancestor
    from germline.loading.look import look_at
    from germline.loading.weights import check_weights

    network = load_network(name, **given)
    if not network.has_head:
        raise ArtefactError(
            f"'{name}' has no classifier", "it gives features and names no classes", "use a network with a head"
        )
    if data is None:
        check_weights(network.model)
        return network
    network = look_at(network, data)
    return measure_ancestor(network, data).network if network.assumed & {"image_size", "statistics"} else network
