"""A gene in a folder, as an arm of a comparison."""

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
    """Return the traits of a method whose gene is read from a folder."""
    return replace(traits, roles=(), varies_with_seed=False, needs_own_size=False, needs_teacher=False)


class Stored(DelegatingMethod):
    """A gene of any method from a folder; nothing is trained, and no source data are read.

    Attributes:
        gene: Folder of the gene.
        settings: Settings of the gene's method that change how descendants are built, such as another window of an
            `openworld` gene. Settings that decide how the gene was made cannot be changed.
        sha256: Hash of the gene's manifest; filled in from the folder.
    """

    name: ClassVar[str] = "stored"
    paper: ClassVar[str] = "a stored gene"
    ancestor: ClassVar[AncestorUse] = "none"
    traits: ClassVar[Traits] = delegated(lambda method: _without_making(method.traits), _without_making(Traits()))

    gene: str
    settings: dict[str, Any] = Field(default={})
    sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_hash(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("gene"), str):
            return given
        manifest = Path(given["gene"]) / MANIFEST_FILE
        if not manifest.is_file():
            raise ValueError(f"There is no learngene at '{given['gene']}'")
        content = read_json(manifest)
        return {**given, "sha256": str(content.get("sha256", "")) if isinstance(content, Mapping) else ""}

    def delegate(self) -> Method:
        """Return the gene's method, with its own settings and the changed ones."""
        gene = _read(self.gene, self.sha256)
        return build_method(gene.method, {**gene.settings, **self.settings})

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the spec of the gene."""
        return _read(self.gene, self.sha256).spec

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Return the cost: nothing is trained, and the gene's tensors are stored."""
        tensors = _read(self.gene, self.sha256).tensors
        return GeneCost(stored={name: tensor.numel() for name, tensor in tensors.items()})

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Read the gene, and derive another one from it if settings are changed.

        Raises:
            ArtefactError: The gene's files are damaged.
            SettingError: A changed setting decides how the gene was made.
        """
        gene, method = _read(self.gene, self.sha256), self.delegate()
        if method == gene.bound_method():
            return gene
        if find_source(method) != find_source(method_of(gene)):
            raise SettingError(
                f"settings={self.settings} cannot be changed in a stored gene",
                f"The {gene.method} gene at '{self.gene}' was made with other settings",
                "Run germline condense with these settings, or change only how descendants are built",
            )
        derived = method.derive(gene, torch.Generator()) if isinstance(method, DerivedMethod) else gene
        return replace(derived, settings=method.model_dump(mode="json"))


@lru_cache(maxsize=4)
def _read(folder: str, sha256: str) -> Learngene:
    """Read a gene; its hash is part of the cache key, so that a new gene in the same folder is read again."""
    return Learngene.load(folder)
