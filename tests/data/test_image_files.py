"""Images above 64 pixels, decoded from files batch by batch."""

import multiprocessing
from multiprocessing import Value

import numpy as np
import pytest
import torch
from PIL import Image

import germline as gl
from germline.data import Augment, ImageFiles, Loader, Policy, file_stream, iterate_batches
from germline.data.file_stream import cut_batch
from germline.errors import DataError
from germline.training import CrossEntropy, Run, TrainSettings


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of eight noisy images of 80 to 95 px, dark and bright."""
    root = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, level in (("dark", 40), ("bright", 200)):
            (root / split / name).mkdir(parents=True)
            for number in range(8):
                size = (80 + number, 95 - number, 3)
                pixels = noise.integers(level - 20, level + 20, size).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def test_load_data_leaves_large_images_in_files(photos):
    train = gl.load_data(f"folder:{photos}").train
    assert isinstance(train, ImageFiles)
    assert (len(train), train.side, train.channels, train.classes) == (16, 224, 3, ("bright", "dark"))
    assert gl.load_data(f"folder:{photos}@48").train.side == 48


def test_iterate_batches_gives_each_centre_crop_once(photos):
    train = gl.load_data(f"folder:{photos}@48").train
    batches = list(iterate_batches(train, 6))
    assert [tuple(batch.pixels.shape) for batch in batches] == [(6, 3, 48, 48), (6, 3, 48, 48), (4, 3, 48, 48)]
    pixels, labels = torch.cat([batch.pixels for batch in batches]), torch.cat([batch.labels for batch in batches])
    assert labels.tolist() == [0] * 8 + [1] * 8
    means = pixels.mean(dim=(1, 2, 3))
    assert torch.allclose(means[:8], torch.full((8,), 200 / 255), atol=0.02)
    assert torch.allclose(means[8:], torch.full((8,), 40 / 255), atol=0.02)


def test_loader_gives_the_same_batch_of_files_in_any_order(photos):
    train = gl.load_data(f"folder:{photos}@32").train
    loader = Loader(train, 4, seed=3, augment=Augment(("shift", "mirror")))
    run = [loader.batch(step) for step in range(3)]
    resumed = Loader(train, 4, seed=3, augment=Augment(("shift", "mirror"))).batch(2)
    assert torch.equal(run[2].pixels, resumed.pixels)
    assert torch.equal(run[2].labels, resumed.labels)
    assert not torch.equal(run[1].pixels, run[2].pixels)


def test_loader_of_files_draws_nothing_from_the_global_generator(photos):
    state = torch.get_rng_state()
    Loader(gl.load_data(f"folder:{photos}@32").train, 4, seed=3, augment=Augment(("mirror",))).batch(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_loader_shares_a_batch_of_files_between_processes(photos):
    train = gl.load_data(f"folder:{photos}@32").train
    options = {"augment": Augment(("shift",)), "mixup": 0.8}
    whole = Loader(train, 4, seed=1, **options).batch(1)
    shares = [Loader(train, 4, seed=1, rank=rank, world=2, **options).batch(1) for rank in (0, 1)]
    assert torch.equal(whole.pixels, torch.cat([share.pixels for share in shares]))
    assert torch.equal(whole.partner_labels, torch.cat([share.partner_labels for share in shares]))


def test_loader_decodes_each_image_of_a_batch_once(photos, monkeypatch):
    decoded, open_image = [], file_stream.open_image
    monkeypatch.setattr(file_stream, "WORKERS", 0)
    monkeypatch.setattr(file_stream, "open_image", lambda path: decoded.append(path) or open_image(path))
    train = gl.load_data(f"folder:{photos}@32").train
    options = {"augment": Augment(("shift",)), "mixup": 0.8, "cutmix": 1.0}
    Loader(train, 8, seed=1, **options).batch(0)
    assert len(decoded) == len(set(decoded)) == 8
    for rank in (0, 1):
        decoded.clear()
        loader = Loader(train, 8, seed=1, rank=rank, world=2, **options)
        loader.batch(0)
        partners = set(loader._schedule.partners(0)[rank * 4 : rank * 4 + 4].tolist())
        others = partners - set(range(rank * 4, rank * 4 + 4))
        assert len(decoded) == len(set(decoded)) == 4 + len(others)
        assert 0 < len(others) < 4


@pytest.mark.parametrize(("batch_size", "repeats", "workers"), [(8, 3, 0), (8, 3, 2), (20, 1, 1)])
def test_loader_decodes_copies_once_with_any_number_of_workers(photos, monkeypatch, batch_size, repeats, workers):
    train, options = gl.load_data(f"folder:{photos}@32").train, {"augment": Augment(("shift",)), "repeats": repeats}
    expected = [Loader(train, batch_size, 1, **options).batch(step) for step in (1, 2)]
    decoded, open_image = Value("i", 0), file_stream.open_image
    monkeypatch.setattr(file_stream, "WORKERS", workers)
    monkeypatch.setattr(file_stream, "CHUNK_IMAGES", 2)

    def count(path):
        with decoded.get_lock():
            decoded.value += 1
        return open_image(path)

    monkeypatch.setattr(file_stream, "open_image", count)
    loader = Loader(train, batch_size, 1, **options)
    for step, batch in enumerate(expected, 1):
        assert torch.equal(loader.batch(step).pixels, batch.pixels)
    if not workers:
        images = [len(set(loader._schedule.indices(step).tolist())) for step in (1, 2)]
        assert decoded.value == sum(images) < 2 * batch_size


def test_cut_batch_puts_each_image_in_one_of_even_parts():
    keys = [(index, 100 + place) for place, index in enumerate([5, 5, 5, 2, 2, 2, 7, 7, 7, 5, 1])]
    assert cut_batch(keys, 3) == [
        [(5, [(0, 100), (1, 101), (2, 102), (9, 109)])],
        [(2, [(3, 103), (4, 104), (5, 105)]), (7, [(6, 106), (7, 107), (8, 108)])],
        [(1, [(10, 110)])],
    ]
    assert cut_batch([(3, 0)], 3) == [[(3, [(0, 0)])], [], []]


@pytest.mark.parametrize(("batch_size", "repeats"), [(8, 1), (10, 4), (20, 1)])
def test_memory_in_flight_keeps_its_bound(photos, monkeypatch, batch_size, repeats):
    image_counts, returned, memories, ahead = [], 0, [], []
    list_tasks, decoder = file_stream._list_tasks, file_stream._Decoder

    def watch_tasks(batches, parts):
        for number, task in enumerate(list_tasks(batches, parts)):
            image_counts.append(sum(len(copies) for _, copies in task.images))
            ahead.append(number // parts - returned)
            assert task.slot == number // parts % (file_stream.AHEAD + 1)
            yield task

    def watch_memory(paths, transform, memory):
        memories.append(memory)
        return decoder(paths, transform, memory)

    monkeypatch.setattr(file_stream, "WORKERS", 2)
    monkeypatch.setattr(file_stream, "CHUNK_IMAGES", 2)
    monkeypatch.setattr(file_stream, "_list_tasks", watch_tasks)
    monkeypatch.setattr(file_stream, "_Decoder", watch_memory)
    loader = Loader(gl.load_data(f"folder:{photos}@32").train, batch_size, seed=1, repeats=repeats)
    for step in range(6):
        loader.batch(step)
        returned = step + 1
        assert sum(image_counts) >= (step + 2) * batch_size
    # No slot is written before its batch was returned.
    assert max(ahead) <= file_stream.AHEAD
    assert [memory.nbytes for memory in memories] == [(file_stream.AHEAD + 1) * batch_size * 3 * 32 * 32]
    assert memories[0].is_shared()


def test_loader_without_shared_memory_decodes_in_its_own_process(photos, monkeypatch, caplog):
    train, options = gl.load_data(f"folder:{photos}@32").train, {"augment": Augment(("shift",)), "mixup": 0.8}
    expected = [Loader(train, 8, 1, **options).batch(step) for step in (0, 1)]

    def refuse(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    loader = Loader(train, 8, 1, **options)
    for step, batch in enumerate(expected):
        assert torch.equal(loader.batch(step).pixels, batch.pixels)
    assert "No space left on device (28)). Use a smaller batch_size" in caplog.text
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_loader_of_files_gives_the_same_batch_on_a_gpu(photos):
    train, policy = gl.load_data(f"folder:{photos}@32").train, Policy(32, (0.5,) * 3, (0.2,) * 3, erasing=0.7)
    options = {"augment": Augment(("shift", "mirror"), policy), "mixup": 0.8, "cutmix": 1.0}
    here, there = Loader(train, 8, 1, **options), Loader(train, 8, 1, device="cuda", **options)
    for step in range(6):
        expected, batch = here.batch(step), there.batch(step)
        assert torch.allclose(batch.pixels.cpu(), expected.pixels, rtol=1e-6, atol=1e-6)
        assert torch.equal(batch.partner_labels.cpu(), expected.partner_labels)
    whole = [
        torch.cat([batch.pixels.cpu() for batch in iterate_batches(train, 6, device)]) for device in ("cpu", "cuda")
    ]
    assert torch.allclose(*whole, rtol=1e-6)


def test_deleted_loader_stops_its_processes(photos):
    before = set(multiprocessing.active_children())
    loader = Loader(gl.load_data(f"folder:{photos}@32").train, 4, seed=1)
    loader.batch(0)
    assert set(multiprocessing.active_children()) - before
    del loader  # no cycle may hold it: torch then waits 5 seconds per process
    assert not set(multiprocessing.active_children()) - before


def test_image_files_draw_per_class_and_fingerprint(photos):
    train = gl.load_data(f"folder:{photos}@32").train
    few = train.draw_per_class(3, torch.Generator().manual_seed(0))
    assert few.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert {path.parent.name for path in few.paths[:3]} == {"bright"}
    assert few.fingerprint() != train.fingerprint() == gl.load_data(f"folder:{photos}@32").train.fingerprint()


def test_run_trains_on_image_files(photos):
    data = gl.load_data(f"folder:{photos}@32")
    settings = TrainSettings(steps=12, batch_size=8, lr=3e-3)
    from germline.api import build_start_network

    network = build_start_network("vit_pico", data, settings, seed=0)
    assert network.preprocess.channels == 3
    result = Run(quiet=True).fit("large", network, CrossEntropy(), data.train, settings, val=data.val)
    assert result.accuracy == 1.0


def test_open_image_names_a_damaged_file(photos, tmp_path):
    bad = tmp_path / "a" / "bad.png"
    bad.parent.mkdir()
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png"):
        _ = ImageFiles(None, (), (bad,), 32).sample()
