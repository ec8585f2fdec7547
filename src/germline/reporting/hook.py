"""Report hook: modules that show in reports what a gene records about how it was made.

A method's gene may keep a record of kinds, such as `{"gene_tree": ...}`. The method's class names the report module of
each kind in `Method.reports`. Methods of other packages do the same, so their records are shown as well.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pydantic import ValidationError

from germline.errors import ArtefactError, SettingError
from germline.registry import METHODS
from germline.reporting.html import Rows, Section

INTERFACE = ("parse", "comparison_sections", "gene_sections")


class ReportModule(Protocol):
    """Interface of a report module: it shows the records of one kind.

    The functions are defined at the top level of the module. Two further functions are optional:

    - `size_table(record) -> Rows`: the sizes that the gene can grow, as they were measured. `germline inspect` prints
      it.
    - `chosen_blocks(record, settings) -> RecordedBlocks`: the blocks that the gene was made of. Reports of comparisons
      rank them among the choices of other arms; `settings` are those of the arm in the recipe.
    """

    def parse(self, value: Any) -> Any:
        """Check a stored record and return it in the form that the other functions take.

        Args:
            value: Record of the module's kind, as read from JSON.

        Raises:
            ValueError: The record is damaged. Pydantic's ValidationError is a ValueError.
        """
        ...

    def comparison_sections(self, arms: Sequence[str], records: Mapping[str, Mapping[int, Any]]) -> list[Section]:
        """Return the sections of a comparison's report.

        Args:
            arms: All arms of the comparison, so that each one keeps its colour (`germline.reporting.plotting`).
            records: Parsed records by arm and seed, of the arms that have one. An arm with the same records as an
                earlier arm is left out.
        """
        ...

    def gene_sections(self, record: Any) -> list[Section]:
        """Return the sections of one gene's report.

        Args:
            record: Parsed record of the gene.
        """
        ...


@dataclass(frozen=True)
class RecordedBlocks:
    """Blocks that a gene was made of.

    Attributes:
        blocks: Numbers of the blocks, as the report shows them.
        is_given: Whether the recipe names the blocks. Such choices are the field in which others are ranked.
        group: Key of the choices that compete with each other.
    """

    blocks: tuple[int, ...]
    is_given: bool
    group: str = ""


def report_places() -> dict[str, str]:
    """Return the dotted path of each kind's report module, in the order of the registered methods.

    Raises:
        SettingError: Two methods name different modules for one kind.
    """
    places: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in METHODS:
        for kind, place in METHODS[name].reports.items():
            if places.setdefault(kind, place) != place:
                raise SettingError(
                    f"The record kind '{kind}' has two report modules",
                    f"Method '{owners[kind]}' names {places[kind]}, and method '{name}' names {place}",
                    "Give the kind another name in one of the methods, or remove the package of one of them",
                )
            owners.setdefault(kind, name)
    return places


def report_modules(kinds: Collection[str]) -> dict[str, ReportModule]:
    """Import the report modules of some kinds, in the order of the registered methods; skip kinds without one.

    Raises:
        SettingError: A module cannot be imported or does not have the interface, or two methods name different modules.
    """
    if not kinds:
        return {}
    return {kind: load_report_module(place) for kind, place in report_places().items() if kind in kinds}


def load_report_module(place: str) -> ReportModule:
    """Import a report module and check its interface.

    Raises:
        SettingError: It cannot be imported, or a function is missing.
    """
    try:
        module = importlib.import_module(place)
    except ImportError as error:
        raise SettingError(
            f"The report module '{place}' cannot be imported",
            str(error),
            "Set the method's `reports` to a module that exists",
        ) from error
    missing = [name for name in INTERFACE if not callable(getattr(module, name, None))]
    if missing:
        raise SettingError(
            f"The report module '{place}' has no function '{missing[0]}'",
            f"Reports call {', '.join(INTERFACE)}",
            "Give it the functions of germline.reporting.hook.ReportModule",
        )
    return cast(ReportModule, module)


def parse_record(module: ReportModule, kind: str, value: Any, owner: str) -> Any:
    """Parse a record of one kind.

    Args:
        module: Report module of the kind.
        kind: Kind of the record.
        value: Record, as stored.
        owner: Name of the gene in messages.

    Raises:
        ArtefactError: The record is damaged.
    """
    try:
        return module.parse(value)
    except ValueError as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        else:
            reason = reason[:1].upper() + reason[1:]
        raise ArtefactError(
            f"The record '{kind}' of {owner} cannot be read",
            reason,
            "Run germline condense again to make the gene anew",
        ) from error


def find_size_table(record: Mapping[str, Any], owner: str) -> Rows | None:
    """Return the table of the sizes that a gene's record measures; None if it measures none.

    Args:
        record: Records of the gene by kind.
        owner: Name of the gene in messages.

    Raises:
        ArtefactError: A record is damaged.
    """
    for kind, module in report_modules(record.keys()).items():
        make_table = getattr(module, "size_table", None)
        if make_table is not None:
            return cast(Rows, make_table(parse_record(module, kind, record[kind], owner)))
    return None
