"""`germline inherit`: build a descendant from a learngene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from germline.cli.options import Overwrite, Quiet, Seed, announce

if TYPE_CHECKING:
    from germline.learngene import Descendant


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(inherit)


def inherit(
    gene: Annotated[str, typer.Argument(help="Gene folder or hf-hub:NAME.")],
    out: Annotated[Path, typer.Option("--out", help="Output folder: a plain timm model.")],
    size: Annotated[
        list[str] | None, typer.Option(help="Size of the descendant, such as depth=6; default: the gene's own.")
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(help="Choose the largest size with at most this many parameters, such as 12M.")
    ] = None,
    max_flops: Annotated[
        str | None,
        typer.Option(help="Choose the largest size with at most this many FLOPs per image, such as 2G."),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of new classes.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set that gives class names, channels and image size.")] = None,
    channels: Annotated[int | None, typer.Option(help="Number of image channels: 1 or 3.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Image size in pixels.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Build the spec of this model, such as resnet12_x025; for some methods."),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Build a descendant from a learngene."""
    from germline.architectures import Size
    from germline.architectures.size import CAPS
    from germline.cli.names import check_data_name, check_gene_name, check_model_name
    from germline.errors import SettingError
    from germline.files import check_output_folder
    from germline.paths import list_input_paths

    if classes is not None and data is not None:
        raise SettingError("--classes and --data were both given", "Both set the label space", "Pass only one of them")
    if len(size or ()) > 1:
        raise SettingError(
            f"--size {' --size '.join(size or ())}",
            "A descendant has one size",
            "Pass one --size, such as depth=6,width=96",
        )
    caps = {"max_params": max_params, "max_flops": max_flops}
    requested = Size.parse(
        ",".join(filter(None, [*(size or ()), *(f"{key}={cap}" for key, cap in caps.items() if cap)]))
    )
    check_gene_name(gene)
    if data is not None:
        check_data_name(data)
    if model is not None:
        check_model_name(model)
    check_output_folder(out, overwrite=overwrite, inputs=list_input_paths({"gene": gene, "data": data}))
    announce(f"Growing a descendant of {gene}", quiet=quiet)
    from germline.learngene import Learngene

    loaded = Learngene.load(gene)
    names: int | tuple[str, ...] | None = classes
    if data is not None:
        from germline.data import load_data

        images = load_data(data).train
        names = images.classes
        channels = images.channels if channels is None else channels
        image_size = images.side if image_size is None else image_size
    child = loaded.inherit(requested, names, channels, image_size, seed, model)
    child.save(out, overwrite=overwrite)
    shares = ", ".join(f"{share:.1%} {origin}" for origin, share in child.ledger.shares().items())
    count = sum(parameter.numel() for parameter in child.model.parameters())
    print(f"{out}: {count:,} parameters ({shares})")
    if set(requested) & set(CAPS):
        print(f"chosen under {requested}: {_describe_size(child)}")


def _describe_size(child: Descendant) -> str:
    """Describe the size of a descendant that a cap chose, with its operations."""
    from germline.registry import architecture_of

    spec = child.network.spec
    assert spec is not None  # noqa: S101 - a descendant always has a spec
    keys = ("depth", "depths", "width", "widths", "heads")
    fields = {key: value for key, value in spec.model_dump(mode="json").items() if key in keys}
    flops = architecture_of(spec).flops(spec) / 1e6
    return ", ".join([*(f"{key}={value}" for key, value in fields.items()), f"{flops:,.1f} MFLOP per image"])
