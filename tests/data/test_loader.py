"""Batches of the loader: every image once per epoch, the same in any order and in parts."""

import pytest
import torch

from germline.data import Augment, Images, Loader, iterate_batches
from germline.data.loader import _beta
from germline.errors import SettingError
from germline.randomness import generator


@pytest.fixture(scope="module")
def numbered():
    """24 images of 4 classes; the pixels of each are its number."""
    numbers = torch.arange(24, dtype=torch.uint8)
    return Images(numbers.view(24, 1, 1, 1).expand(24, 1, 8, 8).clone(), (numbers % 4).long(), tuple("abcd"))


@pytest.fixture(scope="module")
def noise():
    """12 images that differ from each other in every pixel."""
    rows = [torch.randperm(12, generator=generator(place, "noise")) for place in range(16 * 16)]
    images = (torch.stack(rows, 1) * 20 + 1).to(torch.uint8).view(12, 1, 16, 16)
    return Images(images, torch.arange(12) % 3, tuple("abc"))


def read_numbers(batch):
    return (batch.pixels[:, 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize("batch_size", [8, 7, 24, 50])
def test_loader_gives_every_image_once_per_epoch(numbered, batch_size):
    loader = Loader(numbered, batch_size, seed=0)
    stream = [number for step in range(24) for number in read_numbers(loader.batch(step))]
    epochs = [stream[start : start + 24] for start in range(0, 24 * batch_size - 23, 24)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs[:6]}) == min(6, len(epochs))


def test_loader_keeps_labels_with_images(numbered):
    batch = Loader(numbered, 10, seed=0).batch(3)
    assert [number % 4 for number in read_numbers(batch)] == batch.labels.tolist()
    assert batch.share == 1.0
    assert batch.partner_labels is None


OPTIONS = {
    "plain": {},
    "augmented": {"augment": Augment(("shift", "scale", "rotate", "erase"))},
    "mixup": {"augment": Augment(("shift",)), "mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "both": {"augment": Augment(("mirror",)), "mixup": 0.8, "cutmix": 1.0},
}


def equal(first, second):
    labels = [getattr(batch, name) for name in ("labels", "partner_labels") for batch in (first, second)]
    pairs = [(labels[0], labels[1]), (labels[2], labels[3])]
    same = all((a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in pairs)
    return same and torch.equal(first.pixels, second.pixels) and first.share == second.share


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_loader_gives_the_same_batch_in_any_order(noise, options):
    steady, resumed = Loader(noise, 5, seed=3, **options), Loader(noise, 5, seed=3, **options)
    before = noise.images.clone()
    for step in range(9):
        steady.batch(step)
    assert all(equal(steady.batch(step), resumed.batch(step)) for step in (7, 2, 7, 8))
    assert not equal(steady.batch(2), steady.batch(7))
    assert not equal(steady.batch(2), Loader(noise, 5, seed=4, **options).batch(2))
    assert torch.equal(noise.images, before)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_loader_shares_a_batch_between_processes(noise, options):
    whole = Loader(noise, 10, seed=1, **options)
    shares = [Loader(noise, 10, seed=1, rank=rank, world=2, **options) for rank in range(2)]
    for step in range(6):
        batch, parts = whole.batch(step), [loader.batch(step) for loader in shares]
        assert torch.equal(torch.cat([part.pixels for part in parts]), batch.pixels)
        assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
        assert {part.share for part in parts} == {batch.share}
        if batch.partner_labels is not None:
            assert torch.equal(torch.cat([part.partner_labels for part in parts]), batch.partner_labels)


def test_loader_mixup_is_the_weighted_mean_of_two_images(noise):
    plain, mixed = Loader(noise, 12, seed=0), Loader(noise, 12, seed=0, mixup=0.8)
    for step in range(4):
        alone, batch = plain.batch(step), mixed.batch(step)
        assert torch.equal(alone.labels, batch.labels)
        other = (batch.pixels - batch.share * alone.pixels) / (1 - batch.share)
        for image, label in zip(other, batch.partner_labels, strict=True):
            found = (alone.pixels - image).abs().amax(dim=(1, 2, 3)).argmin()
            assert torch.allclose(alone.pixels[found], image, atol=1e-3)
            assert alone.labels[found] == label


def test_loader_cutmix_share_is_the_remaining_area(noise):
    plain, mixed = Loader(noise, 12, seed=0), Loader(noise, 12, seed=0, cutmix=1.0)
    shares = []
    for step in range(12):
        alone, batch = plain.batch(step), mixed.batch(step)
        replaced = batch.pixels != alone.pixels
        own = replaced.flatten(1).float().mean(1)  # 0 if an image was its own partner
        assert {round(value, 6) for value in own.tolist()} <= {0.0, round(1 - batch.share, 6)}
        rows, columns = replaced.any(0)[0].any(1).sum(), replaced.any(0)[0].any(0).sum()
        assert int(rows * columns) == int(replaced.any(0).sum()) == round((1 - batch.share) * 256)
        shares.append(batch.share)
    assert min(shares) < 0.5 < max(shares)


def test_loader_alternates_mixup_and_cutmix(noise):
    plain, mixed = Loader(noise, 12, seed=0), Loader(noise, 12, seed=0, mixup=0.8, cutmix=1.0)
    cut = 0
    for step in range(40):
        alone, batch = plain.batch(step).pixels, mixed.batch(step).pixels
        cut += all(
            pixel in alone[:, 0, 0, 0].tolist() + alone[:, 0, 8, 8].tolist() for pixel in batch[:3, 0, 8, 8].tolist()
        )
    assert 8 <= cut <= 32


@pytest.mark.parametrize(("alpha", "deviation"), [(0.2, 0.4226), (1.0, 0.2887), (4.0, 0.1667)])
def test_beta_has_the_mean_and_deviation_of_the_distribution(alpha, deviation):
    keyed = generator(0, "beta")
    draws = torch.tensor([_beta(alpha, keyed) for _ in range(1000)])
    assert float(draws.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(draws.std()) == pytest.approx(deviation, abs=0.012)
    assert 0 <= float(draws.min()) <= float(draws.max()) <= 1


def test_loader_gives_no_labels_for_unlabelled_images(numbered):
    unlabelled = Images(numbered.images, None, ())
    batch = Loader(unlabelled, 6, seed=0, mixup=0.5).batch(0)
    assert batch.labels is None
    assert batch.partner_labels is None
    assert 0 <= batch.share <= 1


def test_loader_refuses_uneven_shares_and_no_images(numbered):
    with pytest.raises(SettingError, match=r"batch_size=9 on 2 processes.*batch_size=10"):
        Loader(numbered, 9, seed=0, world=2)
    with pytest.raises(SettingError, match="No images"):
        Loader(numbered.subset(torch.tensor([], dtype=torch.int64)), 9, seed=0)


def test_iterate_batches_gives_all_images_once_unchanged(numbered):
    batches = list(iterate_batches(numbered, 10))
    assert [len(batch.pixels) for batch in batches] == [10, 10, 4]
    assert [number for batch in batches for number in read_numbers(batch)] == list(range(24))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), numbered.labels)
