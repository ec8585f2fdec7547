"""Where a gene comes from: ancestor, data, licences, cost, metrics and records."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from germline.sharing import hide_places, name_data


class Provenance(BaseModel):
    """Origin of a gene, without the places of files on the machine that made it.

    Attributes:
        ancestor: Source of the ancestor's weights, in one sentence; "none" for a method that makes its own ancestor.
        ancestor_licence: Licence of the ancestor's weights.
        data: Name of the data set.
        data_fingerprint: sha256 over the training images and labels.
        data_licence: Licence of the images.
        training: Cost and circumstances of the training: samples, steps, seconds, device, seed, threads.
        metrics: Measured numbers by name; accuracies are shares of 1.
        versions: Versions of the libraries that made the gene.
        record: Records of how the gene was made, by kind. Reports show them, see `germline.reporting.hook`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ancestor: str = "none"
    ancestor_licence: str = "unknown"
    data: str = "unknown"
    data_fingerprint: str = "unknown"
    data_licence: str = "unknown"
    training: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    versions: dict[str, str] = {}
    record: dict[str, Any] = {}

    @field_validator("ancestor")
    @classmethod
    def _hide_ancestor_place(cls, text: str) -> str:
        return hide_places(text)

    @field_validator("data")
    @classmethod
    def _hide_data_place(cls, name: str) -> str:
        return name_data(name)
