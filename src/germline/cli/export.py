"""`germline export`: write a network to one file that needs neither germline nor timm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Quiet, announce

# Equal to `germline.export.EXPORT_SUFFIXES`, which needs torch.
_FORMATS = {".pt2": "torch.export", ".onnx": "onnx"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(export_command)


def export_command(
    model: Annotated[str, typer.Argument(help="Model folder written by germline train or inherit.")],
    out: Annotated[Path, typer.Option("--out", help="Output file: .pt2 for torch.export, or .onnx.")],
    format_: Annotated[
        str | None, typer.Option("--format", help="torch.export or onnx; default: from the suffix of --out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a network to one file. It maps pixels in [0, 1] to logits, for any batch size."""
    from germline.cli.names import check_network_name, is_gene
    from germline.errors import ArtefactError, SettingError
    from germline.outputs import check_output_file
    from germline.paths import list_input_paths

    if format_ not in (None, *_FORMATS.values()):
        raise SettingError(f"--format {format_}", "There is no such format", f"Use {' or '.join(_FORMATS.values())}")
    if out.suffix not in _FORMATS:
        raise SettingError(
            f"--out {out}", "The suffix names no format", "Use a name that ends in .pt2 (torch.export) or .onnx"
        )
    check_network_name(model)
    if is_gene(model):
        raise ArtefactError(f"'{model}' is a learngene", "Only networks are exported", "Run germline inherit first")
    check_output_file(out, overwrite=overwrite, inputs=list_input_paths(model))
    announce(f"Exporting {model} to {out}", quiet=quiet)
    from germline.export import check_export, export
    from germline.loading import load_network

    kind = format_ or _FORMATS[out.suffix]
    check_export(kind, out, overwrite=overwrite)
    network = load_network(model)
    max_difference = export(network, out, kind, overwrite=overwrite)
    channels, side = network.preprocess.channels, network.preprocess.image_size
    checked = (
        "not checked because onnxruntime is not installed"
        if max_difference is None
        else f"equal to the network within {max_difference:.1g}"
    )
    print(
        f"{out}: {out.stat().st_size:,} bytes, pixels [batch, {channels}, {side}, {side}] "
        f"in [0, 1] to logits [batch, {len(network.classes)}]; {checked}"
    )
