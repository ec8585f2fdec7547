"""Resizing of data sets in memory."""

import pytest
import torch
from PIL import Image

from germline.data import load_data
from germline.data.resize import resize_data_set
from germline.errors import DataError, UnknownNameError


def test_resize_data_set_changes_only_the_size():
    own, large = load_data("digits"), load_data("digits@48")
    assert (large.name, large.licence, large.source) == ("digits@48", own.licence, own.source)
    for split in ("train", "val", "test"):
        before, after = own.split(split), large.split(split)
        assert after.images.shape == (len(before), 1, 48, 48)
        assert after.images.dtype == torch.uint8
        assert torch.equal(after.labels, before.labels)
        assert after.classes == before.classes
        # Bicubic keeps each image's mean brightness, to a few steps of 255 at the borders.
        means = [pixels.float().mean(dim=(1, 2, 3)) for pixels in (before.images, after.images)]
        assert float((means[0] - means[1]).abs().max()) < 3
    assert large.fingerprint() != own.fingerprint()


def test_resize_data_set_keeps_a_flat_image_flat():
    flat = load_data((torch.full((20, 1, 8, 8), 200, dtype=torch.uint8), torch.arange(20) % 2))
    assert torch.equal(resize_data_set(flat, 13).train.images, torch.full((18, 1, 13, 13), 200, dtype=torch.uint8))
    assert resize_data_set(flat, 4).train.images.shape[-1] == 4


def test_load_data_resizes_roles_and_joined_sets():
    found = load_data("glyphs/novel@16,held_out=glyphs/open@16")
    assert found.train.side == found.roles["held_out"].train.side == 16
    assert found.roles["held_out"].name == "glyphs/open@16"
    both = load_data("glyphs/novel@16+digits@16")
    assert both.train.side == 16
    assert both.classes[-1] == "digits@16:9"


def test_resize_data_set_refuses_bad_sizes_and_files(tmp_path):
    with pytest.raises(DataError, match=r"digits@0.*between 1 and 1024"):
        load_data("digits@0")
    with pytest.raises(UnknownNameError, match="digitz"):
        load_data("digitz@64")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(12):
            Image.new("L", (90, 90), index).save(tmp_path / name / f"{index}.png")
    with pytest.raises(DataError, match=r"cannot be resized.*in files"):
        resize_data_set(load_data(f"folder:{tmp_path}"), 64).train  # noqa: B018 - a split is read when first used
