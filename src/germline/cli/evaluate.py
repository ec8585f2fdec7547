"""`germline evaluate`: measure a network, or one size of a gene, on labelled images."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from germline.cli.network_options import ImageSize, Mean, Model, Std, check_network_inputs, choose_device, load_checked
from germline.cli.options import Device, Quiet, Seed, announce

if TYPE_CHECKING:
    from germline.architectures import Size
    from germline.data import AnyImages, Split
    from germline.network import Network
    from germline.training.class_scores import ClassScores

SPLITS: tuple[Split, ...] = ("val", "test", "train")
LARGEST_MATRIX = 12  # classes whose confusion matrix is printed whole
MOST_CONFUSIONS = 10
_SECONDS = 5.0


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("evaluate")(evaluate_command)


def evaluate_command(
    network: Annotated[
        str, typer.Argument(help="Model folder, gene folder, timm:NAME, hf-hub:NAME, or a weight file with --model.")
    ],
    data: Annotated[str, typer.Option(help="Data set with labels, such as glyphs/base or folder:/photos.")],
    size: Annotated[
        str | None, typer.Option(help="Size at which a gene is grown, such as depth=6; default: the gene's own.")
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the data: val, test or train.")] = "val",
    model: Model = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="File for all numbers, the confusion matrix included.")
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the JSON file if it exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure accuracy, loss, accuracy per class and confusions of a network, or of a gene's descendant."""
    from germline.architectures import Size
    from germline.cli.names import is_gene
    from germline.files import write_json
    from germline.outputs import check_output_file
    from germline.paths import list_input_paths
    from germline.sharing import hide_all, name_argument

    part, wanted = _read_split(split), Size.parse(size or "")
    given = check_network_inputs(network, data, (model, image_size, mean, std))
    _check_kind(network, size, given)
    if json is not None:
        inputs = list_input_paths({"path": network, "data": data})
        check_output_file(json, overwrite=overwrite, inputs=inputs)
    announce(f"Evaluating {network} on {data}", quiet=quiet)
    from germline.data import load_data
    from germline.training.class_scores import match_classes, score_classes

    chosen, source = choose_device(device), load_data(data)
    if is_gene(network) or size is not None:
        subject, note = _grow(network, wanted, lambda: source.split(part), seed)
    else:
        # The network is looked at on the images that are evaluated, so that no other part has to exist.
        seen = replace(source, read=lambda wanted: source.split("val" if wanted == "val" else part), _cache={})
        subject, note = load_checked(network, given, seen), ""
    images, assumed = match_classes(subject, source.split(part), data)
    scores = score_classes(subject, images, chosen, print_progress("evaluated", quiet=quiet))
    notes = list(filter(None, (*subject.notes, note, assumed, _describe_conversion(subject, images))))
    print(f"{network}{f' at {wanted}' if wanted else ''} on {data}, {split}: {len(images)} images")
    for line in notes:
        print(f"note: {line}")
    _print_scores(scores)
    if json is not None:
        about = {"network": name_argument(network), "size": str(wanted), "data": data, "split": split, "notes": notes}
        write_json(json, {**hide_all(about), **scores.to_json()})
        print(f"numbers: {json}")


def _check_kind(network: str, size: str | None, given: Mapping[str, Any]) -> None:
    """Refuse a size of a network, and options of weight files beside a gene."""
    from germline.cli.names import is_gene, is_model
    from germline.errors import SettingError

    if size is not None and (is_model(network) or Path(network).is_file() or network.startswith("timm:")):
        raise SettingError(f"--size {size} with a network", "Only a gene grows to sizes", "Remove --size")
    if given and (is_gene(network) or size is not None):
        option = f"--{next(iter(given)).replace('_', '-')}"
        raise SettingError(f"{option} with a gene", "It describes a file of weights", f"Remove {option}")


def _read_split(split: str) -> Split:
    from germline.errors import SettingError

    part = next((known for known in SPLITS if known == split), None)
    if part is None:
        raise SettingError(f"--split {split}", "Data have no such part", f"Use {', '.join(SPLITS[:2])} or {SPLITS[2]}")
    return part


def _grow(place: str, size: Size, read: Callable[[], AnyImages], seed: int) -> tuple[Network, str]:
    """Grow a gene at a size, and say whether its head is fresh.

    A gene without a head gets one for the classes of the data.
    """
    from germline.learngene import Learngene
    from germline.registry import architecture_of

    gene = Learngene.load(place)
    classes = gene.classes
    gene.target(size, classes or gene.spec.classes or 1)  # refuses a size before the data are read
    if classes is None:
        classes = read().classes
    child = gene.inherit(size, classes, seed=seed)
    assert child.network.spec is not None  # noqa: S101 - a descendant always has a spec
    head = architecture_of(child.network.spec).parts(child.network.spec).head
    if not any(child.ledger.entries[name]["fresh"] for name in head):
        return child.network, ""
    return child.network, "The head is fresh and untrained, so the network guesses. Train the descendant first."


def _describe_conversion(network: Network, images: AnyImages) -> str:
    """Say how the images are converted to what the network reads; empty if they are not."""
    own, wanted = (images.channels, images.side), (network.preprocess.channels, network.preprocess.image_size)
    if own == wanted:
        return ""
    return f"Images of {own[0]} x {own[1]} x {own[1]} are converted to {wanted[0]} x {wanted[1]} x {wanted[1]}."


def print_progress(verb: str, *, quiet: bool) -> Callable[[int, int], None]:
    """Return a function that prints how many images are done, every few seconds."""
    printed = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal printed
        if not quiet and time.monotonic() - printed >= _SECONDS and done < total:
            printed = time.monotonic()
            print(f"{verb} {done:,} of {total:,} images", file=sys.stderr, flush=True)

    return report


def _print_scores(scores: ClassScores) -> None:
    print(f"accuracy {scores.score.accuracy:.4f}, loss {scores.score.loss:.4f}\n")
    counts = scores.confusion.sum(dim=1).tolist()
    width = max(len("class"), *(len(name) for name in scores.classes))
    print(f"{'class':{width}} {'images':>7} accuracy")
    for name, count, accuracy in zip(scores.classes, counts, scores.accuracies(), strict=True):
        print(f"{name:{width}} {count:>7} {'no images' if accuracy is None else f'{accuracy:.4f}'}")
    if len(scores.classes) <= LARGEST_MATRIX:
        print("\nconfusion matrix: a row for each class, a column for each prediction in the same order")
        digits = len(str(max(map(max, scores.confusion.tolist()))))
        for name, row in zip(scores.classes, scores.confusion.tolist(), strict=True):
            print(f"{name:{width}} {' '.join(f'{count:>{digits}}' for count in row)}")
    elif confusions := scores.confusions(MOST_CONFUSIONS):
        print("\nmost frequent confusions; --json saves the whole matrix")
        for true, guess, count in confusions:
            print(f"{true} taken for {guess}: {count}")
