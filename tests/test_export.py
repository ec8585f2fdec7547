"""Exported files compute the network's outputs, and are written completely or not at all."""

import importlib.util
import json
import zipfile
from pathlib import Path

import onnxruntime
import pytest
import timm
import torch

import germline.export as export_module
from germline.errors import ArtefactError, OutputError, SettingError
from germline.export import CLASSES_FILE, EXPORT_SUFFIXES, check_export, export
from germline.registry import ARCHITECTURES


def read_program(file):
    return torch.export.load(file).module()


def read_onnx(file):
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session, lambda pixels: torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])


def contain_package_path(*contents):
    """Whether files contain the path of an installed package, or of this checkout."""
    places = [str(Path(module.__file__).parent).encode() for module in (export_module, torch, timm)]
    return any(place in content for content in contents for place in places)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exported_program_equals_the_network_for_any_batch(architecture, ancestors, pixels, tmp_path):
    network, file = ancestors[architecture], tmp_path / "net.pt2"
    assert export(network, file, "torch.export") <= 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]
    run = read_program(file)
    with torch.no_grad():
        for batch in (1, 2, 8):
            assert torch.allclose(run(pixels[:batch]), network.logits(pixels[:batch]), atol=1e-5)
    with zipfile.ZipFile(file) as opened:
        assert not contain_package_path(*map(opened.read, opened.namelist()))
    extra = {CLASSES_FILE: ""}
    torch.export.load(file, extra_files=extra)
    assert tuple(json.loads(extra[CLASSES_FILE])) == network.classes


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_onnx_equals_the_network_for_any_batch(architecture, ancestors, pixels, tmp_path):
    network, file = ancestors[architecture], tmp_path / "net.onnx"
    assert export(network, file, "onnx") <= 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert not contain_package_path(file.read_bytes())
    session, run = read_onnx(file)
    assert (session.get_inputs()[0].name, session.get_inputs()[0].shape) == ("pixels", ["batch", 1, 32, 32])
    assert (session.get_outputs()[0].name, session.get_outputs()[0].shape) == ("logits", ["batch", 10])
    with torch.no_grad():
        for batch in (1, 2, 8):
            assert torch.allclose(run(pixels[:batch]), network.logits(pixels[:batch]), atol=1e-5)
    assert tuple(json.loads(session.get_modelmeta().custom_metadata_map["classes"])) == network.classes


def test_export_includes_normalisation_and_restores_the_mode(ancestors, pixels, tmp_path):
    network = ancestors["vgg"]
    network.model.train()
    frozen = next(part for part in network.model.modules() if isinstance(part, torch.nn.BatchNorm2d)).eval()
    export(network, tmp_path / "net.pt2", "torch.export")
    assert network.model.training
    assert not frozen.training
    network.model.eval()
    run = read_program(tmp_path / "net.pt2")
    with torch.no_grad():
        assert torch.allclose(run(pixels), network.model(network.preprocess(pixels)), atol=1e-5)
        assert not torch.allclose(run(pixels), network.model(pixels), atol=1e-5)


def test_file_with_other_outputs_is_not_written(ancestors, tmp_path, monkeypatch):
    file = tmp_path / "net.pt2"
    file.write_text("old")
    monkeypatch.setattr(export_module, "_load_runner", lambda kind, file: lambda pixels: torch.zeros(len(pixels), 10))
    with pytest.raises(ArtefactError, match=r"'.*net.pt2' was not written. Its logits would differ"):
        export(ancestors["vgg"], file, "torch.export", overwrite=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("net.pt2", "old")]
    monkeypatch.setattr(
        export_module, "_load_runner", lambda kind, file: lambda pixels: torch.full((len(pixels), 10), torch.nan)
    )
    with pytest.raises(ArtefactError, match="nan"):
        export(ancestors["vgg"], file, "torch.export", overwrite=True)


def test_existing_file_needs_overwrite(ancestors, tmp_path):
    file = tmp_path / "net.pt2"
    file.write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        export(ancestors["vgg"], file, "torch.export")
    assert file.read_text() == "old"
    export(ancestors["vgg"], file, "torch.export", overwrite=True)
    assert read_program(file) is not None


def test_unknown_formats_and_wrong_paths_are_refused(tmp_path):
    with pytest.raises(SettingError, match=r"--format onxx. There is no such format. Use torch.export or onnx"):
        check_export("onxx", tmp_path / "net.onnx")
    for kind, suffix in EXPORT_SUFFIXES.items():
        with pytest.raises(SettingError, match=f"The name of an {kind} file ends in {suffix}"):
            check_export(kind, tmp_path / "net")
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_export("onnx", tmp_path / "net.onnx", overwrite=True)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_missing_package_is_named(tmp_path, monkeypatch, package):
    real = importlib.util.find_spec
    monkeypatch.setattr(export_module, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(SettingError, match=rf"{package} is not installed. Run pip install 'germline\[export\]'"):
        check_export("onnx", tmp_path / "net.onnx")
    check_export("torch.export", tmp_path / "net.pt2")


def test_without_onnxruntime_the_file_is_checked_but_not_run(ancestors, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(export_module, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    assert export(ancestors["vgg"], tmp_path / "net.onnx", "onnx") is None
    assert (tmp_path / "net.onnx").stat().st_size > 10_000


def test_network_too_large_for_onnx_is_refused(ancestors, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "_BIGGEST_ONNX", 100)
    with pytest.raises(SettingError, match=r"Use --format torch.export"):
        export(ancestors["vgg"], tmp_path / "net.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []
