"""Build the `glyphs` pack from the TrueType fonts of Debian's package `fonts-aenigma`.

Run it as `python tools/build_glyphs.py [FONT FOLDER] [PACK]`. It needs Pillow, fontTools and SciPy. The pack is the
same each time.
"""

from __future__ import annotations

import hashlib
import lzma
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glyph_families import describe, families, likeness, readable
from glyph_rendering import CHARACTERS, Font, read_font

FONTS = Path("/usr/share/fonts/truetype/aenigma")
PACK = Path(__file__).parents[1] / "src/germline/data/packs/glyphs.npz"
LEAST_CHARACTERS = 40
LEAST_READABLE = 0.4
NEAR, NEAR_FILLED = 0.87, 0.90  # least correlations of two fonts of one family
LOOSE, LOOSE_FILLED = 0.84, 0.88  # looser ones, to count remaining near copies
SHARES = {"train": 0.60, "val": 0.12, "test": 0.16, "final": 0.12}

# Both cases of a letter, and characters that many fonts draw alike, stay in one part.
PARTS: dict[str, tuple[str, ...]] = {
    "base": (
        "Oo0QqDd", "IiLlJjTtFf1|!:;.,+", "Ss5$", "Zz2", "Cc([{<", ")]}>", "Gg69", "'`\"", "-_~=", "&",
    ),
    "open": ("UuVvWwYy^", "/\\%", "@", "*"),
    "novel": ("Aa4", "RrPp", "KkXx", "7?", "#"),
    "final": ("EeBb38", "HhNnMm"),
}  # fmt: skip


def load_fonts(folder: Path) -> list[Font]:
    """Load all readable fonts with enough distinct characters, in order of name."""
    fonts = [read_font(path) for path in sorted(folder.glob("*.ttf"), key=lambda path: path.name.lower())]
    rich = [font for font in fonts if len(font.glyphs) >= LEAST_CHARACTERS]
    drawn, exists = describe(rich, filled=False)
    # A font is judged only by other families, so near copies do not count.
    score = readable(drawn, exists, families(rich, likeness(drawn, exists) >= NEAR))
    kept = [font for font, share in zip(rich, score, strict=True) if share >= LEAST_READABLE]
    print(f"{len(fonts)} fonts, {len(rich)} with {LEAST_CHARACTERS} characters or more, {len(kept)} of them readable")
    return kept


def split_fonts(fonts: Sequence[Font]) -> list[str]:
    """Choose one of the four splits for each font; a family is in one split."""
    plain, filled = (likeness(*describe(fonts, filled=flag)) for flag in (False, True))
    members: dict[int, list[int]] = defaultdict(list)
    for index, family in enumerate(families(fonts, (plain >= NEAR) | (filled >= NEAR_FILLED))):
        members[family].append(index)
    # The largest come first, so that small ones even out the splits. The hash breaks ties.
    order = sorted(members.values(), key=lambda m: (-len(m), hashlib.sha256(fonts[m[0]].name.encode()).hexdigest()))
    room = {split: share * len(fonts) for split, share in SHARES.items()}
    chosen = [""] * len(fonts)
    for group in order:
        split = max(room, key=lambda name: room[name] / SHARES[name])
        room[split] -= len(group)
        for index in group:
            chosen[index] = split
    print(f"{len(members)} families, the largest of {len(order[0])} fonts")
    report_left_over(chosen, (plain >= LOOSE) | (filled >= LOOSE_FILLED))
    return chosen


def report_left_over(chosen: Sequence[str], near: NDArray[np.bool_]) -> None:
    """Print how many near copies, by a looser measure, are in different splits."""
    splits = np.array(chosen)
    apart = splits[:, None] != splits[None]
    pairs = np.triu(near & apart, 1).sum()
    print(f"near copies across splits: {pairs} of {np.triu(apart, 1).sum()} pairs")
    for split in ("val", "test", "final"):
        touched = (near & (splits == "train")[None])[splits == split].any(axis=1)
        print(f"  {split}: {touched.sum()} of {len(touched)} fonts are near some training font")


def write_pack(fonts: Sequence[Font], splits: Sequence[str], pack: Path) -> None:
    """Write images in 16 greys, sorted by character and then font."""
    rows = [
        (CHARACTERS.index(character), number, image)
        for number, font in enumerate(fonts)
        for character, image in font.glyphs.items()
    ]
    rows.sort(key=lambda row: row[:2])
    greys = (np.stack([image for _, _, image in rows]).astype(np.uint16) + 8) // 17
    nibbles = greys.astype(np.uint8).reshape(len(rows), -1, 2)
    packed = (nibbles[..., 0] << 4 | nibbles[..., 1]).tobytes()
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]
    part_of = {character: part for part, groups in PARTS.items() for group in groups for character in group}
    pack.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        pack,
        pixels=np.frombuffer(lzma.compress(packed, filters=filters), np.uint8),
        character=np.array([row[0] for row in rows], np.uint8),
        font=np.array([row[1] for row in rows], np.uint16),
        characters=np.array(list(CHARACTERS)),
        parts=np.array([part_of[character] for character in CHARACTERS]),
        fonts=np.array([font.name for font in fonts]),
        splits=np.array(splits),
    )
    print(f"{len(rows)} images, {pack.stat().st_size / 1e6:.2f} MB")
    report_counts(np.array([row[0] for row in rows]), np.array(splits)[[row[1] for row in rows]])


def report_counts(character: NDArray[np.int64], split: NDArray[np.str_]) -> None:
    """Print the number of images per class in each split of the fonts."""
    for part, groups in PARTS.items():
        members = sorted("".join(groups))
        for name in SHARES:
            counts = [int(((character == CHARACTERS.index(c)) & (split == name)).sum()) for c in members]
            print(f"{part}/{name}: least {min(counts)}, median {np.median(counts):.0f}, most {max(counts)}")
            print("   ", " ".join(f"{c}{count}" for c, count in zip(members, counts, strict=True)))


def main(arguments: Sequence[str]) -> None:
    """Build the pack."""
    assert sorted("".join("".join(groups) for groups in PARTS.values())) == sorted(CHARACTERS)
    folder = Path(arguments[0]) if arguments else FONTS
    pack = Path(arguments[1]) if len(arguments) > 1 else PACK
    fonts = load_fonts(folder)
    splits = split_fonts(fonts)
    print({name: splits.count(name) for name in SHARES})
    write_pack(fonts, splits, pack)


if __name__ == "__main__":
    main(sys.argv[1:])
