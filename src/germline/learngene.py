"""The learngene: a small folder of tensors and their meaning, from which networks of many sizes grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from germline.architectures import Preprocess, Size, Spec, Target
from germline.architectures.size import check_size_type
from germline.arguments import (
    check_class_list,
    check_path,
    check_seed,
    check_type,
    check_whole_number,
    read_whole_number,
)
from germline.cards import make_gene_card, make_network_card
from germline.errors import ArtefactError, SettingError, UnknownNameError
from germline.files import atomic_folder, read_json, read_tensors, write_json, write_tensors
from germline.gene_checks import WRONG_CONTENT, check_method_settings, check_parts, verify_tensors
from germline.hub import CARD_FILE, PREFIX, HubArtefact, download_folder
from germline.ledger import Ledger
from germline.network import CONFIG, RECORD, Network
from germline.outputs import check_output_folder, check_replaceable
from germline.paths import read_unchanged
from germline.provenance import Provenance
from germline.registry import ARCHITECTURES, METHODS, architecture_of, model_spec
from germline.seals import hash_json, tensor_facts
from germline.sharing import hide_all, hide_places
from germline.size_choice import choose_size, has_caps
from germline.traits import Sizes, Traits

FORMAT = 1
TENSORS_FILE, MANIFEST_FILE = "learngene.safetensors", "learngene.json"


@dataclass(frozen=True)
class Descendant(HubArtefact):
    """A network grown from a gene.

    Attributes:
        network: Network with its class names and preprocessing.
        ledger: Origin of each of its elements.
        gene: Facts about the gene and the method that it grew from.
    """

    network: Network
    ledger: Ledger
    gene: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> nn.Module:
        """Plain torch module of the network."""
        return self.network.model

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a plain timm folder, with the ledger beside the weights in `descendant.json`.

        Raises:
            OutputError: The folder is not empty or cannot be written.
        """
        folder = check_path("folder", folder, "models/d3")
        check_replaceable(folder)
        check_output_folder(folder, overwrite=overwrite)
        with atomic_folder(folder) as fresh:
            source, gene = hide_places(self.network.source), hide_all(self.gene)
            facts = {"source": source, "gene": gene, "origins": self.ledger.totals()}
            card = make_network_card(self.network, self.ledger.shares(), str(gene.get("data", "")))
            self.network.write(fresh, {RECORD: {**facts, "ledger": self.ledger.to_json()}}, card)


class GrowingMethod(Protocol):
    """The part of a method that a gene calls; `germline.methods.base.Method` is the whole contract."""

    traits: ClassVar[Traits]

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes that descendants can have."""

    def descendant_spec(self, spec: Spec, size: Size, gene: Learngene | None = None) -> Spec:
        """Return the spec of a descendant of a size."""

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> Any:
        """Return the cost, with the number of elements of each tensor of a gene of this spec."""

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse a spec that no descendant of the gene can have."""

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Build the target from a gene."""


@dataclass(frozen=True)
class Learngene(HubArtefact):
    """A condensed network.

    Attributes:
        method: Name of the method that made the gene and builds descendants from it.
        settings: Settings of that method.
        architecture: Name of the architecture of the descendants.
        spec: Spec of the network that the gene was condensed in.
        tensors: Tensors of the gene, by name.
        preprocess: Preprocessing of that network's images.
        classes: Class names of the gene's head; None if it has no head.
        provenance: Origin of the gene.
    """

    method: str
    settings: Mapping[str, Any]
    architecture: str
    spec: Spec
    tensors: Mapping[str, Tensor]
    preprocess: Preprocess
    classes: tuple[str, ...] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def bound_method(self) -> GrowingMethod:
        """Return the gene's method, with the gene's settings."""
        method: GrowingMethod = METHODS[self.method].model_validate(self.settings)
        return method

    def describe_sizes(self) -> str:
        """Return the sizes that descendants can have, in a phrase."""
        return self.bound_method().describe_sizes(self.spec, self).text

    def target(
        self,
        size: Size | None = None,
        classes: int | Sequence[str] | None = None,
        channels: int | None = None,
        image_size: int | None = None,
        model: str | None = None,
    ) -> Target:
        """Return the target that `inherit` builds; what is left out stays as it is in the gene.

        Args:
            size: Size of the descendant. The caps `max_params` and `max_flops` choose one, see `choose_size`.
            classes: Ordered class names, or a number of new classes.
            channels: Channels of its images: 1 or 3.
            image_size: Height and width of its images, in pixels.
            model: Name of a model whose spec `size` starts from, such as `resnet12_x025`; None for the gene's own spec.

        Raises:
            SettingError: The gene cannot grow that size or model, or the number of classes or channels is bad.
            UnknownNameError: No model has that name.
        """
        check_size_type(size)
        if channels is not None and read_whole_number(channels) not in (1, 3):
            raise SettingError(f"channels={channels!r}", "images are grey (1) or in colour (3)", "use 1 or 3")
        if image_size is not None:
            image_size = check_whole_number("image_size", image_size, 1, example=self.spec.image_size)
        names = self._class_names(classes)
        start = self.spec if model is None else self._model_spec(model, image_size)
        side = self.spec.image_size if image_size is None else image_size
        images = {"channels": start.channels if channels is None else int(channels), "image_size": side}
        # Dropped paths belong to a training and not to a network: a saved folder has none either.
        plain = {"drop_path": 0.0} if "drop_path" in type(start).model_fields else {}
        start = type(start).model_validate({**start.model_dump(), **images, **plain, "classes": len(names)})
        wanted = self._choose_size(start, size or Size())
        spec = self._spec_of_size(start, wanted)
        return Target(architecture_of(spec).name, spec, names, self.preprocess.adapt(**images), wanted)

    def _choose_size(self, start: Spec, size: Size) -> Size:
        """Choose a size under the caps, if caps are given. Methods whose sizes have names choose by themselves."""
        if self.bound_method().traits.has_named_sizes or not has_caps(size):
            return size
        return choose_size(start, size, partial(self._spec_of_size, start))

    def _spec_of_size(self, start: Spec, size: Size) -> Spec:
        """Return the spec of a size, and refuse sizes that the gene does not grow."""
        method = self.bound_method()
        spec = method.descendant_spec(start, size, self)
        method.check_size(self, spec)
        return spec

    def _model_spec(self, model: str, image_size: int | None) -> Spec:
        check_type("model", model, str, "It is the name of a model", 'Use for example model="resnet12_x025"')
        if not self.bound_method().traits.can_cross_architectures:
            raise SettingError(
                f"the method {self.method} cannot grow model={model}",
                "it grows only sizes of its gene's own network",
                f"remove the model; it grows {self.describe_sizes()}",
            )
        own = self.spec
        return model_spec(model, image_size=image_size or own.image_size, channels=own.channels, classes=own.classes)

    def _class_names(self, classes: int | Sequence[str] | None) -> tuple[str, ...]:
        if classes is None:
            if self.classes is None:
                raise SettingError("no classes given", "this gene has no head", "pass the class names or their number")
            return self.classes
        count = read_whole_number(classes)
        if isinstance(classes, (int, float)) or count is not None:
            if count is None or count < 1:
                why = "a number of classes is whole, and at least one"
                raise SettingError(f"classes={classes!r}", why, "use classes=1 or more")
            return tuple(f"new-{index}" for index in range(count))
        names = check_class_list(classes)
        if len(set(names)) != len(names) or not names:
            raise SettingError(
                "class names are empty or not unique",
                "each output of the head needs a name",
                "give every class its own name",
            )
        return names

    def inherit(
        self,
        size: Size | None = None,
        classes: int | Sequence[str] | None = None,
        channels: int | None = None,
        image_size: int | None = None,
        seed: int = 0,
        model: str | None = None,
    ) -> Descendant:
        """Build a descendant.

        Args:
            size: As for `target`.
            classes: As for `target`.
            channels: As for `target`.
            image_size: As for `target`.
            seed: Random seed of fresh elements.
            model: As for `target`.

        Raises:
            SettingError: The gene cannot grow that target.
        """
        seed = check_seed(seed)
        target = self.target(size, classes, channels, image_size, model)
        descendant = self.bound_method().inherit(self, target, torch.Generator().manual_seed(seed))
        facts = {"method": self.method, "anatomy": self.architecture, "data": self.provenance.data, "seed": seed}
        return replace(descendant, gene=facts)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the gene's folder, completely or not at all.

        Raises:
            OutputError: The folder is not empty or cannot be written.
        """
        folder = check_path("folder", folder, "genes/quick")
        check_replaceable(folder)
        check_output_folder(folder, overwrite=overwrite)
        with atomic_folder(folder) as fresh:
            write_tensors(fresh / TENSORS_FILE, self.tensors)
            write_json(fresh / MANIFEST_FILE, self.manifest())
            (fresh / CARD_FILE).write_text(self.card(), encoding="utf-8")

    def manifest(self) -> dict[str, Any]:
        """Return the contents of `learngene.json`; the last entry is the hash of all others."""
        facts = {
            "format": FORMAT,
            "method": self.method,
            "settings": dict(self.settings),
            "anatomy": self.architecture,
            "spec": self.spec.model_dump(mode="json"),
            "grows": self.describe_sizes(),
            "classes": list(self.classes) if self.classes is not None else None,
            "preprocess": self.preprocess.model_dump(mode="json"),
            "provenance": hide_all(self.provenance.model_dump(mode="json")),
            "tensors": {name: tensor_facts(tensor) for name, tensor in sorted(self.tensors.items())},
        }
        return {**facts, "sha256": _manifest_hash(facts)}

    @classmethod
    def load(cls, place: str | Path) -> Learngene:
        """Read a gene from a folder or an `hf-hub:` name, and verify every tensor.

        Raises:
            ArtefactError: The folder is missing, damaged, holds a pickle, or has a newer format.
        """
        name = str(check_path("place", place, "genes/quick"))
        files = (TENSORS_FILE, MANIFEST_FILE, CARD_FILE)
        folder = download_folder(name.removeprefix(PREFIX), files) if name.startswith(PREFIX) else Path(place)
        if not folder.is_dir():
            raise ArtefactError(f"no learngene at '{place}'", "there is no such folder", "run germline condense")
        if (folder / CONFIG).is_file() and not (folder / MANIFEST_FILE).exists():
            raise ArtefactError(
                f"'{place}' is a network", "a learngene is expected here", f'load it by gl.load_network("{place}")'
            )
        return read_unchanged(folder, cls._read)

    @classmethod
    def _read(cls, folder: Path) -> Learngene:
        manifest = read_json(folder / MANIFEST_FILE)
        number = manifest.get("format") if isinstance(manifest, dict) else None
        if type(number) is int and number > FORMAT:
            raise ArtefactError(
                f"'{folder / MANIFEST_FILE}' has format {number}",
                f"this germline reads up to format {FORMAT}",
                "run pip install --upgrade germline",
            )
        try:
            if type(number) is not int or number < 1:
                raise KeyError("format")
            check_method_settings(manifest["method"], manifest["settings"])
            gene = cls._from_manifest(manifest, read_tensors(folder / TENSORS_FILE))
            if not gene.bound_method().traits.has_gene:
                raise ValueError(f"the method '{gene.method}' has no gene")
            if manifest["sha256"] != _manifest_hash(manifest):
                raise ValueError("its hash differs from the one that was written")
            verify_tensors(gene.tensors, dict(manifest["tensors"]), folder / TENSORS_FILE, MANIFEST_FILE)
            stored = gene.bound_method().cost(gene.spec, 0, 0).stored
            check_parts(gene.spec, gene.preprocess, gene.classes, gene.tensors, stored)
        except (*WRONG_CONTENT, SettingError, UnknownNameError) as error:
            raise ArtefactError(
                f"'{folder / MANIFEST_FILE}' is not a learngene's manifest",
                f"this is missing or wrong: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
                "run germline condense again, or restore a copy",
            ) from error
        return gene

    @classmethod
    def _from_manifest(cls, manifest: dict[str, Any], tensors: dict[str, Tensor]) -> Learngene:
        classes = manifest["classes"]
        return cls(
            method=manifest["method"],
            settings=manifest["settings"],
            architecture=manifest["anatomy"],
            spec=ARCHITECTURES[manifest["anatomy"]].spec_type.model_validate(manifest["spec"]),
            tensors=tensors,
            preprocess=Preprocess.model_validate(manifest["preprocess"]),
            classes=None if classes is None else tuple(classes),
            provenance=Provenance.model_validate(manifest["provenance"]),
        )

    @classmethod
    def from_pretrained(cls, place: str | Path) -> Learngene:
        """Read a gene from a folder or an `hf-hub:` name; another name of `load`.

        Raises:
            ArtefactError: The folder is missing, damaged, holds a pickle, or has a newer format.
        """
        return cls.load(place)

    def count_bytes(self) -> int:
        """Count the bytes of the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def card(self) -> str:
        """Return the model card."""
        return make_gene_card(self)


def library_versions() -> dict[str, str]:
    """Return the versions of germline and the libraries that results depend on."""
    return {name: read_version(name) for name in ("germline", "torch", "timm", "safetensors", "lightning-fabric")}


def _manifest_hash(manifest: Mapping[str, Any]) -> str:
    return hash_json({key: value for key, value in manifest.items() if key != "sha256"})


@cache
def read_version(package: str) -> str:
    """Read the version of a package, once per process: germline's own from its code, others from what is installed.

    Code that runs from its source folder is not installed, so a package without metadata is imported for its version.
    """
    if package != "germline":
        try:
            return version(package)
        except PackageNotFoundError:
            pass
    return str(getattr(import_module(package.replace("-", "_")), "__version__", "unknown"))
