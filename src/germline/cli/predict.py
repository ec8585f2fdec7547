"""`germline predict`: name the classes of images."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from germline.cli.network_options import (
    ImageSize,
    Mean,
    Model,
    Std,
    check_network_inputs,
    choose_device,
    load_checked,
)
from germline.cli.options import Device, Quiet, announce

if TYPE_CHECKING:
    from torch import Tensor

    from germline.network import Network

BATCH = 64
LARGEST_WHOLE = 64  # side in pixels of the largest square image that is not cropped
SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".avif"),
}
MOST_NAMED = 5  # files that a message names


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("predict")(predict_command)


def predict_command(
    network: Annotated[
        str, typer.Argument(help="Model folder, timm:NAME, hf-hub:NAME, or a weight file with --model.")
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of image files.")],
    top: Annotated[int, typer.Option("--top", help="Number of classes per image.", min=1)] = 1,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file to write; default: print it.")] = None,
    model: Model = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Name damaged images and go on without them.")
    ] = False,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the CSV file if it exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Print each image's most probable classes with their probabilities, as CSV."""
    from germline.cli.names import is_gene
    from germline.errors import ArtefactError
    from germline.files import write_text
    from germline.outputs import check_output_file
    from germline.paths import list_input_paths

    given = check_network_inputs(network, None, (model, image_size, mean, std))
    if is_gene(network):
        raise ArtefactError(
            f"'{network}' is a learngene", "A gene names no classes before it is grown", "Run germline inherit first"
        )
    if out is not None:
        check_output_file(out, overwrite=overwrite, inputs=list_input_paths([network, *images]))
    paths = find_images(images, quiet=quiet)
    announce(f"Predicting {len(paths)} images with {network}", quiet=quiet)
    chosen = choose_device(device)
    loaded = load_checked(network, given)
    for note in () if quiet else loaded.notes:
        print(f"note: {note}", file=sys.stderr)
    paths = _check_images(paths, skip=skip_damaged)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    count = min(top, len(loaded.classes))
    numbers = ["", *map(str, range(2, count + 1))]
    writer.writerow(["image", *(f"{name}{number}" for number in numbers for name in ("label", "probability"))])
    for path, row in zip(paths, _predict(loaded, paths, count, chosen, quiet=quiet), strict=True):
        writer.writerow([path, *row])
    if out is None:
        print(text.getvalue(), end="")
    else:
        write_text(out, text.getvalue(), errors="surrogateescape")
        print(f"{out}: {len(paths)} images, {len(loaded.classes)} classes")


def find_images(places: list[Path], *, quiet: bool = False) -> list[Path]:
    """List image files, and those inside folders in the order of their names.

    Raises:
        DataError: A place does not exist, is no image file, or is a folder without images.
    """
    from germline.errors import DataError

    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            files = [
                Path(folder, name) for folder, _, names in os.walk(place) for name in names if not name.startswith(".")
            ]
            found = sorted(path for path in files if _is_image(path))
            skipped = sorted(path.name for path in files if not _is_image(path))
            if not found:
                raise DataError(f"no images in {place}", "No file has the suffix of an image", "Choose another folder")
            if skipped and not quiet:
                print(f"skipped: {len(skipped)} files that are no images, such as {skipped[0]}", file=sys.stderr)
            paths += found
        elif place.is_file():
            paths.append(place)
        else:
            raise DataError(f"no image at '{place}'", "There is no such file or folder", "Choose another path")
    return paths


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _check_images(paths: list[Path], *, skip: bool) -> list[Path]:
    """Decode every image once, and refuse or drop those that are damaged."""
    from germline.data.image_files import open_image
    from germline.errors import DataError

    sound, damaged = [], []
    for path in paths:
        try:
            open_image(path)
            sound.append(path)
        except DataError as error:
            damaged.append((path, error))
    if damaged and (not skip or not sound):
        if len(damaged) == 1:
            raise damaged[0][1]
        names = ", ".join(str(path) for path, _ in damaged[:MOST_NAMED])
        more = f" and {len(damaged) - MOST_NAMED} more" if len(damaged) > MOST_NAMED else ""
        fix = "Remove them" if skip else "Remove them, or pass --skip-damaged"
        raise DataError(f"{len(damaged)} files cannot be read as images", f"They are {names}{more}", fix)
    for path, _ in damaged:
        print(f"skipped: {path} cannot be read as an image", file=sys.stderr)
    return sound


def _predict(
    network: Network, paths: list[Path], count: int, device: str, *, quiet: bool
) -> Iterator[list[str | float]]:
    """Yield, for each image, its most probable labels, each followed by its probability."""
    import torch

    from germline.cli.evaluate import print_progress

    report = print_progress("predicted", quiet=quiet)
    network.model.eval().to(device)
    for start in range(0, len(paths), BATCH):
        pixels = [_read_pixels(path, network.preprocess.image_size) for path in paths[start : start + BATCH]]
        with torch.inference_mode():
            logits = network.logits(torch.stack(pixels).to(device))
        probabilities, places = logits.float().softmax(dim=1).topk(count, dim=1)
        for values, labels in zip(probabilities.tolist(), places.tolist(), strict=True):
            pairs = zip(labels, values, strict=True)
            yield [item for label, value in pairs for item in (network.classes[label], round(value, 6))]
        report(start + len(pixels), len(paths))


def _read_pixels(path: Path, side: int) -> Tensor:
    """Return pixels [3, side, side] in [0, 1] as an evaluation sees them.

    A small square image is resized whole. Of others the centre is taken, as of image folders with large images.
    """
    import numpy as np
    import torch

    from germline.architectures import Preprocess
    from germline.data.file_stream import decode_image
    from germline.data.image_files import open_image

    image = open_image(path)
    if image.width != image.height or image.width > LARGEST_WHOLE:
        return decode_image(path, side)
    pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).float().div_(255)
    neutral = Preprocess(channels=3, image_size=side, mean=(0.0,) * 3, std=(1.0,) * 3)
    return neutral(pixels[None])[0]
