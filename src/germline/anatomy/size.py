"""The size language: `depth=6,width=96,heads=3` on the command line, `Size(depth=6)` in Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from germline.errors import SettingError


class Size(Mapping[str, int]):
    """What is asked for of a descendant's size; what is left out stays as it is in the gene.

    Which keys mean something is the anatomy's to say: depth, width and heads for `vit`.

    Raises:
        SettingError: A value is not a whole number of at least 1.
    """

    def __init__(self, **fields: int) -> None:
        for key, value in fields.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SettingError(
                    f"size {key}={value}", "sizes are whole numbers of at least 1", f"use {key}=1 or more"
                )
        self._fields = dict(fields)

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `depth=6,width=96`.

        Raises:
            SettingError: The text is not a list of key=number.
        """
        fields: dict[str, int] = {}
        for part in filter(None, text.split(",")):
            key, equals, value = part.partition("=")
            if not equals or not re.fullmatch(r"-?[0-9]{1,9}", value.strip()):
                raise SettingError(
                    f"size '{text[:60]}'", f"'{part[:60]}' is not key=number", "write for example depth=6"
                )
            fields[key.strip()] = int(value)
        return cls(**fields)

    def __getitem__(self, key: str) -> int:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __str__(self) -> str:
        return ",".join(f"{key}={value}" for key, value in self._fields.items())

    def __repr__(self) -> str:
        return f"Size({self})"

    def __hash__(self) -> int:
        return hash(tuple(self._fields.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self._fields == other._fields
