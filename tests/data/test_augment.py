"""Augmentation of known images, by given draws."""

import pytest
import torch

from germline.data import Augment, load_data
from germline.data.augment import ERASE, SHIFT
from germline.randomness import generator

ALL = ("shift", "scale", "rotate", "mirror", "erase")
MIDDLE = [0.5, 0.5, 0.5, 0.5, 0.4, 0.5, 0.5]  # no shift, no scale, no angle, no mirror


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (16, 3, 16, 16), generator=generator(0, "pictures"), dtype=torch.uint8)


def apply_draws(kinds, images, *rows):
    return Augment(kinds)(images, torch.tensor(rows))


@pytest.mark.parametrize("kinds", [(), *((kind,) for kind in ALL), ALL], ids=str)
def test_augment_depends_only_on_its_draws(kinds, images):
    augment = Augment(kinds)
    draws = augment.draw(16, generator(1, "draw"))
    torch.manual_seed(0)
    first = augment(images, draws)
    torch.manual_seed(1)
    assert torch.equal(first, augment(images, draws))
    assert (first.dtype, first.shape) == (torch.float32, images.shape)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    changed = not torch.equal(first, images.float() / 255)
    assert changed == bool(kinds)


def test_augment_changes_each_image_by_its_own_draw(images):
    draws = Augment(ALL).draw(16, generator(2, "draw"))
    whole = Augment(ALL)(images, draws)
    parts = torch.cat([Augment(ALL)(images[part], draws[part]) for part in (slice(0, 5), slice(5, 16))])
    assert torch.allclose(whole, parts, atol=1e-6)


def test_augment_changes_nothing_at_middle_draws(images):
    for kinds in (("shift",), ("scale", "rotate"), ("mirror",)):
        found = apply_draws(kinds, images[:1], MIDDLE)
        assert torch.allclose(found, images[:1].float() / 255, atol=1e-5)


def test_augment_shifts_by_whole_pixels_up_to_an_eighth(images):
    image, margin = images[:1], round(16 * SHIFT)
    assert margin == 2
    seen = set()
    for x in range(5):
        for y in range(5):
            found = (apply_draws(("shift",), image, [(x + 0.5) / 5, (y + 0.5) / 5, *MIDDLE[2:]]) * 255).round().byte()
            right, down = margin - x, margin - y
            expected = torch.zeros_like(image)
            target = expected[..., max(0, down) : 16 + min(0, down), max(0, right) : 16 + min(0, right)]
            target.copy_(image[..., max(0, -down) : 16 - max(0, down), max(0, -right) : 16 - max(0, right)])
            assert torch.equal(found, expected)
            seen.add((right, down))
    assert len(seen) == 25


def test_augment_mirrors_for_half_of_the_draws(images):
    image = images[:1]
    plain, flipped = (
        apply_draws(("mirror",), image, MIDDLE),
        apply_draws(("mirror",), image, [*MIDDLE[:4], 0.9, *MIDDLE[5:]]),
    )
    assert torch.equal(plain, image.float() / 255)
    assert torch.equal(flipped, plain.flip(-1))


def test_augment_erases_a_square_of_a_quarter_of_the_side():
    white = torch.full((1, 1, 16, 16), 255, dtype=torch.uint8)
    found = apply_draws(("erase",), white, MIDDLE)[0, 0]
    assert int((found == 0).sum()) == round(16 * ERASE) ** 2 == 16
    assert not found[6:10, 6:10].any()


def test_augment_rotates_and_scales_around_the_middle():
    image = torch.zeros(1, 1, 17, 17, dtype=torch.uint8)
    image[..., 8, 8] = image[..., 8, 15] = 255
    for draw in ([0.5, 0.5, 1.0, *MIDDLE[3:]], [0.5, 0.5, 0.5, 1.0, *MIDDLE[4:]]):
        found = apply_draws(("scale", "rotate"), image, draw)[0, 0]
        assert float(found[8, 8]) > 0.9
        assert float(found[8, 15]) < 0.9


def test_characters_are_never_mirrored():
    assert "mirror" not in load_data("glyphs/novel").augmentation
    assert "mirror" not in load_data("digits").augmentation
