"""A network with everything that its use needs: class names, preprocessing, licence; and its folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from germline.architectures import Preprocess, Spec, on_meta_device
from germline.arguments import check_class_list, check_path, check_type
from germline.card_metadata import Measurement
from germline.cards import make_network_card
from germline.errors import ArtefactError
from germline.files import atomic_folder, write_json, write_tensors
from germline.hub import CARD_FILE, HubArtefact
from germline.outputs import check_output_folder, check_replaceable
from germline.registry import architecture_of
from germline.seals import make_seal

WEIGHTS, CONFIG, RECORD = "model.safetensors", "config.json", "descendant.json"
_UNSAVED = "this network cannot be saved as a timm folder"


@dataclass(frozen=True)
class Network(HubArtefact):
    """A classifier and what belongs to it.

    Attributes:
        model: Module that maps normalised images [B, C, H, W] to logits [B, classes].
        preprocess: Preprocessing of its images.
        classes: Ordered class names.
        spec: Spec that its architecture rebuilds it from; None if no architecture can (it can still be a teacher).
        licence: Licence of its weights, or "unknown".
        source: Origin of its weights, in one sentence.
        reason: Reason why no architecture rebuilds it; empty if one does.
        notes: What its loader assumed or changed, one sentence each.
        assumed: Facts that its source does not give, among "classes", "image_size" and "statistics".
        measured: Accuracies that its card gives.
    """

    model: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    spec: Spec | None = None
    licence: str = "unknown"
    source: str = "unknown"
    reason: str = ""
    notes: tuple[str, ...] = ()
    assumed: frozenset[str] = frozenset()
    measured: tuple[Measurement, ...] = ()

    def __post_init__(self) -> None:
        check_type("model", self.model, nn.Module, "It is a torch module", "Use for example timm.create_model(...)")
        check_type(
            "preprocess",
            self.preprocess,
            Preprocess,
            "It says how images are prepared",
            "Use gl.Preprocess(channels=..., image_size=..., mean=..., std=...)",
        )
        object.__setattr__(self, "classes", check_class_list(self.classes))

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Network:
        """Load a network; another name of `germline.load_network`.

        Args:
            name: Folder, file, `timm:NAME` or `hf-hub:NAME`.
            options: Options of `germline.load_network`.
        """
        # The loaders build on this module, and a network is loaded only here.
        network: Network = import_module("germline.loading").load_network(name, **options)
        return network

    def with_accuracy(self, accuracy: float, data: str, split: str = "validation") -> Network:
        """Return this network with an accuracy for its card.

        Args:
            accuracy: Share of images that it classifies rightly.
            data: Name of their data set.
            split: Part of that data set.
        """
        return replace(self, measured=(*self.measured, Measurement(accuracy, data, split=split)))

    def in_float32(self) -> Network:
        """Return the network with float32 weights; this one keeps its own if they have another type."""
        others = list_other_floats((*self.model.parameters(), *self.model.buffers()))
        if not others:
            return self
        note = f"weights in {', '.join(others)} are cast to float32"
        return replace(self, model=copy.deepcopy(self.model).float(), notes=(*self.notes, note))

    @property
    def has_head(self) -> bool:
        """Whether there is a classifier; the outputs of a backbone with `num_classes=0` are features."""
        outputs = getattr(self.model, "num_classes", None) if self.spec is None else self.spec.classes
        return outputs != 0

    def logits(self, pixels: Tensor) -> Tensor:
        """Compute logits [B, classes] for pixels [B, C, H, W] in [0, 1]."""
        logits: Tensor = self.model(self.preprocess(pixels))
        return logits

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a plain timm folder, which `timm.create_model("local-dir:FOLDER", pretrained=True)` loads.

        Raises:
            OutputError: The folder is not empty or cannot be written.
            ArtefactError: No architecture can rebuild the network, or its module was changed.
        """
        folder = check_path("folder", folder, "models/d3")
        check_replaceable(folder)
        check_output_folder(folder, overwrite=overwrite)
        with atomic_folder(folder) as fresh:
            self.write(fresh)

    def write(self, folder: Path, records: Mapping[str, Any] | None = None, card: str | None = None) -> None:
        """Write weights, configuration and card into an existing folder.

        The header of the weights gets the hashes of every tensor, of the configuration and of the records.

        Args:
            folder: Folder to write into.
            records: Contents of more JSON files, by file name.
            card: Text of the card; None for the network's own.

        Raises:
            ArtefactError: No architecture can rebuild the network, or its module was changed.
        """
        files, state = {CONFIG: self.timm_config(), **(records or {})}, self.model.state_dict()
        self._check_module(state)
        for name, content in files.items():
            write_json(folder / name, content)
        write_tensors(folder / WEIGHTS, state, make_seal(state, files))
        (folder / CARD_FILE).write_text(self.card() if card is None else card, encoding="utf-8")

    def timm_config(self) -> dict[str, Any]:
        """Return the configuration that timm reads: size, channels, statistics, class names, and no pretraining tag."""
        spec = self._find_spec()
        timm_arguments = architecture_of(spec).export_config(spec)
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

    def _find_spec(self) -> Spec:
        """Return the spec that a folder is rebuilt from; a module that was given without one is described.

        Raises:
            ArtefactError: No architecture can rebuild the module.
        """
        spec, reason = self.spec, self.reason
        if spec is None and not reason:
            # The loaders build on this module, and a module is described only here.
            spec, reason = import_module("germline.loading.build").describe_network(self.model, self.preprocess)
        if spec is None:
            raise ArtefactError(
                _UNSAVED,
                f"no architecture of germline can rebuild it: {reason}",
                "use it as a teacher, or choose a name from `germline list models`",
            )
        return spec

    def _check_module(self, state: Mapping[str, Tensor]) -> None:
        """Refuse to write weights that the configuration beside them does not fit: nothing could load them.

        Raises:
            ArtefactError: The module has other tensors than its spec, or another number of outputs than class names.
        """
        spec = self._find_spec()
        with on_meta_device():
            odd = _list_differences(architecture_of(spec).build(spec).state_dict(), state)
        reason = f"it has {spec.classes} outputs and {len(self.classes)} class names"
        if odd:
            reason = f"its module was changed: tensor {json.dumps(odd[0])} is missing, unknown or of another shape"
        if odd or len(self.classes) != spec.classes:
            fix = "make a new one of the plain module by gl.Network(module, preprocess, classes)"
            raise ArtefactError(_UNSAVED, reason, fix)

    def card(self) -> str:
        """Return the model card."""
        return make_network_card(self)


def list_other_floats(tensors: Iterable[Tensor]) -> list[str]:
    """Return the names of the floating types of tensors besides float32, such as "bfloat16"."""
    others = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    return sorted(str(dtype).removeprefix("torch.") for dtype in others)


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
    odd = _list_differences(model.state_dict(), tensors)
    if odd:
        raise ArtefactError(
            f"'{origin}' does not fit the network",
            f"{len(odd)} tensors are missing, unknown or of another shape, first {json.dumps(odd[0])}",
            "choose the network that the weights belong to",
        )
    model.load_state_dict(tensors, assign=assign)


def _list_differences(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """List tensors that are missing, unknown or of another shape than those of a network."""
    odd = sorted(state.keys() ^ tensors.keys())
    return odd + [
        f"{name} {tuple(tensors[name].shape)}"
        for name in sorted(state.keys() & tensors.keys())
        if state[name].shape != tensors[name].shape
    ]
