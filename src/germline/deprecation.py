"""Names that leave germline: until which version the old name works, and what to write."""

from __future__ import annotations

import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Deprecation:
    """An old name that still works, with a warning.

    Attributes:
        name: The old name, as people write it.
        use: What to write.
        since: First version that warns.
        removed_in: First version without the old name.
    """

    name: str
    use: str
    since: str
    removed_in: str

    def __str__(self) -> str:
        return (
            f"'{self.name}' is deprecated since germline {self.since}. Version {self.removed_in} removes it. "
            f"Use {self.use}."
        )


# Every old name, so that a test finds those whose time is over.
DEPRECATIONS = {
    entry.name: entry
    for entry in (
        Deprecation("germline.data(...)", use="germline.load_data(...)", since="0.1", removed_in="0.3"),
        Deprecation("germline.Pictures", use="germline.Images", since="0.1", removed_in="0.3"),
    )
}


def warn_deprecated(name: str, depth: int = 1) -> None:
    """Warn that a caller uses an old name.

    Args:
        name: Old name, a key of `DEPRECATIONS`.
        depth: Number of calls between this function and the caller's line. 1: the function that calls this one.

    Raises:
        KeyError: The table has no such name.
    """
    warnings.warn(str(DEPRECATIONS[name]), DeprecationWarning, stacklevel=depth + 2)
