"""`germline inherit`: build a descendant from a learngene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from germline.cli.options import Overwrite, Quiet, Seed, announce

if TYPE_CHECKING:
    from germline.architectures import Size
    from germline.learngene import Descendant, Learngene


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
    from germline.outputs import check_output_folder, check_replaceable
    from germline.paths import list_input_paths

    _check_label_space(classes, data)
    requested = _read_size(size or [], max_params, max_flops)
    _check_names(gene, data, model)
    check_replaceable(out)
    check_output_folder(out, overwrite=overwrite, inputs=list_input_paths({"gene": gene, "data": data}))
    announce(f"Growing a descendant of {gene}", quiet=quiet)
    from germline.learngene import Learngene

    loaded = Learngene.load(gene)
    names: int | tuple[str, ...] | None = classes
    if data is not None:
        names, channels, image_size = _read_images(data, channels, image_size)
    child = loaded.inherit(requested, names, channels, image_size, seed, model)
    child.save(out, overwrite=overwrite)
    print(f"{out}: {_describe_origins(child)}")
    if missing := [name for name in child.network.classes if loaded.classes and name not in loaded.classes]:
        print(f"note: the head is fresh, since the gene lacks the class '{missing[0]}'")
    if _has_cap(requested):
        print(f"chosen under {requested}: {_describe_size(child)}")
        images = {"classes": names, "channels": channels, "image_size": image_size, "model": model}
        if note := _describe_limit(loaded, requested, images):
            print(f"note: {note}")


def _check_label_space(classes: int | None, data: str | None) -> None:
    """Refuse classes from two sources."""
    from germline.errors import SettingError

    if classes is not None and data is not None:
        raise SettingError("--classes and --data were both given", "Both set the label space", "Pass only one of them")


def _read_size(sizes: Sequence[str], max_params: str | None, max_flops: str | None) -> Size:
    """Read the one size of a descendant, with its caps."""
    from germline.architectures import Size
    from germline.errors import SettingError

    if len(sizes) > 1:
        raise SettingError(
            f"--size {' --size '.join(sizes)}",
            "A descendant has one size",
            "Pass one --size, such as depth=6,width=96",
        )
    caps = {"max_params": max_params, "max_flops": max_flops}
    given = [f"{key}={cap}" for key, cap in caps.items() if cap is not None]
    return Size.parse(",".join([*filter(None, sizes), *given]))


def _has_cap(size: Size) -> bool:
    """Return whether a size leaves germline a choice under a cap."""
    from germline.architectures.size import CAPS

    return bool(set(size) & set(CAPS))


def _check_names(gene: str, data: str | None, model: str | None) -> None:
    """Refuse unknown names before anything slow is imported."""
    from germline.cli.names import check_data_name, check_gene_name, check_model_name

    check_gene_name(gene)
    if data is not None:
        check_data_name(data)
    if model is not None:
        check_model_name(model)


def _read_images(data: str, channels: int | None, image_size: int | None) -> tuple[tuple[str, ...], int, int]:
    """Read class names, channels and image size of a data set; given channels and image size have priority."""
    from germline.data import load_data

    images = load_data(data).train
    return (
        images.classes,
        images.channels if channels is None else channels,
        images.side if image_size is None else image_size,
    )


def _describe_origins(child: Descendant) -> str:
    """Describe a descendant's number of parameters, and the shares of their origins."""
    shares = ", ".join(f"{share:.1%} {origin}" for origin, share in child.ledger.shares().items())
    count = sum(parameter.numel() for parameter in child.model.parameters())
    return f"{count:,} parameters ({shares})"


def _describe_size(child: Descendant) -> str:
    """Describe the size of a descendant that a cap chose, with its operations."""
    from germline.registry import architecture_of

    spec = child.network.spec
    assert spec is not None  # noqa: S101 - a descendant always has a spec
    keys = ("depth", "depths", "width", "widths", "heads")
    fields = {key: value for key, value in spec.model_dump(mode="json").items() if key in keys}
    flops = architecture_of(spec).flops(spec) / 1e6
    return ", ".join([*(f"{key}={value}" for key, value in fields.items()), f"{flops:,.1f} MFLOP per image"])


def _describe_limit(gene: Learngene, caps: Size, images: Mapping[str, Any]) -> str:
    """Name a larger size that is under the caps but above the largest that they choose; empty if there is none.

    Args:
        gene: Gene that was grown.
        caps: Caps of the descendant.
        images: Arguments of `Learngene.target` besides the size.
    """
    from germline.size_choice import LARGEST_GROWTH, find_size_beyond

    chosen = gene.target(caps, **images).size
    larger = find_size_beyond(gene.spec, chosen, caps, lambda size: gene.target(size, **images).spec)
    if larger is None:
        return ""
    most = f"a cap chooses at most {LARGEST_GROWTH} times the gene's own depth and width"
    return f"{larger} is also under {caps}, but {most}. Pass a larger one as --size."
