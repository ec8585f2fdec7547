"""One family of errors: each says what is wrong, why, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GermlineError(Exception):
    """Base of every error that germline raises on purpose.

    Attributes:
        what: What is wrong, naming the file, key or value.
        why: The reason, in a few words; may be empty.
        fix: What the user can do about it; may be empty.
        exit_code: What the command line exits with.
    """

    exit_code = 2

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        sentences = (part.strip().rstrip(".") for part in (what, why, fix))
        super().__init__(" ".join(part if part[-1] in "?!" else f"{part}." for part in sentences if part))

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the three parts, so that worker processes can hand an error back."""
        return (type(self), (self.what, self.why, self.fix))


class UnknownNameError(GermlineError):
    """A method, model, data set or recipe that nobody registered."""

    @classmethod
    def with_nearest(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the message for `name`, with the nearest of the `known` names."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        fix = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}"
        return cls(f"unknown {kind} '{name}'", "", fix)


class SettingError(GermlineError):
    """A setting, size or recipe key outside what is allowed."""


class ArtefactError(GermlineError):
    """A learngene, checkpoint or model folder that is damaged, too new or not what it claims."""


class DataError(GermlineError):
    """A data set that is missing, malformed or does not fit the network."""


class OutputError(GermlineError):
    """An output folder that cannot be written."""


class LedgerError(GermlineError):
    """A descendant with an element that nobody accounted for."""


class TrainingError(GermlineError):
    """Training that stopped for a stated reason."""

    exit_code = 3
