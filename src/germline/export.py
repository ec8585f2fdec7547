"""Export of networks as single files that need neither germline nor timm: torch.export programs and ONNX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from germline.errors import ArtefactError, OutputError, SettingError
from germline.files import atomic_file
from germline.network import Network
from germline.outputs import check_output_file
from germline.randomness import generator
from germline.scoring import evaluation_mode

EXPORT_SUFFIXES = {"torch.export": ".pt2", "onnx": ".onnx"}
TOLERANCE = 1e-5
CLASSES_FILE = "classes.json"
_BIGGEST_ONNX = 2**31 - 1
_SPARE = 2**21  # bytes of a file besides its weights
_BATCHES = (1, 3)  # sizes for the comparison; the program is traced with a batch of 2


class _NormalisedNetwork(nn.Module):
    """A network together with its normalisation."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.model, self.preprocess = network.model, network.preprocess

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(self.preprocess(pixels))
        return logits


def check_export(kind: str, file: Path, *, overwrite: bool = False) -> None:
    """Refuse an export that cannot be written, before the network is loaded.

    Raises:
        SettingError: The format is unknown, the file has another suffix, or a package is missing.
        OutputError: The file exists already or cannot be written.
    """
    if kind not in EXPORT_SUFFIXES:
        raise SettingError(f"--format {kind}", "there is no such format", f"use {' or '.join(EXPORT_SUFFIXES)}")
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
    """Write a network as one file that maps pixels [batch, C, H, W] in [0, 1] to logits [batch, classes].

    The batch size is free. Channels, height and width are fixed to the network's own, so normalisation is the only
    preprocessing in the file. The class names are in `classes.json` among torch's extra files, or in the ONNX metadata
    under `classes`. The file is loaded and compared with the network before it is moved to its place.

    Args:
        network: Network to export; the mode of each of its parts is restored afterwards.
        file: File to write, with the suffix .pt2 or .onnx.
        kind: Format, "torch.export" or "onnx".
        overwrite: Whether to replace an existing file.

    Returns:
        The largest difference between the logits, divided by the largest logit if that is above 1. None if an ONNX
        file cannot be run because onnxruntime is not installed.

    Raises:
        SettingError: The format or the suffix is wrong, or a package is missing.
        OutputError: The file cannot be written.
        ArtefactError: The file computes other logits than the network.
    """
    check_export(kind, file, overwrite=overwrite)
    _check_space(network, file)
    with evaluation_mode(network.model), torch.no_grad(), atomic_file(file) as fresh:
        whole = _NormalisedNetwork(network).eval()
        {"torch.export": _write_program, "onnx": _write_onnx}[kind](whole, network, fresh)
        run = _load_runner(kind, fresh)
        worst = None if run is None else max(_difference(whole, run, batch) for batch in _BATCHES)
        if worst is not None and not worst <= TOLERANCE:
            raise ArtefactError(
                f"'{file}' was not written",
                f"its logits would differ from the network's by {worst:.2g}",
                f"use --format {next(other for other in EXPORT_SUFFIXES if other != kind)}",
            )
    return worst


def _check_space(network: Network, file: Path) -> None:
    """Refuse a full disk: torch ends the process if it fails while it writes a program."""
    needed = sum(tensor.numel() * tensor.element_size() for tensor in network.model.state_dict().values()) + _SPARE
    folder = next(path for path in file.absolute().parents if path.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"cannot write '{file}'",
            f"the disk has {free:,} bytes left, and the file takes about {needed:,}",
            "choose another folder, or free some space",
        )


def _make_pixels(network: _NormalisedNetwork | Network, batch: int) -> Tensor:
    shape = (network.preprocess.channels, network.preprocess.image_size, network.preprocess.image_size)
    return torch.rand(batch, *shape, generator=generator(batch, "export"))


def _dynamic_shapes() -> dict[str, dict[int, Any]]:
    return {"pixels": {0: torch.export.Dim("batch")}}


# The traces of calls in both formats name files of this machine, so they are not written.
def _write_program(whole: _NormalisedNetwork, network: Network, file: Path) -> None:
    program = torch.export.export(whole, (_make_pixels(network, 2),), dynamic_shapes=_dynamic_shapes())
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    torch.export.save(program, file, extra_files={CLASSES_FILE: json.dumps(network.classes)})


def _write_onnx(whole: _NormalisedNetwork, network: Network, file: Path) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in whole.state_dict().values())
    if size > _BIGGEST_ONNX:
        raise SettingError(
            "--format onnx", "a single ONNX file holds less than 2 GiB of weights", "use --format torch.export"
        )
    program = torch.onnx.export(
        whole,
        (_make_pixels(network, 2),),
        dynamo=True,
        verbose=False,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes=_dynamic_shapes(),
    )
    assert program is not None  # noqa: S101 - dynamo=True always returns one
    for node in (*program.model.graph, *(node for function in program.model.functions.values() for node in function)):
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    program.model.metadata_props["classes"] = json.dumps(network.classes)
    program.save(str(file), external_data=False)


def _load_runner(kind: str, file: Path) -> Callable[[Tensor], Tensor] | None:
    """Load the file as a function from pixels to logits; None if no installed package can run it."""
    if kind == "torch.export":
        return torch.export.load(file).module()
    import onnx

    onnx.checker.check_model(str(file))
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(["logits"], {"pixels": pixels.numpy()})[0])


def _difference(whole: _NormalisedNetwork, run: Callable[[Tensor], Tensor], batch: int) -> float:
    pixels = _make_pixels(whole, batch)
    expected, computed = whole(pixels), run(pixels)
    return float((computed - expected).abs().max() / expected.abs().max().clamp_min(1))
