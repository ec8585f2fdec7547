"""Load a network by its name."""

from __future__ import annotations

from pathlib import Path

from germline.errors import ArtefactError
from germline.loading.folder import load_model_folder
from germline.loading.timm_model import load_timm_model
from germline.loading.weight_file import load_weight_file
from germline.network import Network


def load_network(name: str | Path, model: str | None = None, *, weights: bool = True) -> Network:
    """Load an ancestor or a descendant.

    Args:
        name: A run or model folder, `timm:NAME`, `local-dir:FOLDER`, `hf-hub:NAME`, or a .pth or .safetensors file.
        model: Name in timm of the network that a file of weights belongs to.
        weights: Whether to fetch the weights of a timm name; without them the network is good for counting only.

    Raises:
        ArtefactError: The network is missing or damaged, or the file holds something else.
    """
    text = str(name)
    for prefix in ("timm:", "hf-hub:"):
        if text.startswith(prefix):
            return load_timm_model(text.removeprefix("timm:"), weights)
    path = Path(text.removeprefix("local-dir:"))
    if path.is_dir():
        return load_model_folder(path)
    if path.is_file():
        return load_weight_file(path, model)
    raise ArtefactError(
        f"no network at '{text}'",
        "there is neither a folder nor a file of that name",
        "give a run folder, timm:NAME, hf-hub:NAME, or a .pth or .safetensors file with --model",
    )
