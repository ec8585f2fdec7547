"""`germline inspect`: show what a gene or a network is, and what it can grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from germline.cli.options import Quiet, announce

if TYPE_CHECKING:
    from germline.architectures import Spec
    from germline.learngene import Descendant, Learngene


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(inspect)


def inspect(
    gene: Annotated[
        str,
        typer.Argument(
            metavar="GENE_OR_NETWORK",
            help="Gene folder, hf-hub:NAME of a gene, model folder, timm:NAME, or a weight file with --model.",
        ),
    ],
    size: Annotated[list[str] | None, typer.Option(help="Size of a gene to show; can be repeated.")] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes of the descendants; default: those of the gene's network.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Image size of the descendants in pixels; default: the gene's.", min=1)
    ] = None,
    model: Annotated[str | None, typer.Option(help="timm name of the architecture of a weight file.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set of the gene's classes: show the accuracy of each size before any training."),
    ] = None,
    brief: Annotated[
        bool,
        typer.Option("--brief", help="Print only what the files say, in a fraction of a second."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Print what a gene or a network holds, and the sizes and costs of what it can grow."""
    from germline.architectures import Size

    sizes = [str(Size.parse(text)) for text in size or ()]
    if _is_network(gene, model):
        given = {"--size": size, "--classes": classes, "--image-size": image_size, "--data": data}
        _inspect_network(gene, model, given, brief=brief, quiet=quiet)
    else:
        _check_gene_options(gene, classes, data)
        _inspect_gene(gene, sizes, classes, image_size, data, brief=brief, quiet=quiet)


def _is_network(name: str, model: str | None) -> bool:
    """Return whether a name is a network's and not a gene's."""
    from germline.cli.names import is_model

    return is_model(name) or name.startswith("timm:") or Path(name).is_file() or model is not None


def _check_gene_options(gene: str, classes: int | None, data: str | None) -> None:
    """Refuse unknown names, and classes beside the data that measure the gene's own classes."""
    from germline.cli.names import check_data_name, check_gene_name
    from germline.errors import SettingError

    check_gene_name(gene)
    if data is not None:
        check_data_name(data)
    if data is not None and classes is not None:
        raise SettingError(
            "--data and --classes were both given", "A fresh head only guesses", "Remove --classes to measure sizes"
        )


def _inspect_gene(
    gene: str,
    sizes: list[str],
    classes: int | None,
    image_size: int | None,
    data: str | None,
    *,
    brief: bool,
    quiet: bool,
) -> None:
    """Show a gene and the sizes that it grows; what its files say is printed before torch is imported."""
    from germline.cli.artefact_facts import print_facts, read_gene_facts

    facts = None if ":" in gene else read_gene_facts(Path(gene))
    is_default = not sizes and (classes, image_size, data) == (None, None, None)
    # What is asked for may be refused, and a refusal prints nothing else.
    if facts is not None and (is_default or brief):
        print_facts(facts)
        if brief:
            return
    announce(f"Growing sizes of {gene}", quiet=quiet)
    from germline.learngene import Learngene

    loaded = Learngene.load(gene)
    measure = None if data is None or brief else measure_untrained(loaded, data)
    text = "" if brief else _format_sizes(loaded, sizes, classes, image_size, measure)
    if facts is None or not is_default:
        print_facts(describe_gene(loaded))
    print(text)


def _inspect_network(name: str, model: str | None, given: Mapping[str, Any], *, brief: bool, quiet: bool) -> None:
    """Show a network; refuse options that only a gene has."""
    from germline.cli.inspect_network import inspect_network
    from germline.cli.names import check_network_name
    from germline.errors import SettingError

    for option, value in given.items():
        if value is not None:
            raise SettingError(
                f"{option} with a network", "Only a gene grows to sizes", f"Remove {option}, or condense a gene"
            )
    check_network_name(name)
    inspect_network(name, model, brief=brief, quiet=quiet)


def describe_gene(gene: Learngene) -> dict[str, str]:
    """Describe what a gene holds and where it comes from, for people to read."""
    from germline.cli.artefact_facts import describe_manifest

    return describe_manifest(gene.manifest())


def measure_untrained(gene: Learngene, data: str) -> Callable[[Descendant], str]:
    """Return a function that measures a descendant before any training, on validation images of the gene's classes.

    Raises:
        SettingError: The gene has no head, so that descendants only guess.
        DataError: The data have other classes than the gene.
    """
    from germline.cli.network_options import choose_device
    from germline.data import load_data
    from germline.errors import SettingError
    from germline.training.class_scores import match_classes, score_classes

    if gene.classes is None or not gene.bound_method().traits.inherits_head:
        raise SettingError(
            f"--data {data} with a gene without a head",
            "Its descendants have a fresh head, which only guesses",
            "Remove --data, or run germline inherit and germline train first",
        )
    source, device = load_data(data), choose_device("auto")

    def measure(child: Descendant) -> str:
        images, _ = match_classes(child.network, source.val, data)
        return f"{100 * score_classes(child.network, images, device).score.accuracy:.1f} %"

    return measure


def _format_sizes(
    gene: Learngene,
    sizes: list[str],
    classes: int | None,
    image_size: int | None,
    measure: Callable[[Descendant], str] | None,
) -> str:
    """Format the sizes that the gene's record measures; if some are asked for or there is no record, grow them."""
    measured = _recorded_sizes(gene)
    # The recorded sizes have the gene's own head and images, so they do not answer for others.
    if measured is not None and not sizes and (classes, image_size, measure) == (None, None, None):
        return _format_measured(measured)
    if not sizes:
        rows = [] if measured is None else [row[0] for row in measured[1:]]
        sizes = rows or list_sizes(gene, classes, image_size)
    if classes is None and gene.classes is None:  # a gene without a head has no class names, but a number
        classes = gene.spec.classes
    return _format_columns(_sizes_table(gene, sizes, classes, image_size, measure))


def _recorded_sizes(gene: Learngene) -> list[list[str]] | None:
    """Rows of the sizes that the gene's record measures; None if it measures none."""
    from germline.reporting.hook import find_size_table

    return find_size_table(gene.provenance.record, "this gene")


def _format_measured(rows: list[list[str]]) -> str:
    """Format every size in the gene's record with its measured values."""
    from rich.console import Console
    from rich.table import Table

    head, *body = rows
    # Without a frame, the names of paths fit into 80 columns.
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, no_wrap=name == head[0], justify="left" if name in (head[0], head[-1]) else "right")
    for row in body:
        table.add_row(*row)
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")


def list_sizes(gene: Learngene, classes: int | None = None, image_size: int | None = None) -> list[str]:
    """List sizes near the gene's own, in every direction in which it can grow.

    Raises:
        SettingError: It can grow none of them, for example because of the image size.
    """
    from germline.architectures import Size
    from germline.cli.suggested_sizes import suggest_sizes
    from germline.errors import SettingError

    valid: list[str] = []
    specs: list[Spec] = []
    for text in (*suggest_sizes(gene.spec), ""):
        try:
            spec = gene.target(Size.parse(text), classes or gene.spec.classes or 1, None, image_size).spec
        except SettingError:
            if not text and not valid:
                raise
            continue
        if spec not in specs:
            valid.append(text)
            specs.append(spec)
    return sorted(valid, key=bool)


def _sizes_table(
    gene: Learngene,
    sizes: list[str],
    classes: int | None,
    image_size: int | None,
    measure: Callable[[Descendant], str] | None,
) -> list[list[str]]:
    """List what each size has and costs; a cap is replaced by the size that it chooses."""
    from germline.architectures import Size
    from germline.registry import architecture_of

    untrained = [] if measure is None else ["accuracy before training"]
    rows = [["size", "parameters", "MFLOP per image", "bytes of weights", *untrained, "share by origin"]]
    for text in sizes:
        size = gene.target(Size.parse(text), classes, None, image_size).size
        child = gene.inherit(size, classes, None, image_size)
        spec = child.network.spec
        assert spec is not None  # noqa: S101 - a descendant always has a spec
        count = sum(parameter.numel() for parameter in child.model.parameters())
        bytes_ = sum(tensor.numel() * tensor.element_size() for tensor in child.model.state_dict().values())
        shares = ", ".join(f"{share:.1%} {origin}" for origin, share in child.ledger.shares().items())
        flops = architecture_of(spec).flops(spec) / 1e6
        accuracy = [] if measure is None else [measure(child)]
        rows.append([str(size) or "the gene's own", f"{count:,}", f"{flops:,.1f}", f"{bytes_:,}", *accuracy, shares])
    return rows


def _format_columns(rows: list[list[str]]) -> str:
    """Format rows as columns: texts on the left, numbers on the right. No size is cut, so that it can be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *numbers, last in rows:
        cells = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([f"{first:{widths[0]}}", *cells, last]))
    return "\n".join(lines)
