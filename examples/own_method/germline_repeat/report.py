"""The section of `repeat` in reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from germline.reporting.html import Section


def parse(value: Any) -> tuple[int, int]:
    """Return the kept blocks and the ancestor's depth.

    Raises:
        ValueError: The record is damaged.
    """
    try:
        return int(value["kept"]), int(value["ancestor_depth"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"a record of 'repeat' needs 'kept' and 'ancestor_depth', not {value!r}") from error


def comparison_sections(arms: Sequence[str], records: Mapping[str, Mapping[int, Any]]) -> list[Section]:
    """Return one table with a row per arm and seed."""
    rows = [["arm", "seed", "kept blocks", "blocks of the ancestor"]]
    for arm, by_seed in records.items():
        rows += [[arm, str(seed), str(kept), str(depth)] for seed, (kept, depth) in by_seed.items()]
    return [Section("Repeated blocks", "Descendants repeat the kept blocks in order.", rows)]


def gene_sections(record: Any) -> list[Section]:
    """Return one table for one gene."""
    kept, depth = record
    rows = [["kept blocks", "blocks of the ancestor"], [str(kept), str(depth)]]
    return [Section("Repeated blocks", "Descendants repeat the kept blocks in order.", rows)]
