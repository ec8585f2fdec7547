"""A method of another package with its own kind of record; `register_methods` simulates its entry point."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from germline import registry
from germline.baselines.layers import Layers

RECORD = {"tally": [3, 1, 2]}


class Toy(Layers):
    """Layers, and a record of the kind `tally`."""

    name: ClassVar[str] = "toy"
    reports: ClassVar[Mapping[str, str]] = {"tally": "helpers.toy_report"}

    def condense(self, ancestor, data, run):
        gene = super().condense(ancestor, data, run)
        return replace(gene, provenance=gene.provenance.model_copy(update={"record": RECORD}))


class Rival(Layers):
    """A method with another report module for `tally`."""

    name: ClassVar[str] = "rival"
    reports: ClassVar[Mapping[str, str]] = {"tally": "helpers.other_report"}


class _Point:
    def __init__(self, name, value):
        self.name, self.value = name, value


def register_methods(monkeypatch, **classes):
    """Register classes of this file as if another package had entry points for them."""
    points = [_Point(name, f"helpers.toy_method:{value}") for name, value in classes.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "germline.methods" else [])
    # The function without its cache, so that no other test sees these methods.
    monkeypatch.setattr(registry, "_list_installed", registry._list_installed.__wrapped__)
