"""Where a gene came from that trainings on one data set have made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from germline.data import DataSet
from germline.learngene import Provenance
from germline.network import Network
from germline.training import FitResult, Run


def make_provenance(
    ancestor: Network | str | None,
    data: DataSet,
    run: Run,
    results: Sequence[FitResult],
    metrics: Mapping[str, float],
    record: Mapping[str, Any] | None = None,
) -> Provenance:
    """Ancestor, data, and the sum of all trainings.

    Args:
        ancestor: What the gene was condensed from; None where there was none, or in words what stands in its place,
            which has the licence of the data.
        data: On which.
        run: Gives seed, device and versions.
        results: One a training.
        metrics: What was measured, by name.
        record: What the method tells of how the gene came to be, by kind.
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
            "steps": sum(one.steps for one in results),
            "samples": sum(one.samples for one in results),
            "seconds": round(sum(one.seconds for one in results), 3),
        },
        metrics=dict(metrics),
        versions=versions,
        record=dict(record or {}),
    )
