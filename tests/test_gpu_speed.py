"""The speed benchmark: its hand-written loops equal ours, and a stopped part keeps its rows."""

import importlib
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest
import torch

from germline.architectures import Preprocess
from germline.data import Images
from germline.network import Network
from germline.registry import architecture_of, model_spec
from germline.training import CrossEntropy, Run, TrainSettings

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
ROW = {"case": "a", "unit": "images/s", "rates": {"ours": 2.0}, "ratio_to": {}, "rounds": 1}


@pytest.fixture(scope="module")
def load():
    """Function that imports a module of the benchmarks."""
    before = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        importlib.import_module("gpu_speed")
        yield importlib.import_module
    finally:
        sys.path[:] = before


def test_hand_written_loop_equals_fit(load):
    plain = load("gpu.plain")
    spec = model_spec("vgg11_x025", image_size=32, channels=1, classes=3)
    torch.manual_seed(0)
    model = architecture_of(spec).build(spec)
    twin = architecture_of(spec).build(spec)
    twin.load_state_dict(model.state_dict())
    images = Images(torch.randint(256, (6, 1, 32, 32), dtype=torch.uint8), torch.arange(6) % 3, ("a", "b", "c"))
    preprocess = Preprocess.from_images(images.images)
    # Every batch is all images, so that the order has no effect.
    settings = TrainSettings(steps=10, batch_size=6, lr=plain.LR, warmup=0.0, min_lr=0.0, augment=False)
    network = Network(model, preprocess, images.classes, spec=spec)
    fit = Run(device="cpu", quiet=True).fit("fit", network, CrossEntropy(), images, settings)

    batches = plain.PlainBatches(images.images, images.labels, 6)
    batches.augment = lambda chosen: chosen.float() / 255
    statistics = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    loop = plain.PlainLoop(twin, statistics, batches.next, device="cpu")
    loop.run(10)
    assert loop.losses[-1] == pytest.approx(fit.losses[-1][1], abs=1e-5)
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_plain_batches_are_shifted_by_whole_pixels_and_mirrored(load):
    batches = load("gpu.plain").PlainBatches(torch.arange(1, 65).view(1, 1, 8, 8).byte(), torch.zeros(1), 1)
    found = {tuple((255 * batches.next()[0]).round().int().flatten().tolist()) for _ in range(200)}
    assert 10 < len(found) <= 18  # nine places, mirrored or not
    assert tuple(range(1, 65)) in found


def test_stacked_members_train_as_single_members(load):
    populations = load("gpu.populations")
    members = populations.make_members(populations.Case("smallest", 2, 8), "cpu")
    stack = populations.PlainStack(members, 8, "cpu")
    alone = [populations.PlainMember([each], 8, "cpu") for each in members]
    for index, member in enumerate(alone):
        member._pixels[0], member._labels[0] = stack._pixels[index], stack._labels[index]
        member.compute()
        member.compute()
    stack.compute()
    stack.compute()
    for name, tensor in stack._parameters.items():
        for index, member in enumerate(alone):
            expected = dict(member._alone.named_parameters())[name]
            torch.testing.assert_close(tensor[index], expected, atol=1e-4, rtol=1e-3)


def test_part_measures_and_records(load, tmp_path, monkeypatch):
    record, steps = load("gpu.record"), load("gpu.steps")
    monkeypatch.setattr(steps, "DRY", steps.DRY[:1])
    recorder = record.Recorder("step", tmp_path / "a.json", tmp_path, is_dry=True, limit_s=1)
    steps.measure_steps(recorder)
    content = json.loads((tmp_path / "a.json").read_text())
    assert [row["case"].split(", ")[-1] for row in content["rows"]] == ["bf16-mixed", "32-true"]
    for row in content["rows"]:
        assert row["rates"].keys() == {"ours", "plain", "timm"}
        assert all(rate > 0 for rate in row["rates"].values())
        assert row["ratio_to"]["plain"]["low"] <= row["ratio_to"]["plain"]["high"]
    assert content["failures"] == []
    assert content["dry"] is True
    assert {"germline", "torch", "timm"} <= content["versions"].keys()


def test_error_is_a_failure_of_one_case(load, tmp_path, capsys):
    recorder = load("gpu.record").Recorder("step", tmp_path / "a.json", tmp_path)
    with recorder.case("first"):
        raise RuntimeError("no memory\nfor it")
    with recorder.case("second"):
        recorder.add(ROW)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["failures"] == [{"case": "first", "reason": "RuntimeError: no memory"}]
    assert content["rows"] == [ROW]


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def never_end(recorder):
    recorder.add({**ROW, "worker": os.fork() or time.sleep(60)})
    time.sleep(60)


def test_stopped_part_keeps_its_rows_and_leaves_no_process(load, tmp_path, monkeypatch):
    speed = load("gpu_speed")
    parts = {
        "slow": speed.Part(never_end, 1.0, 1.0),
        "broken": speed.Part(lambda _: os._exit(3), 5.0, 5.0),
        "good": speed.Part(lambda recorder: recorder.add(ROW), 5.0, 5.0),
    }
    monkeypatch.setattr(speed, "PARTS", parts)
    endings = speed.run_parts(["slow", "broken", "good"], 30.0, tmp_path, device="cpu", is_dry=True)
    assert endings["slow"].startswith("stopped at its limit after 1.")
    assert endings["broken"].startswith("failed with 3")
    assert endings["good"].startswith("finished")
    slow, good = (json.loads((tmp_path / f"gpu-dry-speed-{name}.json").read_text()) for name in ("slow", "good"))
    assert (slow["finished"], good["finished"]) == (False, True)
    assert slow["rows"][0]["case"] == "a"
    deadline = time.monotonic() + 2
    while is_running(slow["rows"][0]["worker"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(slow["rows"][0]["worker"])
    assert speed.run_parts(["good"], 1.0, tmp_path, device="cpu", is_dry=True)["good"].startswith("not started")


def test_part_without_a_process_group_is_stopped(load):
    speed = load("gpu_speed")
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    speed._stop(process)
    process.join(5)
    assert process.exitcode == -9


def test_unknown_part_is_named(load, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_speed.py", "--parts", "steps"])
    with pytest.raises(SystemExit) as stop:
        load("gpu_speed").main()
    assert stop.value.code == 2
    assert "There is no part steps. Parts are step, overhead" in capsys.readouterr().err


def test_steps_of_fit_and_of_other_loops_alternate(load):
    compare, calls = load("compare_loop"), []
    watch = compare.Alternate({"other": lambda: calls.append(1)}, budget_s=0.0)
    for step in range(compare.WARMUP + 1):
        watch.before_step(0, "fit", step)
    with pytest.raises(StopIteration):
        watch.before_step(0, "fit", compare.WARMUP + 1)
    assert len(watch.seconds["ours"]) == len(calls) == compare.WARMUP + 1
    rounds = watch.rounds()
    assert {name: len(spans) for name, spans in rounds.items()} == {"ours": 1, "other": 1}
    assert rounds["ours"][0] > 0
    assert rounds["ours"][0].processor_s >= 0
