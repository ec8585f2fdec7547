"""Networks of the Hugging Face hub: those that germline wrote are checked like a folder, others go through timm."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from germline.errors import ArtefactError
from germline.files import read_metadata
from germline.hub import PREFIX, download_folder
from germline.loading.folder import load_model_folder
from germline.loading.request import ImageRequest
from germline.loading.timm_model import load_timm_model, split_side
from germline.network import CONFIG, RECORD, WEIGHTS, Network
from germline.seals import SEAL_KEY

_PREFIX = re.compile(r"hf[-_]hub:", re.IGNORECASE)  # spellings that timm reads as the hub


def is_hub_name(name: str) -> bool:
    """Return whether timm would look for a name on the hub."""
    return _PREFIX.match(name) is not None


def load_hub_network(name: str, weights: bool, images: ImageRequest | None = None) -> Network:
    """Load a network of the hub.

    Weights with hashes of germline are compared with them, as in a local folder. Weights of others are loaded by timm.

    Args:
        name: `hf-hub:owner/name`, also with `@REVISION`, `@96` for images of 96 pixels, or both.
        weights: Whether to fetch its weights; without them timm builds it from its configuration.
        images: Image size, mean and std that the user gives.

    Raises:
        ArtefactError: There is no such network, it cannot be reached, or its files differ from their hashes.
        SettingError: The model cannot read images of that size.
        UnknownNameError: timm has no such model.
    """
    plain, side = split_side(_PREFIX.sub("", name, count=1))
    given = images or ImageRequest()
    if not weights:
        return load_timm_model(name, weights, given)
    folder = download_folder(plain, (CONFIG, WEIGHTS, RECORD), "network")
    if not _is_sealed(folder / WEIGHTS):
        return load_timm_model(name, weights, given)
    try:
        network = load_model_folder(folder)
    except ArtefactError as error:
        fix = f"Remove '{folder}' to fetch it again. If that does not help, push the network again"
        raise ArtefactError(error.what, error.why, fix) from error
    if not (folder / RECORD).exists():
        network = replace(network, source=f"{PREFIX}{plain}")
    if side is None and given.is_empty:
        return network
    # timm adapts the files that were just checked.
    resized = load_timm_model(f"local-dir:{folder}{'' if side is None else f'@{side}'}", weights, given)
    pixels = side or given.image_size
    return replace(resized, source=f"{network.source} at {pixels} pixels" if pixels else network.source)


def _is_sealed(weights: Path) -> bool:
    return weights.exists() and SEAL_KEY in read_metadata(weights)
