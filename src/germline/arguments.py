"""Checks of arguments that Python users pass, because Python does not check their types."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path

import germline
from germline.errors import GermlineError, SettingError

_SHOWN = (str, bytes, int, float, bool, list, tuple, dict, set)  # types whose values a message shows


def check_type(name: str, value: object, kinds: type | tuple[type, ...], why: str, fix: str) -> None:
    """Refuse an argument of another type.

    Args:
        name: Name of the argument.
        value: Value that was passed.
        kinds: Types that are allowed.
        why: What the argument is.
        fix: Advice to the user.

    Raises:
        SettingError: The value has another type, or is a class in place of an object.
    """
    if isinstance(value, kinds):
        return
    if isinstance(value, type) and issubclass(value, kinds):
        kind = name_class(value)
        raise SettingError(f"{name}={kind} is a class", "An object of this class is needed", f"Use {kind}(...)")
    raise SettingError(describe_argument(name, value), why, fix)


def describe_argument(name: str, value: object) -> str:
    """Describe an argument of a wrong type, as in `size=3 is an int`."""
    if value is None:
        return f"{name}=None"
    if isinstance(value, type):
        return f"{name}= is the class {name_class(value)}"
    shown = f"{name}={reprlib.repr(value)}" if type(value) in _SHOWN else f"{name}="
    return f"{shown} is {name_type(value)}"


def name_class(kind: type) -> str:
    """Return the name that users write for a class, such as `gl.TLEG`."""
    is_exported = kind.__module__.startswith("germline.") and kind.__name__ in germline.__all__
    return f"gl.{kind.__name__}" if is_exported else f"{kind.__module__}.{kind.__name__}"


def name_type(value: object) -> str:
    """Return the name of a value's type with its article."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def check_whole_number(name: str, value: object, least: int, *, example: int) -> int:
    """Return a whole number as an int; those of NumPy are taken too.

    Args:
        name: Name of the argument.
        value: Value that was passed.
        least: Smallest value that is allowed.
        example: Value that the message proposes.

    Raises:
        SettingError: The value is no whole number, or is too small.
    """
    number = read_whole_number(value)
    if number is None or number < least:
        why = f"It is a whole number of at least {least}"
        raise SettingError(f"{name}={reprlib.repr(value)}", why, f"Use for example {name}={example}")
    return number


def read_whole_number(value: object) -> int | None:
    """Return a whole number of Python or NumPy as an int; None for anything else, and for True and False."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def check_seed(seed: object) -> int:
    """Return a random seed as an int.

    Raises:
        SettingError: It is no whole number from 0 to 2^63 - 1.
    """
    number = read_whole_number(seed)
    if number is None or not 0 <= number < 2**63:
        why = "A seed is a whole number from 0 to 2^63 - 1"
        raise SettingError(f"seed={reprlib.repr(seed)}", why, "Use for example seed=0")
    return number


def check_path(name: str, value: object, example: str) -> Path:
    """Return a path that is given as text or as a `Path`.

    Args:
        name: Name of the argument.
        value: Value that was passed.
        example: Path that the message proposes.

    Raises:
        SettingError: The value is neither, or is an empty text.
    """
    fix = f'Use for example {name}="{example}"'
    if not isinstance(value, (str, os.PathLike)):
        raise SettingError(describe_argument(name, value), "It is a path, as text or as a pathlib.Path", fix)
    if isinstance(value, str) and not value:
        raise SettingError(f"{name}= is empty", "A path has at least one character", fix)
    return Path(value)


def list_class_names(classes: object, error: type[GermlineError] = SettingError) -> tuple[object, ...]:
    """List class names as they were passed.

    Args:
        classes: Value that was passed.
        error: Class of the error.

    Raises:
        GermlineError: They are one text or no list. The error has the given class.
    """
    fix = 'Pass a list, such as classes=["cat", "dog"]'
    if isinstance(classes, (str, bytes)):
        raise error(f"classes={reprlib.repr(classes)} is one text", "Its letters would be the names", fix)
    if not isinstance(classes, Iterable):
        raise error(describe_argument("classes", classes), "Class names are a list of texts", fix)
    return tuple(classes)


def check_class_list(classes: object) -> tuple[str, ...]:
    """Return class names as a tuple.

    Raises:
        SettingError: They are no list of texts.
    """
    names = list_class_names(classes)
    if odd := [name for name in names if not isinstance(name, str)]:
        what = f"classes= has {reprlib.repr(odd[0])}, {name_type(odd[0])}"
        raise SettingError(what, "Class names are texts", 'Pass a list, such as classes=["cat", "dog"]')
    return tuple(map(str, names))
