"""Load a network by its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from germline.arguments import check_type, describe_argument
from germline.errors import ArtefactError, SettingError
from germline.learngene import MANIFEST_FILE
from germline.loading.folder import load_model_folder
from germline.loading.hub_network import is_hub_name, load_hub_network
from germline.loading.request import ImageRequest
from germline.loading.timm_model import load_timm_model
from germline.loading.transformers_folder import is_transformers_folder, load_transformers_folder
from germline.loading.weight_file import load_weight_file
from germline.network import Network


def load_network(
    name: str | Path,
    model: str | None = None,
    *,
    weights: bool = True,
    image_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Network:
    """Load an ancestor or a descendant.

    Args:
        name: A run or model folder, `timm:NAME`, `timm:NAME@SIDE` for another image size, `local-dir:FOLDER`,
            `hf-hub:NAME`, a folder of transformers, or a .pth or .safetensors file.
        model: Network that a file of weights belongs to: an architecture, a preset or a name in timm. What no tensor
            shows follows: `vit,heads=3`.
        weights: Whether to fetch the weights of a timm name; without them the network is good for counting only.
        image_size: Height and width of the network's images, in pixels, if its source does not say it.
        mean: Mean per channel in units of [0, 1], if its source does not say it.
        std: Standard deviation per channel in units of [0, 1], if its source does not say it.

    Raises:
        ArtefactError: The network is missing or damaged, or the file holds something else.
        SettingError: The file does not show something that is not given.
    """
    fix = 'Use for example name="runs/ancestor"'
    if isinstance(name, (nn.Module, Network)):
        fix = "Pass the network itself to gl.condense, or make a gl.Network of a module"
    check_type("name", name, (str, Path), "It is the name of a network, a file or a folder", fix)
    text = str(name)
    if not text:
        raise ArtefactError("the name of the network is empty", "", "give a name, or a folder")
    images = ImageRequest(image_size, _read_numbers("mean", mean), _read_numbers("std", std))
    plain = text.removeprefix("timm:")
    if plain != text or text.startswith("hf-hub:"):
        _refuse_model(text, model)
        load = load_hub_network if is_hub_name(plain) else load_timm_model
        return load(plain, weights, images)
    path = Path(text.removeprefix("local-dir:"))
    if path.is_dir():
        _refuse_model(text, model)
        if (path / MANIFEST_FILE).is_file():
            fix = f'load it by gl.Learngene.load("{path}"), and use its inherit(size=...)'
            raise ArtefactError(f"'{path}' is a learngene", "a network is expected here", fix)
        if not images.is_empty:
            raise SettingError(
                f"image size, mean or std for the folder '{path}'", "the folder itself says them", "remove them"
            )
        return load_transformers_folder(path) if is_transformers_folder(path) else load_model_folder(path)
    if path.exists():
        return load_weight_file(path, model, images)
    raise ArtefactError(
        f"no network at '{text}'",
        "there is neither a folder nor a file of that name",
        "give a run folder, timm:NAME, hf-hub:NAME, or a .pth or .safetensors file with --model",
    )


def _read_numbers(name: str, values: Sequence[float] | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SettingError(describe_argument(name, values), "it has one number per channel", f"use {name}=[0.5]")
    return tuple(values)


def _refuse_model(name: str, model: str | None) -> None:
    if model is not None:
        raise SettingError(f"model '{model}' for '{name}'", "that is no file of weights", "remove --model")
