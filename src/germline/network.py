"""A network with everything that its use needs: class names, preprocessing, licence; and its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from germline.architectures import Preprocess, Spec
from germline.errors import ArtefactError, SettingError, UnknownNameError
from germline.files import atomic_folder, check_output_folder, read_json, read_tensors, write_json, write_tensors
from germline.registry import architecture_of, architecture_of_model

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_GIVE_A_RUN = "give the folder that `germline train` or `germline inherit` wrote"


@dataclass(frozen=True)
class Network:
    """A classifier and what belongs to it.

    Attributes:
        model: Module that maps normalised images [B, C, H, W] to logits [B, classes].
        preprocess: Preprocessing of its images.
        classes: Ordered class names.
        spec: Spec that its architecture rebuilds it from; None if no architecture can (it can still be a teacher).
        licence: Licence of its weights, or "unknown".
        source: Origin of its weights, in one sentence.
    """

    model: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    spec: Spec | None = None
    licence: str = "unknown"
    source: str = "unknown"

    def logits(self, pixels: Tensor) -> Tensor:
        """Compute logits [B, classes] for pixels [B, C, H, W] in [0, 1]."""
        logits: Tensor = self.model(self.preprocess(pixels))
        return logits

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a plain timm folder, which `timm.create_model("local-dir:FOLDER", pretrained=True)` loads.

        Raises:
            OutputError: The folder is not empty or cannot be written.
            ArtefactError: No architecture can rebuild the network.
        """
        folder = Path(folder)
        check_output_folder(folder, overwrite=overwrite)
        with atomic_folder(folder) as fresh:
            self.write(fresh)

    def write(self, folder: Path) -> None:
        """Write weights, configuration and card into an existing folder."""
        write_tensors(folder / WEIGHTS, self.model.state_dict())
        write_json(folder / CONFIG, self.timm_config())
        (folder / "README.md").write_text(self._card(), encoding="utf-8")

    def timm_config(self) -> dict[str, Any]:
        """Return the configuration that timm reads: size, channels, statistics, class names, and no pretraining tag."""
        if self.spec is None:
            raise ArtefactError(
                "this network cannot be saved as a timm folder",
                "no architecture of germline can rebuild it",
                "use it as a teacher, or choose a name from `germline list models`",
            )
        timm_arguments = architecture_of(self.spec).export_config(self.spec)
        side = self.preprocess.image_size
        return {
            "architecture": timm_arguments.model_name,
            "num_classes": len(self.classes),
            "global_pool": timm_arguments.arguments.get("global_pool", "avg"),
            "label_names": list(self.classes),
            "model_args": timm_arguments.arguments,
            "pretrained_cfg": {
                "tag": "",
                "custom_load": False,
                "input_size": [self.preprocess.channels, side, side],
                "interpolation": "bicubic",
                "crop_pct": 1.0,
                "crop_mode": "center",
                "mean": list(self.preprocess.mean),
                "std": list(self.preprocess.std),
                "num_classes": len(self.classes),
                "license": self.licence,
                **timm_arguments.pretrained_cfg,
            },
        }

    def _card(self) -> str:
        prefix = "After `import germline.timm`, " if type(self.model).__module__.startswith("germline.timm") else ""
        return (
            f"---\nlicense: {self.licence}\nlibrary_name: timm\n---\n\n"
            f"A network for {len(self.classes)} classes. Source of its weights: {self.source}\n\n"
            f'{prefix}`timm.create_model("local-dir:FOLDER", pretrained=True)` loads it.\n'
        )


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
            return _from_timm(text.removeprefix("timm:"), weights)
    path = Path(text.removeprefix("local-dir:"))
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        return _from_file(path, model)
    raise ArtefactError(
        f"no network at '{text}'",
        "there is neither a folder nor a file of that name",
        "give a run folder, timm:NAME, hf-hub:NAME, or a .pth or .safetensors file with --model",
    )


def wrap_module(model: nn.Module, preprocess: Preprocess, classes: tuple[str, ...]) -> Network:
    """Make a network of a bare module; its own timm configuration, if it has one, has priority over `preprocess`."""
    config = getattr(model, "pretrained_cfg", None)
    chosen = _read_preprocess(config) if config and config.get("mean") else preprocess
    source = f"a {type(model).__name__} given in Python"
    return Network(model, chosen, classes, spec=_describe(model, chosen), source=source)


def _from_folder(folder: Path) -> Network:
    config = read_json(folder / CONFIG)
    try:
        arguments, data = config.get("model_args", {}), config["pretrained_cfg"]
        built = _build(config["architecture"], num_classes=config["num_classes"], **arguments)
        preprocess = _read_preprocess(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(
            f"'{folder / CONFIG}' is not a timm configuration", f"there is a problem with {error}", _GIVE_A_RUN
        ) from error
    load_strict(built, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    labels = config.get("label_names") or data.get("label_names")
    extra = read_json(folder / "descendant.json") if (folder / "descendant.json").exists() else {}
    return Network(
        model=built,
        preprocess=preprocess,
        classes=tuple(labels) if labels else _number_classes(config["num_classes"]),
        spec=_describe(built, preprocess),
        licence=data.get("license", "unknown"),
        source=extra.get("source", str(folder)),
    )


def _from_timm(name: str, weights: bool) -> Network:
    from timm.data import ImageNetInfo

    built = _build(name, pretrained=weights)
    labels = _number_classes(built.num_classes)
    if built.num_classes == 1000:
        info = ImageNetInfo()
        labels = tuple(info.index_to_label_name(index) for index in range(1000))
    preprocess = _read_preprocess(built.pretrained_cfg)
    return Network(
        model=built,
        preprocess=preprocess,
        classes=labels,
        spec=_describe(built, preprocess),
        licence=built.pretrained_cfg.get("license") or "unknown",
        source=f"timm {name}",
    )


def _from_file(path: Path, model: str | None) -> Network:
    if model is None:
        raise SettingError(
            f"'{path}' is a file of weights", "its architecture is unknown", "give its timm name with --model"
        )
    tensors = read_tensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    built = _build(model)
    classes = _count_classes(built, tensors)
    if classes != built.num_classes:
        built = _build(model, num_classes=classes)
    load_strict(built, tensors, path)
    preprocess = _read_preprocess(built.pretrained_cfg)
    return Network(
        model=built,
        preprocess=preprocess,
        classes=_number_classes(built.num_classes),
        spec=_describe(built, preprocess),
        source=str(path),
    )


def _count_classes(model: Any, tensors: dict[str, Tensor]) -> int:
    """Count the outputs of the classifier that timm names in the model's configuration."""
    names = model.pretrained_cfg.get("classifier")
    first = names if isinstance(names, str) or not names else names[0]
    weight = tensors.get(f"{first}.weight")
    return int(model.num_classes) if weight is None else weight.shape[0]


def _read_pth(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here, from zip to unpickling errors
        raise ArtefactError(
            f"'{path}' cannot be read as plain weights",
            # The rest of torch's message explains how to load the file unsafely.
            str(error).splitlines()[0].split(". ")[0],
            "give a file that torch.load(weights_only=True) can load",
        ) from error
    for key in ("state_dict", "model"):
        loaded = loaded.get(key, loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ArtefactError(
            f"'{path}' holds no state dict",
            "a mapping from names to tensors is expected",
            "give a file that holds `model.state_dict()`",
        )
    return dict(loaded)


def _build(name: str, **arguments: Any) -> Any:
    import timm

    try:
        model = timm.create_model(name, **arguments)
    except (RuntimeError, AssertionError, ValueError) as error:
        if "Unknown model" not in str(error):
            raise ArtefactError(f"timm cannot build '{name}'", str(error).splitlines()[0]) from error
        raise UnknownNameError.with_nearest("model", name, timm.list_models()) from error
    except OSError as error:
        raise ArtefactError(f"weights of '{name}' cannot be fetched", str(error).splitlines()[0]) from error
    return model.eval()


def _read_preprocess(config: dict[str, Any]) -> Preprocess:
    channels, height, _ = config["input_size"]
    return Preprocess(channels=channels, image_size=height, mean=tuple(config["mean"]), std=tuple(config["std"]))


def _describe(model: nn.Module, preprocess: Preprocess) -> Spec | None:
    """Return the spec of a network; None if no architecture can rebuild it."""
    try:
        architecture = architecture_of_model(model)
        spec: Spec = architecture.describe(model)
    except ArtefactError:
        return None
    if architecture.stores_image_size:
        return spec
    return spec.model_copy(update={"image_size": preprocess.image_size})


def _number_classes(count: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(count))


def load_strict(model: nn.Module, tensors: dict[str, Tensor], origin: str | Path, *, assign: bool = False) -> None:
    """Load tensors whose names and shapes must be exactly the model's.

    Args:
        model: Network to load into.
        tensors: Tensors by name.
        origin: File or object that the tensors come from, for the message.
        assign: Whether to use the tensors themselves instead of copying their values.

    Raises:
        ArtefactError: A tensor is missing, unknown, or of another shape.
    """
    state = model.state_dict()
    odd = sorted(state.keys() ^ tensors.keys())
    odd += [
        f"{name} {tuple(tensors[name].shape)}"
        for name in state.keys() & tensors.keys()
        if state[name].shape != tensors[name].shape
    ]
    if odd:
        raise ArtefactError(
            f"'{origin}' does not fit the network",
            f"{len(odd)} tensors are missing, unknown or of another shape, first {json.dumps(odd[0])}",
            "choose the network that the weights belong to",
        )
    model.load_state_dict(tensors, assign=assign)
