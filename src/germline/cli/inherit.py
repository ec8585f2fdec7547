"""`germline inherit`: from a learngene to a descendant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Overwrite, Seed


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(inherit)


def inherit(
    gene: Annotated[str, typer.Argument(help="A gene folder or hf-hub:NAME.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write: a plain timm model.")],
    size: Annotated[str, typer.Option(help="For example depth=6; empty is the gene's own.")] = "",
    max_params: Annotated[
        str | None, typer.Option(help="The best size of at most so many parameters, such as 12M; for pools.")
    ] = None,
    max_flops: Annotated[
        str | None, typer.Option(help="Likewise for operations of one picture's forward pass, such as 2G.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of new classes.")] = None,
    data: Annotated[str | None, typer.Option(help="Take class names, channels and size from a data set.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 or 3.")] = None,
    image_size: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Start from a model's form, such as resnet12_x025; for methods that can.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Grow a descendant from a learngene."""
    from germline.architectures import Size
    from germline.errors import SettingError
    from germline.files import check_output_folder
    from germline.learngene import Learngene

    if classes is not None and data is not None:
        raise SettingError("--classes and --data together", "both name the label space", "give one of them")
    caps = {"max_params": max_params, "max_flops": max_flops}
    wanted = Size.parse(",".join(filter(None, [size, *(f"{key}={cap}" for key, cap in caps.items() if cap)])))
    check_output_folder(out, overwrite=overwrite)
    loaded = Learngene.load(gene)
    names: int | tuple[str, ...] | None = classes
    if data is not None:
        from germline.data import data as find_data

        pictures = find_data(data).train
        names = pictures.classes
        channels = pictures.channels if channels is None else channels
        image_size = pictures.side if image_size is None else image_size
    child = loaded.inherit(wanted, names, channels, image_size, seed, model)
    child.save(out, overwrite=overwrite)
    shares = ", ".join(f"{share:.1%} {origin}" for origin, share in child.ledger.shares().items())
    count = sum(parameter.numel() for parameter in child.model.parameters())
    print(f"{out}: {count:,} parameters ({shares})")
