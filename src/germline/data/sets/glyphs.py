"""The embedded `glyphs` data set: characters drawn by hundreds of fonts, 32x32 grey."""

from __future__ import annotations

import lzma
import zipfile
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from germline.data.dataset import DataSet, Images, Split
from germline.data.final_readings import log_final_reading
from germline.errors import DataError, UnknownNameError

GLYPH_PARTS = ("base", "open", "novel", "final")
_SIDE = 32


@dataclass(frozen=True)
class _Pack:
    """All glyphs; row i of `images` is character `character[i]` in the font split `split[i]`."""

    images: NDArray[np.uint8]
    character: NDArray[np.uint8]
    split: NDArray[np.str_]
    characters: tuple[str, ...]
    parts: tuple[str, ...]


@lru_cache(maxsize=1)
def _pack() -> _Pack:
    try:
        with (files("germline.data") / "packs" / "glyphs.npz").open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
        packed = np.frombuffer(lzma.decompress(arrays["pixels"].tobytes()), np.uint8)
        images = np.stack((packed >> 4, packed & 15), axis=-1).reshape(len(arrays["font"]), 1, _SIDE, _SIDE)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise DataError("The embedded glyphs cannot be read", str(error), "Install germline again") from error
    return _Pack(
        images * np.uint8(17),  # 16 greys spread over 0..255
        arrays["character"],
        arrays["splits"][arrays["font"]],
        tuple(str(name) for name in arrays["characters"]),
        tuple(str(name) for name in arrays["parts"]),
    )


def _read(part: str, split: Split) -> Images:
    pack = _pack()
    members = [index for index, own in enumerate(pack.parts) if own == part]
    label = np.full(len(pack.characters), -1, np.int64)
    label[members] = np.arange(len(members))
    fonts = "final" if part == "final" and split == "test" else split
    rows = np.flatnonzero((label[pack.character] >= 0) & (pack.split == fonts))
    classes = tuple(pack.characters[index] for index in members)
    return Images(torch.from_numpy(pack.images[rows]), torch.from_numpy(label[pack.character[rows]]), classes)


def read_glyphs(part: str | None = None) -> DataSet:
    """Characters drawn by hundreds of fonts: glyphs/base, glyphs/open, glyphs/novel, glyphs/final.

    Each class is in one part only, and splits share no font family. No other part has the fonts of the test split of
    `final`.

    Args:
        part: Name of the part: base, open or novel.

    Raises:
        UnknownNameError: There is no such part.
        DataError: The part is `final`, which is reserved for headline numbers.
    """
    if part not in GLYPH_PARTS:
        raise UnknownNameError.with_nearest("part of glyphs", part or "", GLYPH_PARTS)
    if part == "final":
        raise DataError(
            "'glyphs/final' is reserved for headline numbers",
            "Using the test set during development would invalidate it",
            "Use glyphs/novel, and germline compare RECIPE --final at the end",
        )
    return _read_part(part)


def read_final_glyphs(log: Path, why: str) -> DataSet:
    """Read the part that is reserved for headline numbers, and log the reading first.

    Args:
        log: Log file of all readings, one line of JSON each.
        why: Reason for the reading.
    """
    log_final_reading(log, why)
    return _read_part("final")


def _read_part(part: str) -> DataSet:
    return DataSet(
        name=f"glyphs/{part}",
        read=partial(_read, part),
        augmentation=("scale", "rotate"),
        licence="free to use, change and share with changes noted and Brian Kent attributed",
        source="fonts by Brian Kent (aenigmafonts.com), drawn as 32x32 images",
    )
