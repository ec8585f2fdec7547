"""Model folders: timm's `config.json` beside `model.safetensors`."""

from __future__ import annotations

from pathlib import Path

from germline.errors import ArtefactError
from germline.files import read_json, read_tensors
from germline.loading.build import build_timm_model, describe_network, number_classes, read_preprocess
from germline.network import CONFIG, WEIGHTS, Network, load_strict


def load_model_folder(folder: Path) -> Network:
    """Load a model folder of germline or timm.

    Raises:
        ArtefactError: The configuration or the weights are missing, damaged, or do not fit together.
    """
    config = read_json(folder / CONFIG)
    try:
        arguments, data = config.get("model_args", {}), config["pretrained_cfg"]
        built = build_timm_model(config["architecture"], num_classes=config["num_classes"], **arguments)
        preprocess = read_preprocess(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(
            f"'{folder / CONFIG}' is not a timm configuration",
            f"there is a problem with {error}",
            "give the folder that `germline train` or `germline inherit` wrote",
        ) from error
    load_strict(built, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    labels = config.get("label_names") or data.get("label_names")
    extra = read_json(folder / "descendant.json") if (folder / "descendant.json").exists() else {}
    return Network(
        model=built,
        preprocess=preprocess,
        classes=tuple(labels) if labels else number_classes(config["num_classes"]),
        spec=describe_network(built, preprocess),
        licence=data.get("license", "unknown"),
        source=extra.get("source", str(folder)),
    )
