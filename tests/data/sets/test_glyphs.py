"""The embedded glyphs: content of parts and splits, without leaks."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from germline.data import load_data
from germline.data.sets import glyphs
from germline.data.sets.glyphs import GLYPH_PARTS, read_final_glyphs, read_glyphs
from germline.errors import DataError, UnknownNameError

SPLITS = ("train", "val", "test")


@pytest.fixture
def read(tmp_path):
    """Function that reads any part, including the reserved one."""
    return lambda part: read_final_glyphs(tmp_path / "log", "a test") if part == "final" else read_glyphs(part)


def test_glyph_parts_share_no_class_and_cover_printable_ascii(read):
    classes = [name for part in GLYPH_PARTS for name in read(part).classes]
    assert sorted(classes) == [chr(code) for code in range(33, 127)]
    assert [len(read(part).classes) for part in GLYPH_PARTS] == [54, 14, 14, 12]


def test_similar_glyphs_are_in_one_part(read):
    part_of = {name: part for part in GLYPH_PARTS for name in read(part).classes}
    for letter in "abcdefghijklmnopqrstuvwxyz":
        assert part_of[letter] == part_of[letter.upper()]
    for similar in ("oO0", "lI1|", "sS5", "zZ2", "'`", ".,", "-_~", "([{<"):
        assert len({part_of[name] for name in similar}) == 1, similar


@pytest.mark.parametrize("part", GLYPH_PARTS)
def test_glyph_splits_have_visible_images_of_every_class(read, part):
    for split in SPLITS:
        images = read(part).split(split)
        assert images.images.shape[1:] == (1, 32, 32)
        assert images.images.amax(dim=(1, 2, 3)).min() > 96
        # White strokes on black, with an empty margin.
        assert images.images[:, :, 0].max() == 0
        assert images.images[:, :, :, 0].max() == 0
        assert images.images.float().mean() < 100
        counts = torch.bincount(images.labels, minlength=len(images.classes))
        assert counts.min() >= (50 if split == "train" else 10)


def test_glyphs_final_uses_fonts_of_its_own(read):
    pack = glyphs._pack()
    visible = sum(len(read(part).split(split)) for part in GLYPH_PARTS for split in SPLITS)
    hidden = (pack.split == "final").sum() - len(read("final").test)
    unused = ((pack.split == "test") & np.isin(pack.character, _members(pack, "final"))).sum()
    assert visible + hidden + unused == len(pack.images)
    final_rows = np.flatnonzero((pack.split == "final") & np.isin(pack.character, _members(pack, "final")))
    assert np.array_equal(read("final").test.images.numpy(), pack.images[final_rows])


def _members(pack, part):
    return [index for index, own in enumerate(pack.parts) if own == part]


def test_glyph_splits_share_no_image():
    for part in ("base", "novel"):
        train, test = (
            {image.tobytes() for image in read_glyphs(part).split(split).images.numpy() if image.sum() > 20_000}
            for split in ("train", "test")
        )
        assert len(train & test) <= 0.002 * len(test)


def test_glyph_labels_are_right_for_most_fonts():
    # Nearest class mean over training fonts: a shuffled pack would give about 1 in 14.
    data = read_glyphs("novel")
    train, test = data.train, data.test
    means = torch.stack([train.images[train.labels == k].float().mean(0).flatten() for k in range(14)])
    guess = torch.cdist(test.images.float().flatten(1), means).argmin(1)
    assert (guess == test.labels).float().mean() > 0.45


def test_read_glyphs_is_stable():
    glyphs._pack.cache_clear()
    first = read_glyphs("novel").fingerprint()
    assert first == read_glyphs("novel").fingerprint()


def test_glyphs_are_never_mirrored():
    assert tuple(read_glyphs("base").augmentation) == ("scale", "rotate")


def test_read_final_glyphs_logs_every_reading(tmp_path):
    for read_reserved in (lambda: read_glyphs("final"), lambda: load_data("glyphs/final")):
        with pytest.raises(DataError, match=r"reserved for headline numbers.*glyphs/novel.*--final"):
            read_reserved()
    log = tmp_path / "new" / "final-readings.jsonl"
    found = [read_final_glyphs(log, why) for why in ("first look", "second look")]
    assert [one.name for one in found] == ["glyphs/final"] * 2
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["why"] for line in lines] == ["first look", "second look"]
    assert all(datetime.fromisoformat(line["time"]).tzinfo == UTC for line in lines)


def test_read_glyphs_names_the_nearest_part():
    with pytest.raises(UnknownNameError, match="novel"):
        read_glyphs("novle")


def test_read_glyphs_refuses_a_damaged_pack(tmp_path, monkeypatch):
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "glyphs.npz").write_bytes(b"PK\3\4 not a pack")
    monkeypatch.setattr(glyphs, "files", lambda _: tmp_path)
    glyphs._pack.cache_clear()
    try:
        with pytest.raises(DataError, match="embedded glyphs"):
            read_glyphs("base").split("train")
    finally:
        glyphs._pack.cache_clear()
