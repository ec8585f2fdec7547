"""Provenance of a gene that is made by training runs on one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from germline.data import DataSet
from germline.network import Network
from germline.provenance import Provenance
from germline.training import FitResult, Run


def make_provenance(
    ancestor: Network | str | None,
    data: DataSet,
    run: Run,
    results: Sequence[FitResult],
    metrics: Mapping[str, float],
    record: Mapping[str, Any] | None = None,
) -> Provenance:
    """Put together a gene's provenance: ancestor, data, and the sum of all training runs.

    Args:
        ancestor: Ancestor of the gene, or None. A text describes what replaces it, and gets the licence of the data.
        data: Data that the gene is condensed on.
        run: Run that condenses it; gives seed, device and versions.
        results: Results of the training runs.
        metrics: Measured values by name.
        record: Records of how the gene was made, by kind.
    """
    if isinstance(ancestor, Network):
        source, licence = ancestor.source, ancestor.licence
    else:
        source, licence = ("none", "unknown") if ancestor is None else (ancestor, data.licence)
    facts = run.facts()
    versions = facts.pop("versions")
    return Provenance(
        ancestor=source,
        ancestor_licence=licence,
        data=data.name,
        data_fingerprint=data.fingerprint(),
        data_licence=data.licence,
        training={
            **facts,
            "steps": sum(result.steps for result in results),
            "samples": sum(result.samples for result in results),
            "seconds": round(sum(result.seconds for result in results), 3),
        },
        metrics=dict(metrics),
        versions=versions,
        record=dict(record or {}),
    )
