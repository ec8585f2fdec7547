"""Draw the printable characters of a font as small grey images (used by build_glyphs.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CHARACTERS = "".join(chr(code) for code in range(33, 127))
SIZE = 32
LARGEST = 27  # largest side of a glyph in pixels
TYPICAL = 24  # larger side of a font's median letter or digit in pixels
EM = 96  # size of an em in pixels, before scaling
SAME = 0.03  # two drawings are equal below this difference, as a share of the ink
SMALL_CAPITAL = 0.2  # the same for a small letter stretched to its capital
PLACEHOLDER = 5  # one drawing for so many characters means "not in this font"

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Font:
    """One font: its name and its distinct characters."""

    name: str
    family: str
    glyphs: dict[str, Grey]


def _mapped(font: TTFont) -> set[int]:
    codes: set[int] = set()
    for table in font["cmap"].tables:
        # Symbol fonts have their characters from 0xF000 on.
        codes |= {code - 0xF000 if 0xF000 <= code <= 0xF0FF else code for code in table.cmap}
    return codes


def _family(font: TTFont) -> str:
    name = font["name"].getDebugName(1)
    return str(name or "").strip()


def _draw(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    """Draw one character at full size and crop it to its ink; None if it is empty."""
    left, top, right, bottom = font.getbbox(character)
    if right <= left or bottom <= top or max(right - left, bottom - top) > 12 * EM:
        return None
    canvas = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(canvas).text((4 - left, 4 - top), character, fill=255, font=font)
    box = canvas.getbbox()
    return canvas.crop(box) if box else None


def _fit(ink: Image.Image, scale: float) -> Grey:
    """Scale the ink by `scale`, or less to make it fit, and centre it in an empty image."""
    scale = min(scale, LARGEST / max(ink.size))
    width, height = (max(1, round(side * scale)) for side in ink.size)
    small = ink.resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    image = Image.new("L", (SIZE, SIZE))
    image.paste(small, ((SIZE - width) // 2, (SIZE - height) // 2))
    return np.asarray(image, dtype=np.uint8)


def _stretched(glyph: Grey) -> Grey:
    """Stretch the inked box to a height of 16 px with its aspect ratio, to detect small capitals."""
    image = Image.fromarray(glyph)
    box = image.getbbox() or (0, 0, SIZE, SIZE)
    width = max(1, min(SIZE, round(16 * (box[2] - box[0]) / (box[3] - box[1]))))
    out = np.zeros((16, SIZE), np.uint8)
    out[:, :width] = np.asarray(image.crop(box).resize((width, 16), Image.Resampling.BILINEAR))
    return out


def _difference(first: Grey, second: Grey) -> float:
    """Return the grey difference as a share of the mean ink."""
    ink = (float(first.sum()) + float(second.sum())) / 2
    return float(np.abs(first.astype(np.int16) - second).sum()) / max(ink, 1.0)


def _distinct(glyphs: dict[str, Grey]) -> dict[str, Grey]:
    """Remove drawings that repeat an earlier character, and placeholders of missing ones."""
    kept: dict[str, Grey] = {}
    repeats: dict[str, int] = {}
    for character, image in glyphs.items():
        twin = next((c for c, other in kept.items() if _difference(image, other) < SAME), None)
        if twin is None and character.islower() and character.upper() in kept and character not in "coksuvwxz":
            small_capital = _difference(_stretched(image), _stretched(kept[character.upper()])) < SMALL_CAPITAL
            twin = character.upper() if small_capital else None
        if twin is None:
            kept[character] = image
        else:
            repeats[twin] = repeats.get(twin, 1) + 1
    return {c: image for c, image in kept.items() if repeats.get(c, 1) < PLACEHOLDER}


def read_font(path: Path) -> Font:
    """Draw every printable ASCII character of the font at `path`."""
    table = TTFont(path)
    mapped, face = _mapped(table), ImageFont.truetype(str(path), EM)
    ink = {c: drawn for c in CHARACTERS if ord(c) in mapped and (drawn := _draw(face, c)) is not None}
    sides = [max(ink[c].size) for c in ink if c.isalnum()]
    scale = TYPICAL / float(np.median(sides)) if sides else 1.0
    glyphs = {c: _fit(drawn, scale) for c, drawn in ink.items()}
    inked = {c: image for c, image in glyphs.items() if int((image > 96).sum()) >= 3}
    return Font(path.stem, _family(table), _distinct(inked))
