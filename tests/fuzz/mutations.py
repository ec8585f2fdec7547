"""Seeded changes of files: bytes, JSON values, lines, headers of weights, and special files."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Values that no writer of these files would choose.
WEIRD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**6, 10**8, 10**30, -(10**9), 0.5, 1e300, -0.0, "", "x", "0", "1e3", "\ud800"),
    *("/dev/zero", "../..", "local-dir:.", "hf-hub:a/b", "a\0b", "ä" * 300, [], [None], [[[[1]]]], {}, {"a": {"b": 1}}),
    *([1] * 2000, {"format": 1}, "stored", "NaN"),
)
LITERALS = ("NaN", "Infinity", "-Infinity", "1e999", "[" * 5000, '{"a":' * 3000, "9" * 5000, "tru", "'x'", '"\\ud800"')


def mutate(path: Path, draw: random.Random) -> str:
    """Change a file in place; return the name of the change."""
    kinds = [change_bytes] * 3 + [change_place]
    if path.suffix == ".json":
        kinds += [change_value] * 8 + [change_literal] * 2
    if path.suffix == ".safetensors":
        kinds += [change_header] * 4 + [change_data] * 2
    if path.suffix in (".yaml", ".yml"):
        kinds += [change_line] * 6
    try:
        return draw.choice(kinds)(path, draw)
    except (
        ValueError,
        LookupError,
        TypeError,
        RecursionError,
    ):  # an earlier change left an unreadable text
        return change_bytes(path, draw)


def change_bytes(path: Path, draw: random.Random) -> str:
    """Flip, cut, add, repeat, clear or swap bytes."""
    data = bytearray(path.read_bytes())
    name = draw.choice(("flip", "cut", "add", "repeat", "clear", "swap", "remove", "empty", "front"))
    start = draw.randrange(len(data) + 1)
    end = min(len(data), start + draw.choice((1, 4, 64, 1000)))
    if name == "flip" and start < len(data):
        data[start] ^= 1 << draw.randrange(8)
    elif name == "cut":
        del data[start:]
    elif name == "add":
        data[start:start] = draw.randbytes(draw.choice((1, 8, 100)))
    elif name == "repeat":
        data[start:start] = data[start:end]
    elif name == "clear":
        data[start:end] = bytes(end - start)
    elif name == "swap":
        data[start:end] = data[start:end][::-1]
    elif name == "remove":
        del data[start:end]
    elif name == "empty":
        data.clear()
    elif name == "front":
        data[:8] = draw.randbytes(8)
    path.write_bytes(data)
    return f"bytes-{name}"


def change_place(path: Path, draw: random.Random) -> str:
    """Replace a file by a special file, or by another file of the folder."""
    name = draw.choice(("missing", "folder", "pipe", "loop", "link", "nowhere", "other"))
    others = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path]
    if name == "other" and others:
        shutil.copy(draw.choice(others), path)
        return "place-other"
    path.unlink()
    if name == "folder":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    elif name == "link":
        # Never a device of the machine: an error in germline would replace it.
        os.mkfifo(path.with_suffix(".pipe"))
        path.symlink_to(path.with_suffix(".pipe").name)
    elif name != "missing":
        path.symlink_to(path.name if name == "loop" else "nowhere")
    return f"place-{name}"


def change_value(path: Path, draw: random.Random) -> str:
    """Change, remove, add, rename or swap one value of a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return change_bytes(path, draw)
    places = list(_places(content))
    if not places:
        return change_bytes(path, draw)
    holder, key = draw.choice(places)
    name = draw.choice(("weird", "weird", "weird", "remove", "near", "swap", "rename", "repeat"))
    if name == "remove":
        del holder[key]
    elif name == "near" and type(holder[key]) in (int, float):
        holder[key] += draw.choice((1, -1, 0.5, 1e-9))
    elif name == "swap":
        other_holder, other_key = draw.choice(places)
        holder[key], other_holder[other_key] = other_holder[other_key], holder[key]
    elif name == "rename" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif name == "repeat" and isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[key] = draw.choice(WEIRD)
        name = "weird"
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"value-{name}"


def _places(value: Any) -> Any:
    """Yield every holder and key in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


def change_literal(path: Path, draw: random.Random) -> str:
    """Replace a number of a JSON text by a text that JSON does not allow or numbers cannot represent."""
    text = path.read_text(encoding="utf-8")
    digits = [index for index, letter in enumerate(text) if letter.isdigit() and not text[index - 1].isalnum()]
    if not digits:
        return change_bytes(path, draw)
    start = draw.choice(digits)
    end = start + 1
    while end < len(text) and text[end].isdigit():
        end += 1
    path.write_text(text[:start] + draw.choice(LITERALS) + text[end:], encoding="utf-8")
    return "literal"


def change_header(path: Path, draw: random.Random) -> str:
    """Change one value of the header of a safetensors file, and keep the data."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    try:
        facts = json.loads(data[8 : 8 + length])
        holder, key = draw.choice(list(_places(facts)))
    except (ValueError, IndexError):
        return change_bytes(path, draw)
    holder[key] = draw.choice((*WEIRD, "F16", "F64", "I32", "U8", "BOOL", "F8_E4M3", "C64", [2**40], [0, 2**50]))
    text = json.dumps(facts).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return "header"


def change_data(path: Path, draw: random.Random) -> str:
    """Change a few bytes of the tensors."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    if start >= len(data):
        return change_bytes(path, draw)
    place = draw.randrange(start, len(data))
    value = draw.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\0\0", draw.randbytes(4)))  # nan, infinity, zero
    data[place - (place - start) % 4 :][:4] = value
    aligned = place - (place - start) % 4
    data[aligned : aligned + 4] = value[: len(data) - aligned]
    path.write_bytes(data)
    return "data"


ALIASES = (
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\n" * 1,
    "a: &a [*a]\n",
    "x: &x {<<: *x}\n",
    "".join(f"l{n + 1}: &l{n + 1} [{', '.join([f'*l{n}'] * 9)}]\n" for n in range(9)).replace("[*l0", "&l0 [x, *l0", 1),
)
YAML_VALUES = (
    *(
        "!!int ''",
        "!!timestamp x",
        "!!bool x",
        "!!python/object/apply:os.system [x]",
        "[" * 300,
        "&a [*a]",
        "2020-99-99",
    ),
    *(
        ".nan",
        ".inf",
        "-1",
        "0",
        "10000000000",
        "1e300",
        "null",
        "true",
        "{}",
        "[]",
        "''",
        "'ä'",
        "[[[[1]]]]",
        "{a: {b: c}}",
    ),
    *(
        "9" * 5000,
        "depth=1000000",
        "width=100000000",
        "/dev/zero",
        "local-dir:.",
        "~",
        "*nowhere",
        "!!binary x",
        "!!set {a}",
    ),
)


def change_line(path: Path, draw: random.Random) -> str:
    """Change, repeat, remove, swap or indent one line of a YAML file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        return change_bytes(path, draw)
    place = draw.randrange(len(lines))
    name = draw.choice(("value", "value", "value", "repeat", "remove", "swap", "indent", "key", "alias"))
    if name == "value":
        head, colon, _ = lines[place].partition(":")
        lines[place] = f"{head}{colon} {draw.choice(YAML_VALUES)}"
    elif name == "repeat":
        lines.insert(place, lines[place])
    elif name == "remove":
        del lines[place]
    elif name == "swap":
        other = draw.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif name == "indent":
        lines[place] = f"{' ' * draw.randrange(1, 5)}{lines[place].strip()}"
    elif name == "key":
        lines[place] = lines[place].replace(":", f"{draw.choice('x?*&!#|>%@`')}:", 1)
    else:
        lines[place:place] = draw.choice(ALIASES).splitlines()
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"line-{name}"


Mutation = Callable[[Path, random.Random], str]
