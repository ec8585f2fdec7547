"""Networks as single files that need neither germline nor timm: torch.export programs and ONNX."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from germline.errors import ArtefactError, SettingError
from germline.files import atomic_file, check_output_file
from germline.network import Network
from germline.randomness import generator

EXPORT_SUFFIXES = {"torch.export": ".pt2", "onnx": ".onnx"}
TOLERANCE = 1e-5
CLASSES_FILE = "classes.json"
_BIGGEST_ONNX = 2**31 - 1
_BATCHES = (1, 3)  # looked at; neither is the one that the program is traced with


class _Whole(nn.Module):
    """A network with its normalisation."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.model, self.preprocess = network.model, network.preprocess

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(self.preprocess(pixels))
        return logits


def check_export(kind: str, file: Path, *, overwrite: bool = False) -> None:
    """Refuse what cannot be exported to, before a network is read.

    Raises:
        SettingError: An unknown format, a name that does not end as the format does, or a package that is missing.
        OutputError: The file is there already or cannot be written.
    """
    if kind not in EXPORT_SUFFIXES:
        raise SettingError(f"--format {kind}", "it is unknown", f"use {' or '.join(EXPORT_SUFFIXES)}")
    if file.suffix != EXPORT_SUFFIXES[kind]:
        raise SettingError(
            f"--out {file}",
            f"the name of an {kind} file ends in {EXPORT_SUFFIXES[kind]}",
            "change the name or the format",
        )
    check_output_file(file, overwrite=overwrite)
    missing = [name for name in ("onnx", "onnxscript") if kind == "onnx" and find_spec(name) is None]
    if missing:
        raise SettingError(
            "--format onnx", f"the package {missing[0]} is not installed", "run pip install 'germline[export]'"
        )


def export(network: Network, file: Path, kind: str, *, overwrite: bool = False) -> float | None:
    """Write a network as one file: pixels [batch, C, H, W] in [0, 1] to logits [batch, classes].

    The batch is free; channels, height and width are the network's own, so that of its preprocessing only the
    normalisation is left, and that is in the file. The class names stand in `classes.json` among torch's extra files,
    or in the ONNX metadata under `classes`. The file is read back and held against the network before it is moved into
    place.

    Args:
        network: What to export; its mode is put back afterwards.
        file: Ends in .pt2 or .onnx.
        kind: "torch.export" or "onnx".
        overwrite: Whether an old file is replaced.

    Returns:
        The largest difference found, as a share of the largest logit, or in itself where that is below 1; None where
        onnxruntime is not installed and an ONNX file could not be run.

    Raises:
        SettingError: The format, name or a package is wrong or missing.
        OutputError: The file cannot be written.
        ArtefactError: The file does not compute what the network does.
    """
    check_export(kind, file, overwrite=overwrite)
    was_training = network.model.training
    whole = _Whole(network).eval()
    try:
        with torch.no_grad(), atomic_file(file) as fresh:
            {"torch.export": _write_program, "onnx": _write_onnx}[kind](whole, network, fresh)
            run = _reader(kind, fresh)
            worst = None if run is None else max(_difference(whole, run, batch) for batch in _BATCHES)
            if worst is not None and not worst <= TOLERANCE:
                raise ArtefactError(
                    f"'{file}' was not written", f"its logits would differ from the network's by {worst:.2g}"
                )
    finally:
        network.model.train(was_training)
    return worst


def _pixels(network: _Whole | Network, batch: int) -> Tensor:
    see = network.preprocess
    return torch.rand(batch, see.channels, see.image_size, see.image_size, generator=generator(batch, "export"))


def _shapes() -> dict[str, dict[int, Any]]:
    return {"pixels": {0: torch.export.Dim("batch")}}


def _write_program(whole: _Whole, network: Network, file: Path) -> None:
    program = torch.export.export(whole, (_pixels(network, 2),), dynamic_shapes=_shapes())
    torch.export.save(program, file, extra_files={CLASSES_FILE: json.dumps(network.classes)})


def _write_onnx(whole: _Whole, network: Network, file: Path) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in whole.state_dict().values())
    if size > _BIGGEST_ONNX:
        raise SettingError(
            "--format onnx", "a single ONNX file holds less than 2 GiB of weights", "use --format torch.export"
        )
    program = torch.onnx.export(
        whole,
        (_pixels(network, 2),),
        dynamo=True,
        verbose=False,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes=_shapes(),
    )
    assert program is not None  # noqa: S101 - with dynamo=True there always is one
    program.model.metadata_props["classes"] = json.dumps(network.classes)
    program.save(str(file), external_data=False)


def _reader(kind: str, file: Path) -> Callable[[Tensor], Tensor] | None:
    """The file as a function from pixels to logits; None where nothing is installed that runs it."""
    if kind == "torch.export":
        return torch.export.load(file).module()
    import onnx

    onnx.checker.check_model(str(file))
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(["logits"], {"pixels": pixels.numpy()})[0])


def _difference(whole: _Whole, run: Callable[[Tensor], Tensor], batch: int) -> float:
    pixels = _pixels(whole, batch)
    wanted, found = whole(pixels), run(pixels)
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1))
