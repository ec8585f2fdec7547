"""Device and precision of a run: TF32 on CUDA, and what a run records of it."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from germline.errors import SettingError
from germline.training import CrossEntropy, Run, TrainSettings, device
from germline.training.device import allow_tf32, make_fabric


@pytest.fixture
def _switches():
    yield
    allow_tf32(is_allowed=False)
    torch.backends.cudnn.allow_tf32 = True


@pytest.fixture
def on_cuda(monkeypatch):
    """Let Fabric be a stub, and return the TF32 switches after `make_fabric` on a device."""
    monkeypatch.setattr(device, "Fabric", lambda **_: SimpleNamespace(launch=lambda: None))

    def switches(accelerator, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make_fabric(accelerator, "32-true", **options)
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    return switches


@pytest.mark.usefixtures("_switches")
def test_tf32_is_on_for_cuda_unless_it_is_switched_off(on_cuda):
    assert on_cuda("cpu") == ("highest", True)  # torch's own
    assert on_cuda("cuda") == ("high", True)
    assert on_cuda("cuda", tf32=False) == ("highest", False)
    assert on_cuda("cuda") == ("high", True)


def test_a_run_on_a_cpu_leaves_torch_alone_and_records_no_tf32():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    facts = Run(device="cpu", quiet=True).facts()
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    assert list(facts) == ["seed", "device", "processes", "precision", "threads", "versions"]


@pytest.mark.parametrize("tf32", [True, False])
def test_a_run_on_cuda_records_tf32(tf32):
    run = Run(device="cpu", quiet=True, tf32=tf32)
    run.fabric = SimpleNamespace(device=torch.device("cuda"), world_size=1)
    assert run.facts()["tf32"] is tf32


def test_a_phase_without_tf32_is_not_resumed_with_it(tmp_path, pico, make_network):
    settings = TrainSettings(steps=1, batch_size=8)

    def open_phase(*, tf32):
        run = Run(tmp_path, device="cpu", quiet=True, tf32=tf32)
        run.fabric = SimpleNamespace(
            device=torch.device("cuda"), world_size=1, is_global_zero=True, barrier=lambda: None
        )
        return run._open("phase", settings, pico.train)

    # A phase of an earlier version has no such entry, and is resumed.
    Run(tmp_path, device="cpu", quiet=True).fit("phase", make_network(), CrossEntropy(), pico.train, settings)
    assert open_phase(tf32=True) == tmp_path / "phase"
    with pytest.raises(SettingError, match="was started with tf32=None, now False"):
        open_phase(tf32=False)
