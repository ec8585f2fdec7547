"""Python data in many forms: each is read correctly, or refused with the name of its form."""

import io
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

import germline as gl
from germline.errors import DataError

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
SIDE = 8
PIXELS = torch.arange(30 * 3 * SIDE * SIDE).view(30, 3, SIDE, SIDE).remainder(251).to(torch.uint8)
FEW = torch.arange(2 * 3 * SIDE * SIDE).view(2, 3, SIDE, SIDE).remainder(241).to(torch.uint8) + 14


class Items(Dataset):
    """A data set whose items are made by a function of the index."""

    def __init__(self, form, count=30):
        self.form, self.count = form, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        return self.form(index)


def read(source):
    """Return all images as training images, in their order."""
    return gl.load_data(source, val=source).train


Named = namedtuple("Named", "image label")
FORMS = {
    "pair": lambda i: (PIXELS[i], i % 5),
    "list": lambda i: [PIXELS[i], i % 5],
    "namedtuple": lambda i: Named(PIXELS[i], i % 5),
    "dict-image-label": lambda i: {"image": PIXELS[i], "label": i % 5},
    "dict-img-fine_label": lambda i: {"img": PIXELS[i], "fine_label": i % 5, "coarse_label": i % 2},
    "dict-pixel_values-labels": lambda i: {"pixel_values": PIXELS[i] / 255, "labels": i % 5},
    "dict-extra-key": lambda i: {"id": "x", "image": PIXELS[i], "target": i % 5},
    "label-tensor": lambda i: (PIXELS[i], torch.tensor(i % 5)),
    "label-one-element": lambda i: (PIXELS[i], torch.tensor([i % 5])),
    "label-numpy": lambda i: (PIXELS[i], np.int32(i % 5)),
    "label-uint8": lambda i: (PIXELS[i], np.uint8(i % 5)),
    "label-whole-float": lambda i: (PIXELS[i], float(i % 5)),
    "label-digits": lambda i: (PIXELS[i], str(i % 5)),
    "label-one-hot-tensor": lambda i: (PIXELS[i], torch.eye(5)[i % 5]),
    "label-one-hot-list": lambda i: (PIXELS[i], torch.eye(5, dtype=torch.int64)[i % 5].tolist()),
    "label-one-hot-bool": lambda i: (PIXELS[i], torch.eye(5)[i % 5].bool()),
    "image-numpy-hwc": lambda i: (PIXELS[i].permute(1, 2, 0).numpy(), i % 5),
    "image-numpy-chw": lambda i: (PIXELS[i].numpy(), i % 5),
    "image-numpy-float": lambda i: (PIXELS[i].permute(1, 2, 0).numpy() / 255, i % 5),
    "image-big-endian-16": lambda i: ((PIXELS[i].permute(1, 2, 0).numpy().astype(">u2") * 257), i % 5),
    "image-read-only": lambda i: (np.broadcast_to(PIXELS[i].numpy(), (3, SIDE, SIDE)), i % 5),
    "image-uint16": lambda i: (torch.from_numpy(PIXELS[i].numpy().astype(np.uint16) * 257), i % 5),
    "image-half": lambda i: ((PIXELS[i] / 255).half(), i % 5),
    "image-double": lambda i: (PIXELS[i].double() / 255, i % 5),
    "image-with-gradient": lambda i: ((PIXELS[i] / 255).requires_grad_(), i % 5),
    "image-strided": lambda i: (PIXELS[i].transpose(1, 2).contiguous().transpose(1, 2), i % 5),
    "image-pil": lambda i: (Image.fromarray(PIXELS[i].permute(1, 2, 0).numpy()), i % 5),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_item_is_read_correctly(form):
    train = read(Items(form))
    assert torch.equal(train.images, PIXELS)
    assert train.labels.tolist() == [index % 5 for index in range(30)]
    assert train.classes == tuple("01234")


def test_text_labels_become_sorted_class_names():
    animals = ("owl", "cat", "dog")
    data = gl.load_data(Items(lambda i: (PIXELS[i], animals[i % 3])), val=Items(lambda i: (FEW[i], "owl"), 2))
    assert data.classes == ("cat", "dog", "owl")
    assert data.train.labels.tolist() == [2, 0, 1] * 10
    assert data.val.labels.tolist() == [2, 2]


@pytest.mark.parametrize("form", [lambda i: PIXELS[i], lambda i: (PIXELS[i],), lambda i: (PIXELS[i], None)])
def test_items_without_labels_are_unlabelled(form):
    train = read(Items(form))
    assert (len(train), train.labels, train.classes) == (30, None, ())


LABELS = torch.arange(30) % 5
BUFFER = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(BUFFER, "PNG")
CUT = BUFFER.getvalue()[:600]
NAN = torch.full((3, SIDE, SIDE), float("nan"))
REFUSED_ITEMS = {
    "three-parts": (lambda i: (PIXELS[i], i % 5, i), "3 parts: a Tensor (3, 8, 8), an int, an int"),
    "two-views": (lambda i: (PIXELS[i], PIXELS[i], i % 5), "3 parts"),
    "empty-tuple": (lambda i: (), "0 parts"),
    "dict-no-image": (lambda i: {"x": PIXELS[i], "label": 0}, "'x', 'label'"),
    "dict-two-images": (lambda i: {"image": PIXELS[i], "img": PIXELS[i]}, "2 of them name an image"),
    "dict-two-labels": (lambda i: {"image": PIXELS[i], "label": 0, "target": 1}, "2 of them name a label"),
    "dict-coarse-only": (lambda i: {"image": PIXELS[i], "coarse_label": 0}, "'coarse_label'"),
    "dict-empty": (lambda i: {}, "(none)"),
    "none": (lambda i: None, "nothing in place of an image"),
    "path": (lambda i: ("a/b.png", i % 5), "a text in place of an image"),
    "label-first": (lambda i: (i % 5, PIXELS[i]), "an int in place of an image"),
    "bytes": (lambda i: (b"\x89PNG", i % 5), "a bytes in place of an image"),
    "object-array": (lambda i: (np.array([None, 1]), i % 5), "an array of object"),
    "label-half": (lambda i: (PIXELS[i], 0.5), "Label 0 of the training images is 0.5"),
    "label-nan": (lambda i: (PIXELS[i], float("nan")), "is nan"),
    "label-infinite": (lambda i: (PIXELS[i], float("inf")), "is inf"),
    "label-negative": (lambda i: (PIXELS[i], -1), "is -1"),
    "label-huge": (lambda i: (PIXELS[i], 10**9), "1000000000"),
    "label-bytes": (lambda i: (PIXELS[i], b"cat"), "a bytes"),
    "label-dict": (lambda i: (PIXELS[i], {"boxes": []}), "a dict"),
    "label-box": (lambda i: (PIXELS[i], [0.1, 0.2, 0.3, 0.4]), "a soft label or a box"),
    "label-soft": (lambda i: (PIXELS[i], torch.tensor([0.9, 0.1])), "a soft label"),
    "label-multi-hot": (lambda i: (PIXELS[i], torch.tensor([1, 1, 0])), "multi-hot with 2 ones"),
    "label-no-hot": (lambda i: (PIXELS[i], torch.zeros(3)), "multi-hot with 0 ones"),
    "label-mask": (lambda i: (PIXELS[i], torch.zeros(SIDE, SIDE)), "list of other things"),
    "label-empty-list": (lambda i: (PIXELS[i], []), "an empty list"),
    "label-some-missing": (lambda i: (PIXELS[i], None if i == 7 else 1), "Label 7 of the training images is missing"),
    "label-mixed": (lambda i: (PIXELS[i], "cat" if i == 7 else 1), "Label 7 of the training images is a text"),
    "label-lengths": (lambda i: (PIXELS[i], [1] + [0] * (1 + i)), "Label 1 of the training images has 3 numbers"),
    "image-normalised": (lambda i: (PIXELS[i] / 255 - 0.5, 0), "from -0.5 to"),
    "image-float-255": (lambda i: (PIXELS[i].float(), 0), "float pixels up to"),
    "image-nan": (lambda i: (NAN, 0), "not finite"),
    "image-int64": (lambda i: (PIXELS[i].long(), 0), "type int64"),
    "image-int16": (lambda i: (PIXELS[i].short(), 0), "type int16"),
    "image-int8": (lambda i: (PIXELS[i].to(torch.int8), 0), "type int8"),
    "image-complex": (lambda i: (PIXELS[i].to(torch.complex64), 0), "complex64"),
    "image-sparse": (lambda i: (PIXELS[i].float().to_sparse(), 0), "torch.sparse_coo"),
    "image-12-bits": (lambda i: (PIXELS[i].numpy().astype(np.uint16) * 16, 0), "of 65535"),
    "image-tensor-hwc": (lambda i: (PIXELS[i].permute(1, 2, 0), 0), "permute(2, 0, 1)"),
    "image-rgba": (lambda i: (torch.zeros(4, SIDE, SIDE), 0), "(4, 8, 8)"),
    "image-two-channels": (lambda i: (torch.zeros(2, SIDE, SIDE), 0), "(2, 8, 8)"),
    "image-batch-of-one": (lambda i: (PIXELS[i : i + 1], 0), "(1, 3, 8, 8)"),
    "image-vector": (lambda i: (PIXELS[i].flatten(), 0), "(192,)"),
    "image-empty": (lambda i: (torch.zeros(3, 0, 0), 0), "(3, 0, 0)"),
    "image-wide": (lambda i: (torch.zeros(3, 4, 6), 0), "6x4 px"),
    "image-tall-pil": (lambda i: (Image.new("RGB", (4, 6)), 0), "4x6 px"),
    "image-sizes": (lambda i: (torch.zeros(3, 8 + i // 3, 8 + i // 3), 0), "Image 3 of the training images is 9x9 px"),
    "pil-int32": (lambda i: (Image.new("I", (8, 8), 3), 0), "mode I"),
    "pil-float-255": (lambda i: (Image.new("F", (8, 8), 99.0), 0), "up to 99"),
    "pil-float-negative": (lambda i: (Image.new("F", (8, 8), -1.0), 0), "from -1"),
    "pil-lab": (lambda i: (Image.new("LAB", (8, 8)), 0), "mode LAB"),
    "image-meta": (lambda i: (torch.zeros(3, 8, 8, device="meta"), 0), "on device meta"),
    "image-quantised": (lambda i: (torch.quantize_per_tensor(PIXELS[i] / 255, 0.1, 0, torch.quint8), 0), "quint8"),
    "image-uint32": (lambda i: (np.zeros((8, 8), np.uint32), 0), "type uint32"),
    "image-dates": (lambda i: (np.zeros((8, 8), "M8[s]"), 0), "datetime64[s]"),
    "image-nested-list": (lambda i: ([[1, 2], [3, 4]], 0), "a list in place of an image"),
    "pil-no-pixels": (lambda i: (Image.new("RGB", (0, 0)), 0), "has no pixels"),
    "pil-cut": (lambda i: (Image.open(io.BytesIO(CUT)), 0), "Item 0 of the training images cannot be read. OSError"),
    "label-empty-text": (lambda i: (PIXELS[i], " "), "is an empty text"),
    "one-class": (lambda i: (PIXELS[i], 0), "of one class, '0'"),
    "batch": (lambda i: [PIXELS[:4], LABELS[:4]], "(4, 3, 8, 8)"),
    "many-lines": (lambda i: exec("raise ValueError('x\\ny')"), "ValueError: x y."),
    "raises": (lambda i: (PIXELS[i], 1 // (i - 4)), "Item 4 of the training images cannot be read. ZeroDivisionError"),
    "raises-index": (lambda i: [][0], "Item 0 of the training images cannot be read. IndexError"),
}


@pytest.mark.parametrize(("form", "message"), REFUSED_ITEMS.values(), ids=REFUSED_ITEMS)
def test_ambiguous_or_invalid_item_is_refused_by_its_form(form, message):
    with pytest.raises(DataError) as caught:
        gl.load_data(Items(form))
    text = str(caught.value)
    assert message in text
    assert caught.value.why
    assert caught.value.fix.split()[0] in {"Use", "Pass", "Give", "Remove", "Rename"}


MODES = {
    "P": (lambda c: Image.new("RGB", (8, 8), c).quantize(4), None),
    "PA": (lambda c: Image.new("RGB", (8, 8), c).quantize(4).convert("PA"), None),
    "RGBA": (lambda c: Image.new("RGBA", (8, 8), (*c, 255)), None),
    "RGBX": (lambda c: Image.new("RGB", (8, 8), c).convert("RGBX"), None),
    "RGBa": (lambda c: Image.new("RGBA", (8, 8), (*c, 255)).convert("RGBa"), None),
    "CMYK": (lambda c: Image.new("RGB", (8, 8), c).convert("CMYK"), None),
    "YCbCr": (lambda c: Image.new("RGB", (8, 8), c).convert("YCbCr"), 2),
    "HSV": (lambda c: Image.new("RGB", (8, 8), c).convert("HSV"), 2),
}


@pytest.mark.parametrize(("make", "error"), MODES.values(), ids=MODES)
def test_pil_modes_keep_their_colours(make, error):
    train = read(Items(lambda i: (make(COLOURS[i % 3]), i % 3)))
    assert train.images.shape[1:] == (3, 8, 8)
    for index in range(3):
        difference = train.images[index, :, 0, 0].int() - torch.tensor(COLOURS[index])
        assert difference.abs().max() <= (error or 0)


GREY_MODES = {
    "1": (Image.new("1", (8, 8), 1), 255),
    "L": (Image.new("L", (8, 8), 130), 130),
    "LA": (Image.new("LA", (8, 8), (130, 255)), 130),
    "I;16": (Image.fromarray(np.full((8, 8), 130 * 257, np.uint16)), 130),
    "I;16B": (Image.frombytes("I;16B", (8, 8), np.full((8, 8), 130 * 257, ">u2").tobytes()), 130),
    "F": (Image.fromarray(np.full((8, 8), 130 / 255, np.float32)), 130),
    "bool-array": (np.ones((8, 8), bool), 255),
    "bool-tensor": (torch.ones(8, 8, dtype=torch.bool), 255),
    "grey-array": (np.full((8, 8), 130, np.uint8), 130),
    "grey-array-hw1": (np.full((8, 8, 1), 130, np.uint8), 130),
    "grey-tensor": (torch.full((8, 8), 130, dtype=torch.uint8), 130),
}


@pytest.mark.parametrize(("image", "level"), GREY_MODES.values(), ids=GREY_MODES)
def test_grey_images_keep_their_level(image, level):
    train = read(Items(lambda i: (image, i % 2)))
    assert train.images.shape == (30, 1, 8, 8)
    assert set(train.images.flatten().tolist()) == {level}


def test_grey_images_among_colour_ones_become_rgb():
    images = [Image.new("L", (8, 8), 90), Image.new("RGB", (8, 8), (1, 2, 3))]
    train = read(Items(lambda i: (images[i % 2], i % 2)))
    assert train.images[:2, :, 0, 0].tolist() == [[90, 90, 90], [1, 2, 3]]


def test_transparent_image_keeps_its_colours_with_a_warning(caplog):
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 7))
    train = read(Items(lambda i: (image, i % 2), 11))
    assert train.images[0, :, 0, 0].tolist() == [200, 100, 50]
    assert "transparent in places (11 of those looked at)" in caplog.text


PAIRS = {
    "tensors": ((PIXELS, LABELS), PIXELS, LABELS),
    "float-pixels": ((PIXELS / 255, LABELS), PIXELS, LABELS),
    "float-labels": ((PIXELS, LABELS.float()), PIXELS, LABELS),
    "list-labels": ((PIXELS, LABELS.tolist()), PIXELS, LABELS),
    "array-labels": ((PIXELS, LABELS.numpy().astype(np.uint16)), PIXELS, LABELS),
    "column-labels": ((PIXELS, LABELS[:, None]), PIXELS, LABELS),
    "one-hot-labels": ((PIXELS, torch.eye(5)[LABELS]), PIXELS, LABELS),
    "text-labels": ((PIXELS, np.array(list("01234"))[LABELS]), PIXELS, LABELS),
    "iterator-labels": ((PIXELS, iter(LABELS.tolist())), PIXELS, LABELS),
    "no-labels": ((PIXELS, None), PIXELS, None),
    "array-nchw": ((PIXELS.numpy(), LABELS), PIXELS, LABELS),
    "array-nhwc": ((PIXELS.permute(0, 2, 3, 1).numpy(), LABELS), PIXELS, LABELS),
    "array-nhw": ((PIXELS[:, 0].numpy(), LABELS), PIXELS[:, :1], LABELS),
    "bare-tensor": (PIXELS, PIXELS, None),
    "list-of-items": ([(PIXELS[i], i % 5) for i in range(30)], PIXELS, LABELS),
}


@pytest.mark.parametrize(("source", "images", "labels"), PAIRS.values(), ids=PAIRS)
def test_pair_is_read_correctly(source, images, labels):
    train = read(source)
    assert torch.equal(train.images, images)
    assert (labels is None) if train.labels is None else torch.equal(train.labels, labels)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(PIXELS[0], 0)])


class LengthUnknown(Items):
    def __len__(self):
        raise TypeError("length unknown")


REFUSED_SOURCES = {
    "three-tensors": ((PIXELS, LABELS, LABELS), "tuple of 3"),
    "one-in-a-tuple": ((PIXELS,), "tuple of 1"),
    "few-labels": ((PIXELS, LABELS[:7]), "7 labels for 30 images"),
    "many-labels": ((PIXELS, list(range(31))), "31 labels"),
    "labels-half": ((PIXELS, LABELS + 0.5), "Label 0 of the training images is 0.5"),
    "labels-negative": ((PIXELS, LABELS - 1), "is -1"),
    "labels-one-number": ((PIXELS, torch.tensor(3)), "are one number"),
    "labels-text": ((PIXELS, "abc" * 10), "are a str"),
    "labels-number": ((PIXELS, 3), "are an int"),
    "labels-set": ((PIXELS, set(range(30))), "are a set"),
    "labels-dict": ((PIXELS, dict.fromkeys(range(30), 0)), "are a dict"),
    "labels-complex": ((PIXELS, LABELS.to(torch.complex64)), "is a complex"),
    "labels-short-iterator": ((PIXELS, iter([0, 1])), "2 labels for 30 images"),
    "pair-of-lists": (([PIXELS[0], PIXELS[1]], [0, 1]), "an int in place of an image"),
    "tensor-without-pixels": ((PIXELS[..., :0, :0], LABELS), "0x0 px. They have no pixels"),
    "batches": ([(PIXELS[:4], LABELS[:4])], "(4, 3, 8, 8)"),
    "paths": (["a.png", "b.png"], "a text in place of an image"),
    "bytes": (b"abc", "is a name"),
    "class": (Items, "A data set cannot be a type"),
    "labels-maps": ((PIXELS, torch.zeros(30, 8, 8)), "(30, 8, 8)"),
    "labels-multi-hot": ((PIXELS, torch.ones(30, 5)), "multi-hot with 5 ones"),
    "tensor-nhwc": ((PIXELS.permute(0, 2, 3, 1), LABELS), "permute(2, 0, 1)"),
    "tensor-nhw": ((PIXELS[:, 0], LABELS), "images[:, None]"),
    "tensor-normalised": ((PIXELS / 255 - 0.5, LABELS), "from -0.5"),
    "tensor-255": ((PIXELS.float(), LABELS), "up to 250"),
    "tensor-nan": ((torch.full((30, 3, 8, 8), float("nan")), LABELS), "not finite"),
    "tensor-wide": ((PIXELS[..., :6], LABELS), "6x8 px"),
    "tensor-empty": ((PIXELS[:0], LABELS[:0]), "(0, 3, 8, 8)"),
    "one-image": (PIXELS[:1], "One training image"),
    "one-class": ((PIXELS, LABELS * 0), "of one class, '0'"),
    "empty-set": (Items(lambda i: i, 0), "is empty"),
    "empty-list": ([], "is empty"),
    "iterable": (Stream(), "A data set cannot be a Stream"),
    "generator": ((item for item in ()), "A data set cannot be a generator"),
    "dict-of-splits": ({"train": [1], "test": [2]}, "'train', 'test'"),
    "none": (None, "A data set cannot be a NoneType"),
    "number": (3, "A data set cannot be an int"),
    "length-unknown": (LengthUnknown(lambda i: i), "TypeError: length unknown"),
    "module": (torch.nn.Linear(2, 2), "A data set cannot be a Linear"),
}


@pytest.mark.parametrize(("source", "message"), REFUSED_SOURCES.values(), ids=REFUSED_SOURCES)
def test_ambiguous_or_invalid_source_is_refused(source, message):
    with pytest.raises(DataError) as caught:
        gl.load_data(source)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("abcde", "is one text"),
        ([*"abcd", ""], "an empty name"),
        (["a", "b", "a", "c", "d"], "'a' twice"),
        (["a", "b"], "2 class names"),
    ],
)
def test_class_names_are_checked(classes, message):
    with pytest.raises(DataError, match=message):
        gl.load_data((PIXELS, LABELS), classes=classes)


def test_labels_without_images_are_named(caplog):
    data = gl.load_data((PIXELS, LABELS * 10), val=(FEW, [0, 10]))
    assert len(data.classes) == 41
    assert "36 of 41 labels have no training images, such as '1'" in caplog.text


def test_python_data_options_are_refused_for_named_data():
    given = (
        {"val": (FEW, [0, 1])},
        {"test": FEW},
        {"classes": ["a"]},
        {"augmentation": []},
        {"augmentation": ["mirror"]},
    )
    for options in given:
        with pytest.raises(DataError, match="go with images given in Python"):
            gl.load_data("digits", **options)


def test_digits_with_leading_zeros_are_names():
    train = read(Items(lambda i: (PIXELS[i], ("01", "1")[i % 2])))
    assert (train.classes, train.labels.tolist()[:2]) == (("01", "1"), [0, 1])


def test_data_set_with_unusual_attributes_is_read():
    class Unusual(Items):
        def __getattr__(self, name):
            raise RuntimeError(name)

    assert read(Unusual(lambda i: (PIXELS[i], i % 5))).classes == tuple("01234")
    unusual = Items(lambda i: (PIXELS[i], i % 5))
    unusual.classes, unusual.class_to_idx, unusual.itself = [5, 6], {"a": None}, unusual
    assert read(unusual).classes == tuple("01234")
