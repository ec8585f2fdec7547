"""Preprocessing of images: statistics, channels and sizes."""

import pytest
import torch

from germline.architectures import Preprocess, adapt_kernel
from germline.errors import SettingError


def test_statistics_equal_those_of_known_images():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[2:, 0] = 255
    images[:, 1] = 51
    found = Preprocess.from_images(images)
    assert (found.channels, found.image_size) == (3, 8)
    assert found.mean == (0.5, 0.2, 0.0)
    assert found.std[0] == pytest.approx(0.500979, abs=1e-6)
    assert found.std[1:] == (0.001, 0.001)  # the deviation of a constant channel is not zero


def test_normalising_subtracts_and_divides():
    preprocess = Preprocess(channels=1, image_size=2, mean=(0.25,), std=(0.5,))
    assert preprocess(torch.tensor([[[[0.25, 0.75], [0.0, 1.0]]]])).flatten().tolist() == [0.0, 1.0, -0.5, 1.5]


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_no_pixels(kind):
    preprocess = Preprocess(channels=1, image_size=2, mean=(0.25,), std=(0.5,))
    with pytest.raises(SettingError, match=r"Pixels are numbers from 0 to 1. Use for example pixels.float\(\) / 255"):
        preprocess(torch.ones(1, 1, 2, 2, dtype=kind))


def test_grey_is_repeated_and_colour_is_averaged():
    colour = Preprocess(channels=3, image_size=2, mean=(0.0,) * 3, std=(1.0,) * 3)
    grey = Preprocess(channels=1, image_size=2, mean=(0.0,), std=(1.0,))
    image = torch.rand(2, 1, 2, 2)
    assert torch.equal(colour(image), image.repeat(1, 3, 1, 1))
    assert torch.allclose(grey(torch.tensor([0.2, 0.4, 0.9]).view(1, 3, 1, 1).expand(1, 3, 2, 2)), torch.tensor(0.5))


@pytest.mark.parametrize(("channels", "given"), [(3, 4), (4, 3), (3, 2)])
def test_channels_that_are_neither_grey_nor_the_network_s_are_refused(channels, given):
    preprocess = Preprocess(channels=channels, image_size=8, mean=(0.5,) * channels, std=(0.2,) * channels)
    with pytest.raises(SettingError, match=f"pixels= has {given} channels. The network reads {channels}"):
        preprocess(torch.rand(2, given, 8, 8))
    for known in (1, channels):
        assert preprocess(torch.rand(2, known, 8, 8)).shape == (2, channels, 8, 8)
    with pytest.raises(SettingError, match=f"channels={given}. Its network reads {channels} channels"):
        adapt_kernel(torch.rand(5, channels, 3, 3), given)


def test_resized_images_stay_within_their_range():
    preprocess = Preprocess(channels=1, image_size=4, mean=(0.0,), std=(1.0,))
    image = (torch.arange(64).view(1, 1, 8, 8) % 2).float()
    out = preprocess(image)
    assert out.shape == (1, 1, 4, 4)
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    assert torch.allclose(preprocess(torch.full((1, 1, 8, 8), 0.3)), torch.tensor(0.3))


def test_adapted_statistics_are_means_or_repeated():
    colour = Preprocess(channels=3, image_size=32, mean=(0.1, 0.2, 0.6), std=(0.2, 0.3, 0.4))
    grey = colour.adapt(1, 64)
    assert (grey.channels, grey.image_size) == (1, 64)
    assert (grey.mean, grey.std) == ((pytest.approx(0.3),), (pytest.approx(0.3),))
    assert grey.adapt(3, 64).mean == (pytest.approx(0.3),) * 3
    assert colour.adapt(3, 32) == colour


def test_invalid_statistics_are_refused():
    with pytest.raises(SettingError, match="positive"):
        Preprocess(channels=1, image_size=8, mean=(0.0,), std=(0.0,))
    with pytest.raises(SettingError, match="2 means and 1 deviations for 1 channels"):
        Preprocess(channels=1, image_size=8, mean=(0.0, 0.0), std=(1.0,))
