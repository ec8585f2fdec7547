"""Items of a map-style data set as images and labels, whatever their form."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from germline.arguments import name_type
from germline.data.pixels import PixelReader, warn_once
from germline.data.policy import protect_random_state
from germline.errors import DataError, GermlineError

_IMAGE_KEYS = ("image", "img", "pixel_values", "pixels")
_LABEL_KEYS = ("label", "labels", "fine_label", "target", "targets", "class", "cls")
_CHANNELS = (1, 3)
LONGEST_REASON = 200
_AGAIN = 8  # items that are read twice


def read_items(items: Any, source: str) -> tuple[Tensor, list[Any] | None, str | None]:
    """Read every item of a map-style data set once.

    Args:
        items: Data set with a length, indexed from 0.
        source: Name of the images for messages.

    Returns:
        Images [N, C, H, W] as bytes, labels as given, and the key of the label. Labels are None if no item has one. The
        key is None if items are not dictionaries.

    Raises:
        DataError: An item cannot be read or is of a form that has no one meaning.
    """
    kind = type(items).__name__
    if isinstance(items, Mapping) or not (isinstance(items, Sized) and hasattr(items, "__getitem__")):
        parts = f" with the keys {_keys(items)}" if isinstance(items, Mapping) else ""
        raise DataError(
            f"A data set cannot be {name_type(items)}{parts}",
            "It has no length, or is not indexed from 0",
            "Pass a map-style Dataset, a DataLoader of one, or a pair of tensors",
        )
    reader, images, labels, key = PixelReader(source), [], [], None
    for index in range(_length(items, kind)):
        where = f"Item {index} of {source}"
        image, label, key = split_item(_get(items, index, where), where)
        images.append(to_bytes(image, reader, where))
        labels.append(label)
    if not images:
        raise DataError(f"The {kind} of {source} is empty", "There is no image in it", "Use a data set with images")
    reader.check_range()
    if _is_random(items, images, source):
        warn_once(
            f"Items of {source} differ when they are read again. Each is read once, so random transforms are frozen. "
            "Use `augmentation` of load_data instead."
        )
    return stack_images(images, source), None if all(label is None for label in labels) else labels, key


def _is_random(items: Any, images: list[Tensor], source: str) -> bool:
    """Whether some items are other images when they are read again; random generators are left as they were."""
    reader = PixelReader(source)
    with protect_random_state():
        try:
            for index in range(0, len(images), max(1, len(images) // _AGAIN)):
                again = to_bytes(split_item(_get(items, index, ""), "")[0], reader, "")
                if again.shape != images[index].shape or not bool(torch.equal(again, images[index])):
                    return True
        except GermlineError:
            return True
    return False


def _length(items: Any, kind: str) -> int:
    try:
        return len(items)
    except Exception as error:
        raise DataError(f"The {kind} has no length", say_error(error), "Use another one") from error


def _get(items: Any, index: int, where: str) -> Any:
    try:
        return items[index]
    except GermlineError:
        raise
    except Exception as error:  # it comes from code of the user
        raise DataError(
            f"{where} cannot be read", say_error(error), "Remove the item, or repair the data set"
        ) from error


def split_item(item: Any, where: str) -> tuple[Any, Any, str | None]:
    """Split an item into image, label, and the key of the label.

    Raises:
        DataError: The form of the item has no one meaning.
    """
    fields = getattr(item, "_fields", None)
    if fields is not None and set(fields) & set(_IMAGE_KEYS):
        item = dict(zip(fields, item, strict=True))
    if isinstance(item, Mapping):
        return _split_dictionary(item, where)
    if not isinstance(item, (tuple, list)):
        return item, None, None
    if len(item) not in (1, 2):
        form = ", ".join(_form(part) for part in item[:6])
        raise DataError(
            f"{where} has {len(item)} parts: {form}",
            "An item is an image, or an image and its label, and the meaning of further parts is unknown",
            "Pass a Dataset whose items are (image, label)",
        )
    return item[0], item[1] if len(item) == 2 else None, None


def _split_dictionary(item: Mapping[Any, Any], where: str) -> tuple[Any, Any, str | None]:
    image_keys = [key for key in _IMAGE_KEYS if key in item]
    label_keys = [key for key in _LABEL_KEYS if key in item]
    if len(image_keys) != 1 or len(label_keys) > 1:
        which = "image" if len(image_keys) != 1 else "label"
        found = image_keys if which == "image" else label_keys
        raise DataError(
            f"{where} is a dictionary with the keys {_keys(item)}",
            f"{len(found)} of them name an {which}" if which == "image" else f"{len(found)} of them name a label",
            f"Give it one image under {' or '.join(_IMAGE_KEYS)}, and one label under {' or '.join(_LABEL_KEYS)}",
        )
    odd = [key for key in item if isinstance(key, str) and "label" in key and key not in label_keys]
    if not label_keys and odd:
        raise DataError(
            f"{where} has no label that is known, but '{odd[0]}'",
            "It is unclear which of its keys is the class",
            f"Rename the key of the class to {' or '.join(_LABEL_KEYS)}",
        )
    key = label_keys[0] if label_keys else None
    return item[image_keys[0]], None if key is None else item[key], key


def to_bytes(image: Any, reader: PixelReader, where: str) -> Tensor:
    """Convert one image to uint8 [1 or 3, H, W].

    Arrays are [H, W], [H, W, C] or [C, H, W]; tensors are [H, W] or [C, H, W].

    Raises:
        DataError: It is no image, or its shape has no one meaning.
    """
    if isinstance(image, Image.Image):
        array = np.array(_read_pil(image, reader, where))
        return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())
    if isinstance(image, np.ndarray) and image.dtype.kind in "buif" and image.dtype.itemsize <= 8:
        if image.ndim == 3 and (image.shape[2] in _CHANNELS or image.shape[0] not in _CHANNELS):
            image = image.transpose(2, 0, 1)
        image = torch.from_numpy(np.array(image, dtype=image.dtype.newbyteorder("="), order="C"))
    if not isinstance(image, Tensor):
        form = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else _form(image)
        raise DataError(
            f"{where} has {form} in place of an image",
            "An image is a tensor, an array, or a PIL image",
            "Pass a Dataset whose items are (image, label)",
        )
    image = image.as_subclass(Tensor) if type(image) is not Tensor else image
    image = image[None] if image.ndim == 2 else image
    shape = tuple(image.shape)
    if image.ndim != 3 or shape[0] not in _CHANNELS or not image.numel():
        last = image.ndim == 3 and shape[-1] in _CHANNELS
        raise DataError(
            f"{where} has an image of shape {shape}",
            "An image is [1 or 3, height, width]",
            "Use image.permute(2, 0, 1) to put channels first" if last else "Pass grey or RGB images of that shape",
        )
    return reader.read_pixels(image, where)


def _read_pil(image: Image.Image, reader: PixelReader, where: str) -> Image.Image:
    try:
        image.load()  # Pillow opens files before it reads them
        read = reader.read_image(image, where, image_format=image.format)
        reader.note_frames(getattr(image, "n_frames", 1))
    except GermlineError:
        raise
    except Exception as error:
        raise DataError(f"{where} cannot be read", say_error(error), "Remove the item, or repair the file") from error
    return read


def say_error(error: BaseException) -> str:
    """Return the type and the text of an error of other code in one short line."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST_REASON, placeholder=" ...")


def stack_images(images: list[Tensor], source: str) -> Tensor:
    """Stack images of one size; grey ones become RGB if others are.

    Raises:
        DataError: The images differ in size.
    """
    first = tuple(images[0].shape[1:])
    for index, image in enumerate(images):
        if tuple(image.shape[1:]) != first:
            raise DataError(
                f"Image {index} of {source} is {_size(image)} px, image 0 is {_size(images[0])} px",
                "Images in memory have one size",
                "Use a Dataset that resizes them",
            )
    channels = max(image.shape[0] for image in images)
    return torch.stack([image.expand(channels, -1, -1) for image in images])


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"


def _keys(item: Mapping[Any, Any]) -> str:
    return ", ".join(f"'{key}'" for key in list(item)[:8]) or "(none)"


def _form(part: Any) -> str:
    if isinstance(part, (Tensor, np.ndarray)):
        return f"{name_type(part)} {tuple(part.shape)}"
    return "a text" if isinstance(part, str) else "nothing" if part is None else name_type(part)
