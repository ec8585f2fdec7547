"""`germline export`: a network as one file that needs neither germline nor timm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Overwrite


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(export)


def export(
    model: Annotated[str, typer.Argument(help="A model folder that germline train or inherit wrote.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, ending in .pt2 or .onnx.")],
    format_: Annotated[str, typer.Option("--format", help="torch.export or onnx.")] = "torch.export",
    overwrite: Overwrite = False,
) -> None:
    """Write a network as one file: pixels in [0, 1] to logits, for any batch."""
    from germline.export import check_export, export
    from germline.network import load_network

    check_export(format_, out, overwrite=overwrite)
    network = load_network(model)
    worst = export(network, out, format_, overwrite=overwrite)
    see = network.preprocess
    looked = "not run, onnxruntime is not installed" if worst is None else f"equal to the network within {worst:.1g}"
    print(
        f"{out}: {out.stat().st_size:,} bytes, pixels [batch, {see.channels}, {see.image_size}, {see.image_size}] "
        f"in [0, 1] to logits [batch, {len(network.classes)}]; {looked}"
    )
