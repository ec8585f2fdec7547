"""Random augmentation policies: keyed draws, statistics, and unchanged global generators."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.random_erasing import RandomErasing

from germline.data import Augment, ImageFiles, Images, Loader, Policy, file_stream
from germline.data.policy import seed_random_state
from germline.randomness import derive, generator

PAPER = Policy(16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), randaugment="rand-m9-mstd0.5-inc1", erasing=0.25)
ERASING = Policy(16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), erasing=0.25)
JITTER = replace(ERASING, erasing=0.0, color_jitter=0.4)


@pytest.fixture(scope="module")
def images():
    """12 smooth images, each of another colour."""
    ramp = torch.linspace(0, 60, 16)
    base = torch.randint(0, 196, (12, 3, 1, 1), generator=generator(0, "colours"))
    pixels = (base + ramp + ramp[:, None]).clamp(max=255).to(torch.uint8)
    return Images(pixels, torch.arange(12) % 3, tuple("abc"))


@pytest.fixture(scope="module")
def files(images, tmp_path_factory):
    """The same images in files."""
    folder = tmp_path_factory.mktemp("files")
    paths = tuple(folder / f"{number}.png" for number in range(12))
    for path, pixels in zip(paths, images.images, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((40, 40)).save(path)
    return ImageFiles(images.labels, images.classes, paths, 16)


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("policy", [PAPER, ERASING, JITTER], ids=["paper", "erasing", "jitter"])
def test_policy_depends_on_the_seed_of_each_image_alone(images, policy):
    pixels = images.images.float() / 255
    before = states()
    whole = policy(pixels, range(100, 112))
    assert states() == before
    parts = torch.cat([policy(pixels[6:], range(106, 112)), policy(pixels[:6], range(100, 106))])
    assert torch.equal(whole, torch.cat([parts[6:], parts[:6]]))
    assert not torch.equal(whole, policy(pixels, range(200, 212)))
    assert torch.equal(pixels, images.images.float() / 255)


def test_policy_erases_the_given_share_of_images_with_normal_noise():
    grey = torch.full((1, 3, 16, 16), 0.5).expand(400, -1, -1, -1)
    erased = replace(ERASING, erasing=0.25)(grey, range(400))
    changed = (erased != grey).any(1)
    share = changed.flatten(1).any(1).float().mean()
    assert 0.17 < float(share) < 0.33  # 0.25 within 3.7 standard errors
    areas = changed.flatten(1).float().mean(1)[changed.flatten(1).any(1)]
    assert 0.01 < float(areas.min()) < 0.08 < float(areas.max()) < 0.36  # drawn from 0.02 to 1/3, in whole pixels
    for one in changed[changed.flatten(1).any(1)]:
        assert int(one.any(0).sum() * one.any(1).sum()) == int(one.sum())  # a rectangle
    inputs = (erased - torch.tensor(ERASING.mean).view(3, 1, 1)) / torch.tensor(ERASING.std).view(3, 1, 1)
    noise = inputs.movedim(1, 0)[:, changed]
    assert torch.allclose(noise.mean(1), torch.zeros(3), atol=0.06)
    assert torch.allclose(noise.std(1), torch.ones(3), atol=0.06)
    assert float(changed.any(0).float().mean()) > 0.9  # almost every position is erased in some image


def test_policy_with_probabilities_of_zero_and_one():
    pixels = torch.rand(8, 3, 16, 16, generator=generator(0, "pixels"))
    assert torch.equal(replace(ERASING, erasing=0.0)(pixels, range(8)), pixels)
    assert (replace(ERASING, erasing=1.0)(pixels, range(8)) != pixels).flatten(1).any(1).all()
    unused = replace(PAPER, randaugment="rand-m9-p0", erasing=0.0)
    bytes_ = (pixels * 255).round() / 255
    assert torch.allclose(unused(pixels, range(8)), bytes_, atol=1e-6)


def test_policy_jitters_brightness_within_its_strength():
    grey = torch.full((64, 3, 4, 4), 100 / 255)
    levels = replace(JITTER, side=4, color_jitter=0.4)(grey, range(64))[:, 0, 0, 0] * 255
    assert 59 <= float(levels.min()) < 75
    assert 125 < float(levels.max()) <= 141


def test_policy_changes_grey_images_and_leaves_them_grey(images):
    grey = Policy(16, (0.5,), (0.2,), randaugment="rand-m9-mstd0.5-inc1", erasing=0.25)
    pixels = images.images[:, :1].float() / 255
    colour = replace(grey, mean=(0.5,) * 3, std=(0.2,) * 3, erasing=0.0)(pixels.expand(-1, 3, -1, -1), range(12))
    assert torch.equal(replace(grey, erasing=0.0)(pixels, range(12)), colour[:, :1])
    assert torch.equal(colour[:, :1].expand(-1, 3, -1, -1), colour)
    assert grey(pixels, range(12)).shape == (12, 1, 16, 16)


def test_randaugment_runs_at_its_highest_magnitude_and_leaves_jitter_out():
    strong = replace(PAPER, randaugment="rand-m10-n9-p1-inc1", erasing=0.0)
    pixels = torch.rand(40, 3, 16, 16, generator=generator(1, "pixels"))
    changed = strong(pixels, range(40))
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert torch.equal(changed, replace(strong, color_jitter=0.4)(pixels, range(40)))


def shares(images, augment, **options):
    whole = Loader(images, 6, seed=1, augment=augment, mixup=0.8, **options).batch(2)
    parts = [Loader(images, 6, seed=1, augment=augment, mixup=0.8, rank=r, world=2, **options).batch(2) for r in (0, 1)]
    return whole, torch.cat([part.pixels for part in parts])


def test_loader_gives_the_same_changes_in_any_order_and_in_parts(images):
    augment = Augment(("shift", "mirror"), PAPER)
    first = Loader(images, 6, seed=1, augment=augment, mixup=0.8)
    in_order = [first.batch(step) for step in range(3)]
    whole, parts = shares(images, augment)
    assert torch.equal(in_order[2].pixels, whole.pixels)
    assert torch.equal(whole.pixels, parts)
    assert not torch.equal(in_order[0].pixels, in_order[1].pixels)


def test_loader_gives_the_same_changes_of_files_with_any_number_of_workers(files, monkeypatch):
    augment, found = Augment(("shift", "mirror"), replace(PAPER, erasing=1.0)), []
    for workers in (0, 2):
        monkeypatch.setattr(file_stream, "WORKERS", workers)
        before = states()
        found.append(Loader(files, 4, seed=1, augment=augment).batch(1).pixels)
        assert states()[:2] == before[:2]
    assert torch.equal(found[0], found[1])
    plain = Loader(files, 4, seed=1, augment=Augment(("shift", "mirror"))).batch(1).pixels
    assert (found[0] != plain).flatten(1).any(1).all()


def test_files_without_a_policy_have_the_draws_of_timm(files):
    timm_transform = create_transform(
        16, True, mean=(0.0,) * 3, std=(1.0,) * 3, color_jitter=None, interpolation="bicubic"
    )
    transforms = [
        file_stream.ImageTransform(16, training=True, mirror=True, policy=policy)
        for policy in (None, replace(ERASING, erasing=0.0))
    ]
    with Image.open(files.paths[0]) as opened:
        image = opened.convert("RGB")
    pixels = torch.empty(3, 16, 16, dtype=torch.uint8)
    for seed in range(5):
        seed_random_state(seed)
        expected = timm_transform(image)
        for transform in transforms:
            seed_random_state(seed)
            assert transform(image, pixels) is None
            assert torch.equal(pixels.float() / 255, expected)


@pytest.mark.parametrize(("workers", "kind"), [(0, "mixup"), (2, "cutmix")])
def test_loader_of_files_erases_as_timm_does_and_then_mixes(files, monkeypatch, workers, kind):
    monkeypatch.setattr(file_stream, "WORKERS", workers)
    augment = Augment(("mirror",), replace(ERASING, erasing=0.7))
    plain, erased = Loader(files, 6, 1, augment=Augment(("mirror",))), Loader(files, 6, 1, augment=augment)
    mixed = Loader(files, 6, 1, augment=augment, **{kind: 0.8})
    transform, eraser = (
        file_stream.ImageTransform(16, training=True, mirror=True),
        RandomErasing(0.7, mode="pixel", device="cpu"),
    )
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (ERASING.mean, ERASING.std))
    expected = []
    for place, index in enumerate(plain._schedule.indices(1).tolist()):
        seed_random_state(derive(1, "augment", 1, place))
        pixels = torch.empty(3, 16, 16, dtype=torch.uint8)
        transform(Image.open(files.paths[index]).convert("RGB"), pixels)
        noise = eraser(torch.full((3, 16, 16), torch.nan))
        expected.append(torch.where(noise.isnan(), pixels.float() / 255, noise * std + mean))
    changed = erased.batch(1).pixels
    assert torch.equal(changed, torch.stack(expected))
    assert 0 < int((changed != plain.batch(1).pixels).flatten(1).any(1).sum()) < 6
    batch, partners = mixed.batch(1), mixed._schedule.partners(1)
    if kind == "mixup":
        assert torch.equal(batch.pixels, changed * batch.share + changed[partners] * (1 - batch.share))
    else:
        assert bool(((batch.pixels == changed) | (batch.pixels == changed[partners])).all())
        assert not torch.equal(batch.pixels, changed)


@pytest.mark.parametrize(("batch_size", "repeats"), [(12, 3), (8, 3), (6, 2), (5, 5)])
def test_loader_repeats_every_image_in_a_row(images, batch_size, repeats):
    loader = Loader(images, batch_size, seed=0, repeats=repeats)
    once = Loader(images, batch_size, seed=0)
    steps = 12 * repeats * 2 // batch_size
    indices = torch.cat([loader._schedule.indices(step) for step in range(steps)])
    groups = indices[: len(indices) // repeats * repeats].view(-1, repeats)
    assert bool((groups == groups[:, :1]).all())
    distinct = torch.cat([once._schedule.indices(step) for step in range(steps)])
    assert torch.equal(groups[:, 0], distinct[: len(groups)])
    for step in range(steps):
        at_most = -(-batch_size // repeats) + 1
        assert batch_size // repeats <= len(set(loader._schedule.indices(step).tolist())) <= at_most
    if batch_size % repeats == 0:
        counts = torch.bincount(loader._schedule.indices(1), minlength=12)
        assert set(counts.tolist()) <= {0, repeats}


def test_copies_of_an_image_are_augmented_differently(images):
    batch = Loader(images, 12, seed=0, augment=Augment(("shift",), replace(ERASING, erasing=1.0)), repeats=3).batch(0)
    assert batch.labels.view(-1, 3).unique(dim=1).shape[1] == 1
    for copies in batch.pixels.view(4, 3, -1):
        assert len(copies.unique(dim=0)) == 3
