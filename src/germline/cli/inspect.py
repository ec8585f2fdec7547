"""`germline inspect`: show what a gene holds and what it can grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from germline.learngene import Learngene


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(inspect)


def inspect(
    gene: Annotated[str, typer.Argument(help="Gene folder or hf-hub:NAME.")],
    size: Annotated[list[str] | None, typer.Option(help="Size to show; can be repeated.")] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes of the descendants; default: those of the gene's network.")
    ] = None,
) -> None:
    """Print what a gene holds, and the size and cost of what it can grow."""
    from rich.console import Console
    from rich.table import Table

    from germline.learngene import Learngene

    loaded = Learngene.load(gene)
    measured = _recorded_sizes(loaded)
    # The recorded sizes have the gene's own head, so they do not answer for other classes.
    if measured is not None and not size and classes is None:
        sizes = _measured_table(measured)
    else:
        requested = size or (_default_sizes(loaded) if measured is None else [row[0] for row in measured[1:]])
        if classes is None and loaded.classes is None:  # a gene without a head has no class names, but a number
            classes = loaded.spec.classes
        sizes = _sizes_table(loaded, requested, classes)
    console = Console()
    table = Table(show_header=False, box=None)
    for name, value in facts(loaded).items():
        table.add_row(name, value)
    console.print(table)
    console.print(sizes)


def facts(gene: Learngene) -> dict[str, str]:
    """What a gene holds and where it comes from, for people to read."""
    origin = gene.provenance
    return {
        "method": gene.method,
        "anatomy": gene.architecture,
        "ancestor": f"{origin.ancestor} (licence: {origin.ancestor_licence})",
        "condensed on": f"{origin.data} (licence: {origin.data_licence})",
        "grows": gene.describe_sizes(),
        "head": "none" if gene.classes is None else f"{len(gene.classes)} classes: {', '.join(gene.classes[:6])} ...",
        "images": f"{gene.preprocess.channels} x {gene.preprocess.image_size} x {gene.preprocess.image_size}",
        "holds": f"{len(gene.tensors)} tensors, {sum(t.numel() for t in gene.tensors.values()):,} elements, "
        f"{gene.count_bytes():,} bytes",
        **{name: f"{value:.4f}" for name, value in origin.metrics.items()},
    }


def _recorded_sizes(gene: Learngene) -> list[list[str]] | None:
    """Rows of the sizes that the gene's record measures; None if it measures none."""
    from germline.reporting.hook import find_size_table

    return find_size_table(gene.provenance.record, "this gene")


def _measured_table(rows: list[list[str]]) -> Table:
    """Every size in the gene's record with its measured values."""
    from rich.table import Table

    head, *body = rows
    # Without a frame, the names of paths fit into 80 columns.
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, no_wrap=name == head[0], justify="left" if name in (head[0], head[-1]) else "right")
    for row in body:
        table.add_row(*row)
    return table


def _default_sizes(gene: Learngene) -> list[str]:
    """Depths near the gene's own that it can grow; its own size where a single depth does not exist."""
    depth = gene.spec.model_dump().get("depth")
    if depth is None:
        return [""]
    depths = sorted({depth // 2 or 1, depth, depth * 3 // 2, depth * 2})
    return [size for size in (f"depth={depth}" for depth in depths) if _can_grow(gene, size)]


def _can_grow(gene: Learngene, size: str) -> bool:
    from germline.architectures import Size
    from germline.errors import SettingError

    try:
        gene.target(Size.parse(size), gene.spec.classes)
    except SettingError:
        return False
    return True


def _sizes_table(gene: Learngene, sizes: list[str], classes: int | None) -> Table:
    from rich.table import Table

    from germline.architectures import Size
    from germline.registry import architecture_of

    table = Table("size", "parameters", "MFLOP per image", "bytes", "share by origin")
    for text in sizes:
        child = gene.inherit(Size.parse(text), classes)
        spec = child.network.spec
        assert spec is not None  # noqa: S101 - a descendant always has a spec
        count = sum(parameter.numel() for parameter in child.model.parameters())
        bytes_ = sum(tensor.numel() * tensor.element_size() for tensor in child.model.state_dict().values())
        shares = ", ".join(f"{share:.1%} {origin}" for origin, share in child.ledger.shares().items())
        flops = architecture_of(spec).flops(spec) / 1e6
        table.add_row(text or "the gene's own", f"{count:,}", f"{flops:,.1f}", f"{bytes_:,}", shares)
    return table
