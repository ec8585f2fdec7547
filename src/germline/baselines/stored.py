"""A gene that is at hand, as an arm of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator

from germline.architectures import Spec
from germline.baselines.wrapper import DelegatingMethod, build_method, delegated
from germline.data import DataSet
from germline.errors import SettingError
from germline.files import read_json
from germline.learngene import MANIFEST_FILE, Learngene
from germline.methods.base import DerivedMethod, GeneCost, Method, find_source, method_of
from germline.network import Network
from germline.training import Run
from germline.traits import AncestorUse, Traits


def _without_making(traits: Traits) -> Traits:
    """Traits of a method whose gene is read from a folder."""
    return replace(traits, roles=(), varies_with_seed=False, needs_own_size=False, needs_teacher=False)


class Stored(DelegatingMethod):
    """A gene from a folder, made by any method: nothing is trained, and no source data are read.

    Attributes:
        gene: Its folder.
        settings: Of its method, where descendants are to grow otherwise than the gene says: another window of an
            open-world gene, or no anchor. What decides how the gene was made cannot be changed any more.
        sha256: Of its manifest; found by itself.
    """

    name: ClassVar[str] = "stored"
    paper: ClassVar[str] = "a gene at hand"
    ancestor: ClassVar[AncestorUse] = "none"
    traits: ClassVar[Traits] = delegated(lambda method: _without_making(method.traits), _without_making(Traits()))

    gene: str
    settings: dict[str, Any] = Field(default={})
    sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _known_by_its_manifest(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("gene"), str):
            return given
        manifest = Path(given["gene"]) / MANIFEST_FILE
        if not manifest.is_file():
            raise ValueError(f"there is no learngene at '{given['gene']}'")
        return {**given, "sha256": read_json(manifest).get("sha256", "")}

    def delegate(self) -> Method:
        """The gene's method, with its settings and those that are changed."""
        gene = _read(self.gene, self.sha256)
        return build_method(gene.method, {**gene.settings, **self.settings})

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """The gene's."""
        return _read(self.gene, self.sha256).spec

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Nothing is trained; the gene's tensors are stored."""
        tensors = _read(self.gene, self.sha256).tensors
        return GeneCost(stored={name: tensor.numel() for name, tensor in tensors.items()})

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Read the gene, and take from it what the changed settings say.

        Raises:
            ArtefactError: The gene's files are not whole.
            SettingError: A changed setting is one of those that the gene was made with.
        """
        gene, method = _read(self.gene, self.sha256), self.delegate()
        if method == gene.bound_method():
            return gene
        if find_source(method) != find_source(method_of(gene)):
            raise SettingError(
                f"settings={self.settings}",
                f"the {gene.method} gene at '{self.gene}' was made with others",
                "condense it anew, or change only how descendants grow",
            )
        derived = method.derive(gene, torch.Generator()) if isinstance(method, DerivedMethod) else gene
        return replace(derived, settings=method.model_dump(mode="json"))


@lru_cache(maxsize=4)
def _read(folder: str, sha256: str) -> Learngene:
    """The gene of a folder; asked for by its checksum too, so that one that was written anew is read anew."""
    return Learngene.load(folder)
