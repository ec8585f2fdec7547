"""Options that say what a file of weights does not, and the network that is loaded with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from germline.network import Network

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
        given: Arguments from `read_network_options`.
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
