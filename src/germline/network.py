"""A trained or growing network with all that it needs to be used: labels, pictures, licence; and its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from germline.architectures import Architecture, Preprocess, ResNetSpec, Spec
from germline.errors import ArtefactError, SettingError, UnknownNameError
from germline.files import atomic_folder, check_output_folder, read_json, read_tensors, write_json, write_tensors
from germline.registry import ARCHITECTURES, architecture_of

WEIGHTS, CONFIG = "model.safetensors", "config.json"
HEADS = ("head.weight", "head.fc.weight", "fc.weight", "classifier.weight")
GIVE_A_RUN = "give the folder that germline train or inherit wrote"


@dataclass(frozen=True)
class Network:
    """A classifier and what belongs to it.

    Attributes:
        model: Maps normalised pictures [B, C, H, W] to logits [B, classes].
        preprocess: How it sees pictures.
        classes: Ordered class names.
        spec: What the architecture needs to rebuild it; None where no architecture knows it (it can still teach).
        licence: Licence of its weights, or "unknown".
        source: Where its weights come from, in one sentence.
    """

    model: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    spec: Spec | None = None
    licence: str = "unknown"
    source: str = "unknown"

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits [B, classes] for pixels [B, C, H, W] in [0, 1]."""
        logits: Tensor = self.model(self.preprocess(pixels))
        return logits

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a plain timm folder: `timm.create_model("local-dir:FOLDER", pretrained=True)` takes it.

        Raises:
            OutputError: The folder is not empty or cannot be written.
            ArtefactError: No architecture knows how to rebuild the network.
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
        """What timm reads: our own size, channels, statistics and labels, and no pretraining tag."""
        if self.spec is None:
            raise ArtefactError(
                "this network cannot be saved as a timm folder", "no architecture knows how to rebuild it"
            )
        form = architecture_of(self.spec).export_config(self.spec)
        side = self.preprocess.image_size
        return {
            "architecture": form.model_name,
            "num_classes": len(self.classes),
            "global_pool": form.arguments.get("global_pool", "avg"),
            "label_names": list(self.classes),
            "model_args": form.arguments,
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
                **form.pretrained_cfg,
            },
        }

    def _card(self) -> str:
        ours = "After `import germline.timm`, " if type(self.model).__module__.startswith("germline.timm") else ""
        return (
            f"---\nlicense: {self.licence}\nlibrary_name: timm\n---\n\n"
            f"A network for {len(self.classes)} classes. Source of its weights: {self.source}\n\n"
            f'{ours}`timm.create_model("local-dir:FOLDER", pretrained=True)` loads it.\n'
        )


def load_network(name: str | Path, model: str | None = None, *, weights: bool = True) -> Network:
    """Load an ancestor or a descendant.

    Args:
        name: A run or model folder, `timm:NAME`, `local-dir:FOLDER`, `hf-hub:NAME`, or a .pth or .safetensors file.
        model: For a file of weights, the timm name of the network that it belongs to.
        weights: Whether a timm name's weights are fetched; without them its form can be counted, and no more.

    Raises:
        ArtefactError: It is missing, damaged, or not a network.
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
    """A bare module with what it needs; its own timm configuration, where it has one, goes before `preprocess`."""
    config = getattr(model, "pretrained_cfg", None)
    own = _preprocess(config) if config and config.get("mean") else preprocess
    return Network(model, own, classes, spec=_describe(model, own), source=f"a {type(model).__name__} given in Python")


def _from_folder(folder: Path) -> Network:
    config = read_json(folder / CONFIG)
    try:
        arguments, data = config.get("model_args", {}), config["pretrained_cfg"]
        built = _build(config["architecture"], num_classes=config["num_classes"], **arguments)
        preprocess = _preprocess(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(
            f"'{folder / CONFIG}' is not a timm configuration", f"problem with {error}", GIVE_A_RUN
        ) from error
    load_strict(built, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    labels = config.get("label_names") or data.get("label_names")
    extra = read_json(folder / "descendant.json") if (folder / "descendant.json").exists() else {}
    return Network(
        model=built,
        preprocess=preprocess,
        classes=tuple(labels) if labels else _numbered(config["num_classes"]),
        spec=_describe(built, preprocess),
        licence=data.get("license", "unknown"),
        source=extra.get("source", str(folder)),
    )


def _from_timm(name: str, weights: bool) -> Network:
    from timm.data import ImageNetInfo

    built = _build(name, pretrained=weights)
    labels = _numbered(built.num_classes)
    if built.num_classes == 1000:
        info = ImageNetInfo()
        labels = tuple(info.index_to_label_name(index) for index in range(1000))
    preprocess = _preprocess(built.pretrained_cfg)
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
            f"'{path}' is a file of weights", "its architecture is unknown", "name it with --model, a timm name"
        )
    tensors = read_tensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    heads = [tensors[key].shape[0] for key in HEADS if key in tensors]
    built = _build(model, **({"num_classes": heads[0]} if heads else {}))
    load_strict(built, tensors, path)
    preprocess = _preprocess(built.pretrained_cfg)
    return Network(
        model=built,
        preprocess=preprocess,
        classes=_numbered(built.num_classes),
        spec=_describe(built, preprocess),
        source=str(path),
    )


def _read_pth(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here, from zip to unpickling errors
        raise ArtefactError(
            f"'{path}' cannot be read as plain weights",
            # The rest of torch's message tells how to open it all the same, which is no advice here.
            str(error).splitlines()[0].split(". ")[0],
            "only files that load with torch.load(weights_only=True) are taken",
        ) from error
    for key in ("state_dict", "model"):
        loaded = loaded.get(key, loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ArtefactError(f"'{path}' holds no state dict", "a mapping from names to tensors is expected")
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


def _preprocess(config: dict[str, Any]) -> Preprocess:
    channels, height, _ = config["input_size"]
    return Preprocess(channels=channels, image_size=height, mean=tuple(config["mean"]), std=tuple(config["std"]))


def _describe(model: nn.Module, preprocess: Preprocess) -> Spec | None:
    for name in ARCHITECTURES:
        architecture: Architecture[Any] = ARCHITECTURES[name]
        try:
            spec: Spec = architecture.describe(model)
        except ArtefactError:
            continue
        # timm's ResNet takes pictures of any size and holds none.
        side = {"image_size": preprocess.image_size} if isinstance(spec, ResNetSpec) else {}
        return spec.model_copy(update=side)
    return None


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(count))


def load_strict(model: nn.Module, tensors: dict[str, Tensor], origin: str | Path, *, assign: bool = False) -> None:
    """Load tensors that must be exactly the model's own; `assign` takes them over instead of copying.

    Raises:
        ArtefactError: A tensor is missing, unknown, or of another shape.
    """
    own = model.state_dict()
    odd = sorted(own.keys() ^ tensors.keys())
    odd += [
        f"{name} {tuple(tensors[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if odd:
        raise ArtefactError(
            f"'{origin}' does not fit the network",
            f"{len(odd)} tensors are missing, unknown or of another shape, first {json.dumps(odd[0])}",
        )
    model.load_state_dict(tensors, assign=assign)
