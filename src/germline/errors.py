"""Errors that say what is wrong, why, and how to fix it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

# A first word with one of these is code: a setting, a path, a name or a number. It keeps its spelling.
_CODE = re.compile(r"[^a-z'-]")
_MOST_NAMES = 40  # names that a message lists; timm has more than a thousand


class GermlineError(Exception):
    """Base class of every error that germline raises on purpose.

    The message has up to three sentences: what is wrong, why, and how to fix it. A part may be given without its
    capital letter and without its full stop.

    Attributes:
        what: What is wrong; names the file, key or value.
        why: Reason; may be empty.
        fix: Advice to the user; may be empty.
        exit_code: Exit code of the command line.
    """

    exit_code = 2

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(" ".join(_as_sentence(part) for part in (what, why, fix) if part.strip(" .\n")))

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild the error from its three parts, so that a worker process can return it."""
        return (type(self), (self.what, self.why, self.fix))


class UnknownNameError(GermlineError):
    """A name that is not registered: of a method, model, data set or recipe."""

    @classmethod
    def with_nearest(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the error for `name` with the nearest of the `known` names."""
        names = sorted(known)
        near = find_nearest_names(name, names)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        fix = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names[:_MOST_NAMES])}{more}"
        return cls(f"unknown {kind} '{name}'", "", fix)


class SettingError(GermlineError):
    """A setting, size or recipe key outside what is allowed."""


class ArtefactError(GermlineError):
    """A learngene, checkpoint or model folder that is damaged, too new or of another kind."""


class DataError(GermlineError):
    """A data set that is missing, malformed or does not fit the network."""


class OutputError(GermlineError):
    """An output folder that cannot be written."""

    @classmethod
    def from_system(cls, path: Path, error: OSError) -> OutputError:
        """Build the error for a path that the system refuses to write."""
        return cls(
            f"cannot write '{path}'",
            error.strerror or str(error),
            "choose another folder, free some space, or change its permissions",
        )


class LedgerError(GermlineError):
    """A descendant with elements that its ledger does not account for."""


class TrainingError(GermlineError):
    """Training that stopped for a stated reason."""

    exit_code = 3


def find_nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return at most three known names that look like a name, the nearest first."""
    # Names such as FRONT are written in capitals in papers.
    by_folded = {each.casefold(): each for each in known}
    return [by_folded[each] for each in difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.5)]


def _as_sentence(part: str) -> str:
    """Return one part of a message with a capital letter and a full stop."""
    text = part.strip().rstrip(".")
    first = text.split(maxsplit=1)[0].rstrip(",;")
    if first[0].islower() and not _CODE.search(first):
        text = text[0].upper() + text[1:]
    return text if text[-1] in "?!" else f"{text}."
