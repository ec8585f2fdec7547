"""Group fonts in families and find unreadable ones (used by build_glyphs.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from glyph_rendering import CHARACTERS, Font, Grey

Floats = NDArray[np.float32]
SIDE = 16
STYLE = set(
    re.findall(
        r"\w+",
        """
    solid outline plain shadow round thick thin wide slant hollow tall mini regular scrawl letters type linear lines
    light bold curve curves story classic segments inverted square super years dings
""",
    )
)


def _aligned(glyph: Grey, *, filled: bool) -> Floats:
    """Stretch the inked box to one size and blur it, so that weight and small shifts matter little."""
    ink = glyph
    if filled:  # an outline font becomes a solid one
        ink = (ndimage.binary_fill_holes(glyph > 64) * np.uint8(255)).astype(np.uint8)
    image = Image.fromarray(ink)
    small = image.crop(image.getbbox()).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    flat = ndimage.gaussian_filter(np.asarray(small, np.float32) / 255, 0.8).ravel()
    flat = flat - flat.mean()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-6), np.float32)


def describe(fonts: Sequence[Font], *, filled: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Return aligned drawings [characters, fonts, pixels], and which of them exist."""
    drawn = np.zeros((len(CHARACTERS), len(fonts), SIDE * SIDE), np.float32)
    exists = np.zeros(drawn.shape[:2], bool)
    for column, font in enumerate(fonts):
        for character, image in font.glyphs.items():
            row = CHARACTERS.index(character)
            drawn[row, column], exists[row, column] = _aligned(image, filled=filled), True
    return drawn, exists


def likeness(drawn: Floats, exists: NDArray[np.bool_]) -> Floats:
    """Return mean correlations over shared letters and digits, [fonts, fonts]; 0 for fewer than twelve."""
    rows = [row for row, character in enumerate(CHARACTERS) if character.isalnum()]
    total = sum(drawn[row] @ drawn[row].T for row in rows)
    shared = sum(np.outer(exists[row], exists[row]).astype(np.float32) for row in rows)
    return np.where(np.asarray(shared) >= 12, np.asarray(total) / np.maximum(shared, 1), 0).astype(np.float32)


def _words(font: Font) -> set[str]:
    words = re.findall(r"[a-z]+", re.sub(r"\b(brk|tt|ttr)\b", "", font.family.lower()))
    return {word for word in words if len(word) >= 5 and word not in STYLE} | set(words[:1])


def _same_name(first: Font, second: Font) -> bool:
    return first.name.lower()[:5] == second.name.lower()[:5] or bool(_words(first) & _words(second))


def families(fonts: Sequence[Font], near: NDArray[np.bool_]) -> list[int]:
    """Return a family number for each font; variants by name and near copies by `near` share a family."""
    parent = list(range(len(fonts)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for a, b in combinations(range(len(fonts)), 2):
        if near[a, b] or _same_name(fonts[a], fonts[b]):
            low, high = sorted((root(a), root(b)))
            parent[high] = low
    return [root(index) for index in range(len(fonts))]


def readable(drawn: Floats, exists: NDArray[np.bool_], family: Sequence[int]) -> Floats:
    """Return the share of letters and digits whose nearest drawing in other families is the same character."""
    rows = [row for row, character in enumerate(CHARACTERS) if character.isalnum()]
    labels, fonts = np.nonzero(exists & np.isin(np.arange(len(CHARACTERS)), rows)[:, None])
    points, group = drawn[labels, fonts], np.asarray(family)[fonts]
    lower = np.array([ord(CHARACTERS[label].lower()) for label in labels])
    right = np.zeros(len(points), bool)
    for start in range(0, len(points), 2048):
        part = slice(start, start + 2048)
        close = points[part] @ points.T
        close[group[part, None] == group[None]] = -2
        right[part] = lower[close.argmax(axis=1)] == lower[part]
    count = np.bincount(fonts, minlength=drawn.shape[1])
    return (np.bincount(fonts, weights=right, minlength=drawn.shape[1]) / np.maximum(count, 1)).astype(np.float32)
