"""`germline export`: write a network to one file that needs neither germline nor timm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Overwrite


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(export_command)


def export_command(
    model: Annotated[str, typer.Argument(help="Model folder written by germline train or inherit.")],
    out: Annotated[Path, typer.Option("--out", help="Output file, ending in .pt2 or .onnx.")],
    format_: Annotated[str, typer.Option("--format", help="torch.export or onnx.")] = "torch.export",
    overwrite: Overwrite = False,
) -> None:
    """Write a network to one file. It maps pixels in [0, 1] to logits, for any batch size."""
    from germline.export import check_export, export
    from germline.loading import load_network

    check_export(format_, out, overwrite=overwrite)
    network = load_network(model)
    max_difference = export(network, out, format_, overwrite=overwrite)
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
