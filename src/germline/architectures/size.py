"""The size language: `depth=6,width=96,heads=3` or `max_params=12M` on the command line, `Size(depth=6)` in Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Never

from germline.arguments import describe_argument, read_whole_number
from germline.errors import SettingError, find_nearest_names

_NUMBER = re.compile(r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)([KMG]?)")
CAPS = ("max_params", "max_flops")  # keys by which a gene chooses among the sizes that it grows
_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


class Size(Mapping[str, int]):
    """The size that a descendant is to have; what is left out stays as it is in the gene.

    The architecture or the method decides which keys have a meaning: depth, width and heads for `vit`.

    Raises:
        SettingError: A value is not a whole number of at least 1, or has no key.
    """

    def __init__(self, *unnamed: Never, **fields: int) -> None:
        given: tuple[object, ...] = unnamed
        if given:
            raise SettingError(f"gl.Size({given[0]!r})", "a size has keys", f"use {_propose_size(given[0])}")
        numbers = {key: read_whole_number(value) for key, value in fields.items()}
        self._fields: dict[str, int] = {}
        for key, number in numbers.items():
            if number is None or number < 1:
                raise SettingError(
                    f"size {key}={fields[key]!r}", "sizes are whole numbers of at least 1", f"use {key}=1 or more"
                )
            self._fields[key] = number

    @classmethod
    def parse(cls, text: str) -> Size:
        """Parse `depth=6,width=96`; the suffixes K, M and G mean a thousand, a million and a billion.

        Raises:
            SettingError: The text is not a list of key=number, or a key is given twice.
        """
        fields: dict[str, int] = {}
        for part in filter(None, text.split(",")):
            name, equals, value = part.partition("=")
            key = name.strip()
            number = _parse_number(value.strip()) if equals else None
            if number is None:
                example = f"{key}=1M" if key in CAPS else "depth=6"
                problem = (
                    f"'{value[:60]}' is no whole number; K, M or G may follow it"
                    if value
                    else f"'{part[:60]}' is not key=number"
                )
                raise SettingError(f"size '{text[:60]}'", problem, f"use for example {example}")
            if key in fields:
                raise SettingError(f"size '{text[:60]}'", f"'{key[:60]}' is given twice", "give it once")
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
        return hash(frozenset(self._fields.items()))  # equal sizes can name their keys in another order

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self._fields == other._fields


def check_size_keys(architecture: str, size: Size, allowed: Sequence[str], text: str) -> None:
    """Refuse size keys that an architecture does not have.

    Args:
        architecture: Name of the architecture.
        size: Size to check.
        allowed: Keys that the architecture has.
        text: These keys in words, for the message.

    Raises:
        SettingError: A key is not among them.
    """
    unknown = sorted(set(size) - set(allowed))
    if any(key in CAPS for key in unknown):
        raise SettingError(
            f"size '{size}'", "a cap chooses among the sizes that a gene grows, and here is no gene", f"use {text}"
        )
    if unknown:
        near = find_nearest_names(unknown[0], allowed)
        raise SettingError(
            f"size key '{', '.join(unknown)}'",
            f"the {architecture} architecture has no such key",
            f"did you mean {near[0]}? Use {text}" if near else f"use {text}",
        )


def check_size_type(size: object) -> None:
    """Refuse a size that is not a `Size`.

    Raises:
        SettingError: It is something else, such as a number; None is allowed.
    """
    if size is not None and not isinstance(size, Size):
        raise SettingError(describe_argument("size", size), "a size has keys", f"use {_propose_size(size)}")


def _propose_size(value: object) -> str:
    """Write a size of a number that is given without its key."""
    number = read_whole_number(value)
    return f"for example gl.Size(depth={3 if number is None or number < 1 else number})"


def _parse_number(text: str) -> int | None:
    """Parse a text such as `12` or `1.5M` to a whole number; None if it is none."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    number = Fraction(match[1]) * _FACTORS[match[2]]
    return int(number) if number.denominator == 1 else None
