"""The size language: `depth=6,width=96,heads=3` or `max_params=12M` on the command line, `Size(depth=6)` in Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from germline.errors import SettingError

_NUMBER = re.compile(r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)([KMG]?)")
CAPS = ("max_params", "max_flops")  # of genes that grow a listed family
_TIMES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


class Size(Mapping[str, int]):
    """What is asked for of a descendant's size; what is left out stays as it is in the gene.

    Which keys mean something is the architecture's or the method's to say: depth, width and heads for `vit`.

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
        """Read `depth=6,width=96`; K, M and G behind a number stand for a thousand, a million and a billion.

        Raises:
            SettingError: The text is not a list of key=number, or a key stands twice.
        """
        fields: dict[str, int] = {}
        for part in filter(None, text.split(",")):
            name, equals, value = part.partition("=")
            key = name.strip()
            number = _whole(value.strip()) if equals else None
            if number is None:
                raise SettingError(
                    f"size '{text[:60]}'", f"'{part[:60]}' is not key=number", "write for example depth=6"
                )
            if key in fields:
                raise SettingError(f"size '{text[:60]}'", f"'{key[:60]}' stands twice", "say it once")
            fields[key] = number
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


def check_size_keys(name: str, size: Size, allowed: Sequence[str], text: str) -> None:
    """Refuse a size key that an architecture has not.

    Raises:
        SettingError: Names the key and those there are.
    """
    unknown = sorted(set(size) - set(allowed))
    if any(key in CAPS for key in unknown):
        raise SettingError(
            f"size '{size}'", "only genes that grow a listed family, pool and snnet, choose by a cap", f"use {text}"
        )
    if unknown:
        raise SettingError(
            f"size key '{', '.join(unknown)}'", f"the {name} architecture has none of that name", f"use {text}"
        )


def _whole(text: str) -> int | None:
    """The whole number that a text such as `12` or `1.5M` stands for; None where it does not."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    number = Fraction(found[1]) * _TIMES[found[2]]
    return int(number) if number.denominator == 1 else None
