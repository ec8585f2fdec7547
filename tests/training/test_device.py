"""Device and precision of a run: TF32 on CUDA, and the run's record of it."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from germline.errors import SettingError
from germline.files import read_json
from germline.training import CrossEntropy, Run, TrainSettings, device
from germline.training.device import allow_tf32, describe_device, make_fabric


@pytest.fixture
def _restore_tf32():
    yield
    allow_tf32(is_allowed=False)
    torch.backends.cudnn.allow_tf32 = True


@pytest.fixture
def read_switches(monkeypatch):
    """Function that returns the TF32 switches after `make_fabric` on a device; Fabric is a stub."""
    monkeypatch.setattr(device, "Fabric", lambda **_: SimpleNamespace(launch=lambda: None))

    def switches(accelerator, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make_fabric(accelerator, "32-true", **options)
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    return switches


@pytest.mark.usefixtures("_restore_tf32")
def test_cuda_uses_tf32_by_default(read_switches):
    assert read_switches("cpu") == ("highest", True)  # torch's defaults
    assert read_switches("cuda") == ("high", True)
    assert read_switches("cuda", tf32=False) == ("highest", False)
    assert read_switches("cuda") == ("high", True)


def test_records_of_comparisons_name_tf32(monkeypatch):
    assert describe_device() == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert describe_device() == "cuda (NVIDIA H100) with TF32"


def test_run_on_a_cpu_changes_no_switch_and_records_no_tf32():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    facts = Run(device="cpu", quiet=True).facts()
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    assert list(facts) == ["seed", "device", "processes", "precision", "threads", "versions"]


@pytest.mark.parametrize("tf32", [True, False])
def test_run_on_cuda_records_tf32(tf32):
    run = Run(device="cpu", quiet=True, tf32=tf32)
    run.fabric = SimpleNamespace(device=torch.device("cuda"), world_size=1)
    assert run.facts()["tf32"] is tf32


def test_phase_on_cuda_is_resumed_with_its_own_options(tmp_path, pico, make_network):
    settings, network = TrainSettings(steps=1, batch_size=8), make_network()

    def open_phase(name, *, tf32):
        run = Run(tmp_path, device="cpu", quiet=True, tf32=tf32)
        run.fabric = SimpleNamespace(
            device=torch.device("cuda"), world_size=1, is_global_zero=True, barrier=lambda: None
        )
        facts = {"objective": CrossEntropy().describe(), "augmentation": [], "val": None}
        return run._open(name, network, settings, pico.train, facts)

    open_phase("new", tf32=False)
    options = {"tf32": False, "fused": True, "channels_last": False}
    assert read_json(tmp_path / "new" / "settings.json")["cuda"] == options
    with pytest.raises(SettingError, match=r"was started with cuda=.*'tf32': False.*, now .*'tf32': True"):
        open_phase("new", tf32=True)
    # A phase of an earlier version or of another device has no such entry, and is resumed.
    Run(tmp_path, device="cpu", quiet=True).fit("old", network, CrossEntropy(), pico.train, settings)
    assert "cuda" not in read_json(tmp_path / "old" / "settings.json")
    assert open_phase("old", tf32=False) == tmp_path / "old"
