"""Image folders of many layouts: each is read correctly, or refused with its content in the message."""

import errno
import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import germline as gl
from germline.data import ImageFiles, iterate_batches
from germline.data.image_files import open_image
from germline.data.pixels import warn_once
from germline.errors import DataError

LEVELS = {"cat": 40, "dog": 80, "owl": 120}


@pytest.fixture(autouse=True)
def _clear_warnings():
    warn_once.cache_clear()


def paint(path, level=10, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode == "L" else (level, 0, 0)).save(path)


def fill(root, *places, count=3, classes=LEVELS, **options):
    """Write class folders with a few images each. The red of an image is the level of its class."""
    for place in places or ("train", "val"):
        for name in classes:
            for index in range(count):
                paint(root / place / name / f"{index}.png", LEVELS.get(name, 9), **options)


def read(root, split="train", size=""):
    """Return the class name of each image, after a check that its label matches its level."""
    images = gl.load_data(f"folder:{root}{size}").split(split)
    assert images.classes == ("cat", "dog", "owl")
    levels = [LEVELS[images.classes[label]] for label in images.labels.tolist()]
    assert images.images[:, 0, 0, 0].tolist() == levels
    return [images.classes[label] for label in images.labels.tolist()]


def read_all(root, *splits):
    """Decode every image of some splits."""
    data = gl.load_data(f"folder:{root}")
    for split in splits or ("train", "val"):
        list(iterate_batches(data.split(split), 2))


ALL = ["cat"] * 3 + ["dog"] * 3 + ["owl"] * 3
TRAIN = ("train", "Train", "TRAIN", "training", "Training", "train_set", "training_set", "Train Images", "train-data")
VAL = ("val", "Val", "valid", "Valid", "VALIDATION", "validation_set", "dev", "val_images")
TEST = ("test", "Test", "Testing", "TEST", "test_set", "testing-data")


@pytest.mark.parametrize("train", TRAIN)
def test_training_folder_of_any_usual_name_is_read(tmp_path, train, caplog):
    fill(tmp_path, train, "val")
    assert read(tmp_path) == read(tmp_path, "val") == ALL
    assert (f"train from '{train}'" in caplog.text) == (train != "train")


@pytest.mark.parametrize("val", VAL)
def test_validation_folder_of_any_usual_name_is_read(tmp_path, val):
    fill(tmp_path, "train", val, "test")
    paint(tmp_path / val / "owl" / "3.png", LEVELS["owl"])
    assert (len(read(tmp_path)), len(read(tmp_path, "val")), len(read(tmp_path, "test"))) == (9, 10, 9)


@pytest.mark.parametrize("test", TEST)
def test_test_folder_of_any_usual_name_is_read(tmp_path, test, caplog):
    fill(tmp_path, "train", "val", test)
    paint(tmp_path / test / "owl" / "3.png", LEVELS["owl"])
    assert (len(read(tmp_path)), len(read(tmp_path, "val")), len(read(tmp_path, "test"))) == (9, 9, 10)
    assert "has no test images" not in caplog.text


def test_training_validation_and_evaluation_are_three_splits(tmp_path, caplog):
    fill(tmp_path, "training", "validation", "evaluation")
    paint(tmp_path / "evaluation" / "owl" / "3.png", LEVELS["owl"])
    assert (len(read(tmp_path)), len(read(tmp_path, "test"))) == (9, 10)
    assert "test from 'evaluation'" in caplog.text


def test_validation_images_replace_missing_test_images_with_a_warning(tmp_path, caplog):
    fill(tmp_path, "train", "valid")
    paint(tmp_path / "valid" / "owl" / "3.png", LEVELS["owl"])
    assert len(read(tmp_path, "val")) == 10
    assert "no test images" not in caplog.text
    assert len(read(tmp_path, "test")) == 10
    assert "has no test images. The test accuracy is that of valid, on which settings are tuned." in caplog.text


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("splits", [("train", "val"), ("Training", "valid")])
def test_folder_inside_a_folder_is_read(tmp_path, depth, splits, caplog):
    inner = tmp_path.joinpath(*["photos"] * depth)
    fill(inner, *splits)
    (tmp_path / "__MACOSX" / "photos" / "train").mkdir(parents=True)
    paint(tmp_path / "__MACOSX" / "photos" / "train" / "x.png")
    (tmp_path / "README.txt").write_text("photos of animals")
    assert read(tmp_path) == read(tmp_path, "val") == ALL
    assert f"read from {inner}" in caplog.text


def test_class_folders_inside_a_folder_are_read(tmp_path, caplog):
    fill(tmp_path / "photos", "images", count=30)
    splits = [read(tmp_path, split) for split in ("train", "val", "test")]
    assert sum(map(len, splits)) == 90
    assert f"read from {tmp_path / 'photos' / 'images'}" in caplog.text


def test_splits_inside_a_folder_of_their_own_name_are_read(tmp_path):
    fill(tmp_path, "train/train", "val/val")
    assert read(tmp_path) == read(tmp_path, "val") == ALL


def test_validation_class_with_folders_inside_is_one_class(tmp_path):
    fill(tmp_path, "train")
    for inner in ("persian", "siamese"):
        paint(tmp_path / "val" / "cat" / inner / "0.png", LEVELS["cat"])
    assert read(tmp_path, "val") == ["cat", "cat"]


def test_missing_validation_class_shifts_no_label(tmp_path):
    fill(tmp_path, "train")
    fill(tmp_path, "val", classes=("cat", "owl"))
    assert read(tmp_path, "val") == ["cat"] * 3 + ["owl"] * 3


SUFFIXES = [".jpg", ".JPG", ".jpeg", ".JPEG", ".jfif", ".JFIF", ".jpe", ".png", ".PNG", ".bmp", ".gif", ".webp", ".tif"]
SUFFIXES += [".TIFF", ".ppm", ".pgm", ".pnm", ".jp2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_images_of_a_suffix_are_read(tmp_path, suffix):
    for split in ("train", "val"):
        for name, level in LEVELS.items():
            (tmp_path / split / name).mkdir(parents=True)
            options = {"lossless": True} if suffix == ".webp" else {}
            form = {".jfif": "JPEG", ".jpe": "JPEG", ".pgm": "PPM"}.get(suffix.lower())
            Image.new("L", (8, 8), level).convert("RGB").save(tmp_path / split / name / f"0{suffix}", form, **options)
    images = gl.load_data(f"folder:{tmp_path}").train
    assert images.labels.tolist() == [0, 1, 2]
    assert (images.images[:, 0, 4, 4].int() - torch.tensor(list(LEVELS.values()))).abs().max() <= 2


UNREAD = [".heic", ".HEIF", ".svg", ".dng", ".npy", ".dcm", ".psd", ".zip", ".tga", ""]


@pytest.mark.parametrize("suffix", UNREAD)
def test_class_of_unread_images_is_refused_by_its_name(tmp_path, suffix):
    fill(tmp_path)
    (tmp_path / "train" / "yak").mkdir()
    for index in range(4):
        (tmp_path / "train" / "yak" / f"{index}{suffix}").write_bytes(b"content")
    with pytest.raises(DataError) as caught:
        _ = gl.load_data(f"folder:{tmp_path}").train
    assert f"train/yak has no image that can be read: it holds 4 {suffix.lower() or 'without suffix'}" in str(
        caught.value
    )


@pytest.mark.parametrize("suffix", UNREAD)
def test_single_unread_files_are_counted(tmp_path, suffix, caplog):
    fill(tmp_path)
    (tmp_path / "train" / "cat" / f"a{suffix}").write_bytes(b"content")
    (tmp_path / "train" / "dog" / f"b{suffix}").write_bytes(b"content")
    assert read(tmp_path) == ALL
    assert f"2 files in class folders of {tmp_path / 'train'} are not read: 2 " in caplog.text
    assert (suffix.lower() or "without suffix") in caplog.text


JUNK = ["Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", ".hidden.png", "__MACOSX/0.png", ".ipynb_checkpoints/0.png"]
JUNK += ["@eaDir/0.png", "$RECYCLE.BIN/0.png"]


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("place", ["", "train", "train/cat"])
def test_system_files_are_not_images(tmp_path, name, place, caplog):
    fill(tmp_path)
    path = tmp_path / place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no image")
    assert read(tmp_path) == ALL
    assert "not read" not in caplog.text


def test_empty_class_folder_is_refused(tmp_path):
    fill(tmp_path)
    (tmp_path / "train" / "yak").mkdir()
    (tmp_path / "val" / "yak").mkdir()
    for split in ("train", "val"):
        with pytest.raises(DataError, match=r"train/yak has no image that can be read: it is empty"):
            gl.load_data(f"folder:{tmp_path}").split(split)


def test_empty_validation_class_is_named(tmp_path, caplog):
    fill(tmp_path, "train")
    fill(tmp_path, "val", classes=("cat", "owl"))
    (tmp_path / "val" / "dog").mkdir()
    assert read(tmp_path, "val") == ["cat"] * 3 + ["owl"] * 3
    assert "val/dog has no images that can be read: it is empty" in caplog.text


def test_folder_of_notes_is_not_a_class(tmp_path, caplog):
    fill(tmp_path)
    (tmp_path / "train" / "notes").mkdir()
    (tmp_path / "train" / "notes" / "a.xml").write_text("<a/>")
    assert read(tmp_path) == ALL
    assert "holds no images but 1 .xml, and is not read as a class" in caplog.text


def test_images_beside_class_folders_are_counted(tmp_path, caplog):
    fill(tmp_path)
    paint(tmp_path / "train" / "montage.png")
    assert read(tmp_path) == ALL
    assert "1 images beside the class folders" in caplog.text


def test_folder_beside_the_splits_is_named(tmp_path, caplog):
    fill(tmp_path, "train", "val", "extra")
    assert read(tmp_path) == ALL
    assert f"{tmp_path / 'extra'} is not read, because it is no split" in caplog.text


def no_training(root):
    fill(root, "val", "test")


def capital_test_alone(root):
    fill(root, "Test")


def two_training(root):
    fill(root, "Train", "training", "val")


def evaluation(root):
    fill(root, "train", "eval")


def vehicle(root):
    for name in ("boat", "train", "truck"):
        paint(root / name / "0.png")


def one_class(root):
    fill(root, classes=("cat",))


def one_class_without_splits(root):
    fill(root, ".", classes=("cat",), count=20)


def detection(root):
    for split in ("train", "val"):
        paint(root / split / "images" / "0.png")
        (root / split / "labels").mkdir()
        (root / split / "labels" / "0.txt").write_text("0 0.5 0.5 1 1")


def no_val(root):
    fill(root, "train", "test")


def unknown_class(root):
    fill(root, "train")
    paint(root / "val" / "yak" / "0.png")


def other_case(root):
    fill(root, "train")
    paint(root / "val" / "Owl" / "0.png")


def flat_val(root):
    fill(root, "train")
    paint(root / "val" / "0.png")


def flat_train(root):
    paint(root / "train" / "0.png")
    fill(root, "val")


def empty_val(root):
    fill(root, "train")
    (root / "val").mkdir()


def empty_train(root):
    fill(root, "val")
    (root / "train").mkdir()


def loop(root):
    fill(root)
    (root / "train" / "yak").symlink_to(root)


def archives(root):
    (root / "train.zip").write_bytes(b"PK")


LAYOUTS = {
    "no-training": (no_training, "has a folder 'test' but none for training images"),
    "test-alone": (capital_test_alone, "has a folder 'Test' but none for training"),
    "two-training": (two_training, "'Train' and 'training'"),
    "evaluation": (evaluation, "may hold validation or test images"),
    "class-named-train": (vehicle, "whether 'train' is a class or the training images"),
    "one-class": (one_class, "has one class folder, 'cat'"),
    "one-class-hashed": (one_class_without_splits, "has one class folder, 'cat'"),
    "detection": (detection, "has one class folder, 'images'"),
    "no-val": (no_val, "has no folder 'val'. Its training images are in 'train'"),
    "unknown-class": (unknown_class, "has a class 'yak'. The training folder has no such class, but cat, dog, owl"),
    "other-case": (other_case, "has a class 'Owl'. The training folder has no such class, but owl"),
    "flat-val": (flat_val, "val has no class folders"),
    "flat-train": (flat_train, "has a class 'cat'. The training folder has no such class, but no class folders"),
    "empty-val": (empty_val, "No images for 'val'"),
    "empty-train": (empty_train, "No images for 'train'"),
    "loop": (loop, "train/yak is a link to a folder above it"),
    "archive": (archives, "No images for 'train'"),
}


@pytest.mark.parametrize(("build", "message"), LAYOUTS.values(), ids=LAYOUTS)
def test_ambiguous_or_invalid_layout_is_refused(tmp_path, build, message):
    root = tmp_path / "photos"
    root.mkdir()
    build(root)
    with pytest.raises(DataError) as caught:
        read_all(root)
    assert message in str(caught.value)
    assert caught.value.fix.split()[0] in {"Use", "Give", "Choose", "Remove"}


def test_classes_with_names_of_splits_are_classes(tmp_path):
    for name in ("valid", "invalid", "unclear"):
        for index in range(20):
            paint(tmp_path / name / f"{index}.png")
    assert gl.load_data(f"folder:{tmp_path}").classes == ("invalid", "unclear", "valid")


def damage_zero(path):
    path.write_bytes(b"")


def damage_text(path):
    path.write_text("<html>404 Not Found</html>")


def damage_cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def damage_head(path):
    path.write_bytes(b"\0\0" + path.read_bytes()[2:])


def damage_link(path):
    path.unlink()
    path.symlink_to(path.with_name("missing.png"))


def damage_pipe(path):
    path.unlink()
    os.mkfifo(path)


def damage_noise(path):
    content = bytearray(path.read_bytes())
    content[30:90] = bytes(range(60))
    path.write_bytes(bytes(content))


DAMAGE = {
    "zero-bytes": damage_zero,
    "text": damage_text,
    "cut": damage_cut,
    "head": damage_head,
    "dangling-link": damage_link,
    "pipe": damage_pipe,
    "noise": damage_noise,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("side", [8, 80])
@pytest.mark.parametrize("split", ["train", "val"])
def test_damaged_file_is_named_in_one_line(tmp_path, damage, side, split):
    noise = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(2):
                pixels = noise.integers(0, 255, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{index}.png")
    damage(tmp_path / split / "dog" / "1.png")
    with pytest.raises(DataError) as caught:
        read_all(tmp_path, split)
    text = str(caught.value)
    assert f"{split}/dog/1.png cannot be read as an image" in text
    assert "\n" not in text
    assert len(text) < 400


def encode(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def make_png(width, height):
    """A PNG whose header claims a size that its pixels do not have."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(b"0" * 100), b"IEND": b""}
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def make_long_text():
    information = PngImagePlugin.PngInfo()
    information.add_text("note", "x" * 3_000_000, zip=True)
    return encode(Image.new("RGB", (8, 8)), "PNG", pnginfo=information)


CONTENTS = {
    "bomb.png": (lambda: make_png(60_000, 60_000), "exceeds limit"),
    "no-size.png": (lambda: make_png(0, 0), "no known image format"),
    "long-text.png": (make_long_text, "too large"),
    "lab.tif": (lambda: encode(Image.new("LAB", (8, 8)), "TIFF"), "mode LAB"),
    "drawing.png": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "page.jpg": (lambda: b"<!DOCTYPE html><p>404", "a web page"),
    "pointer.jpg": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    "phone.jpg": (lambda: b"\0\0\0\x18ftypheic" + b"\0" * 99, "a HEIC image"),
    "zipped.jpg": (lambda: b"\x1f\x8b" + b"x" * 50, "no known image format"),
    "new\nline.png": (lambda: b"bad", "no known image format"),
}


@pytest.mark.parametrize(("name", "found"), [(name, found) for name, (_, found) in CONTENTS.items()])
@pytest.mark.parametrize("side", [8, 80])
def test_file_of_another_kind_is_named(tmp_path, name, found, side):
    fill(tmp_path, size=(side, side))
    (tmp_path / "train" / "cat" / name).write_bytes(CONTENTS[name][0]())
    with pytest.raises(DataError) as caught:
        read_all(tmp_path)
    assert found.casefold() in str(caught.value).casefold()
    assert "train/cat/" in str(caught.value)
    assert "\n" not in str(caught.value)


RED = Image.new("RGB", (8, 8), (LEVELS["cat"], 0, 0))
READABLE = {
    "cmyk.jpg": lambda: encode(RED.convert("CMYK"), "JPEG", quality=100),
    "ycbcr.jpg": lambda: encode(RED.convert("YCbCr"), "JPEG", quality=100),
    "trailing.png": lambda: encode(RED, "PNG") + b"more" * 20,
    "pages.tif": lambda: encode(RED, "TIFF", save_all=True, append_images=[RED]),
    "stereo.jpg": lambda: encode(RED, "MPO", save_all=True, append_images=[RED], quality=100),
    "moving.webp": lambda: encode(RED, "WEBP", save_all=True, append_images=[RED], lossless=True),
    "sharp.jp2": lambda: encode(RED, "JPEG2000"),
    "palette.png": lambda: encode(RED.quantize(4), "PNG"),
    "transparent.png": lambda: encode(RED.convert("RGBA"), "PNG"),
    "-dash.png": lambda: encode(RED, "PNG"),
    " space .png": lambda: encode(RED, "PNG"),
    "a.b.c.PNG": lambda: encode(RED, "PNG"),
    "sub/folder.png": lambda: encode(RED, "PNG"),
}


@pytest.mark.parametrize("name", READABLE)
def test_readable_file_keeps_its_colours(tmp_path, name):
    fill(tmp_path)
    path = tmp_path / "train" / "cat" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(READABLE[name]())
    images = gl.load_data(f"folder:{tmp_path}").train
    assert images.labels.tolist() == [0] * 4 + [1] * 3 + [2] * 3
    assert (images.images[:4, :, 4, 4].int() - torch.tensor([LEVELS["cat"], 0, 0])).abs().max() <= 3


def test_huge_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    fill(tmp_path, size=(80, 80))
    with pytest.raises(DataError, match="exceeds limit"):
        _ = gl.load_data(f"folder:{tmp_path}").train


def make_noise(level, side):
    return np.clip(level + np.random.default_rng(0).normal(0, 0.05, (side, side)), 0, 1)


def save(values, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pgm":  # old releases of Pillow read 16 bits but do not write them
        path.write_bytes(f"P5 {values.shape[1]} {values.shape[0]} 65535\n".encode() + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)


DEPTHS = {
    "16-bit-png": (lambda x: (x * 65535).astype(np.uint16), "png"),
    "16-bit-tiff": (lambda x: (x * 65535).astype(np.uint16), "tif"),
    "16-bit-pgm": (lambda x: (x * 65535).astype(np.uint16), "pgm"),
    "float-tiff": (lambda x: x.astype(np.float32), "tif"),
    "8-bit-png": (lambda x: (x * 255).astype(np.uint8), "png"),
    "palette": (lambda x: np.asarray(Image.fromarray((x * 255).astype(np.uint8)).convert("P")), "gif"),
}


@pytest.mark.parametrize(("convert", "suffix"), DEPTHS.values(), ids=DEPTHS)
@pytest.mark.parametrize(("side", "size"), [(16, ""), (80, "@32")])
def test_images_of_any_depth_keep_their_levels(tmp_path, convert, suffix, side, size):
    for split in ("train", "val"):
        for name, level in (("dark", 0.25), ("light", 0.75)):
            save(convert(make_noise(level, side)), tmp_path / split / name / f"0.{suffix}")
    pixels = gl.load_data(f"folder:{tmp_path}{size}").train.sample().float()
    assert pixels.mean(dim=(1, 2, 3)).tolist() == pytest.approx([63.5, 191], abs=2)
    assert len(pixels.unique()) > 20


RANGES = {
    "12-bit-png": (lambda x: (x * 4095).astype(np.uint16), "png", "of 65535"),
    "float-255": (lambda x: (x * 255).astype(np.float32), "tif", "float pixels up to"),
    "float-normalised": (lambda x: (x - 0.5).astype(np.float32), "tif", "float pixels from -"),
    "float-nan": (lambda x: np.where(x > x.mean(), np.nan, x).astype(np.float32), "tif", "not finite"),
    "int32": (lambda x: (x * 1e6).astype(np.int32), "tif", "mode I"),
}


@pytest.mark.parametrize(("convert", "suffix", "message"), RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("side", [16, 80])
def test_images_of_unknown_range_are_refused(tmp_path, convert, suffix, message, side):
    for split in ("train", "val"):
        for name in ("dark", "light"):
            save(convert(make_noise(0.5, side)), tmp_path / split / name / f"0.{suffix}")
    with pytest.raises(DataError, match=message):
        _ = gl.load_data(f"folder:{tmp_path}").train


def test_grey_training_with_colour_validation_is_refused(tmp_path):
    fill(tmp_path, "train", mode="L")
    fill(tmp_path, "val")
    with pytest.raises(DataError, match=r"val/cat/0\.png has colours\. All training images are grey"):
        _ = gl.load_data(f"folder:{tmp_path}").val


@pytest.mark.parametrize("size", [(48, 32), (32, 48), (1, 64)])
def test_small_images_that_are_not_square_are_refused(tmp_path, size):
    fill(tmp_path, size=size)
    with pytest.raises(DataError, match=rf"{size[0]}x{size[1]} px.*@{max(size)}, which crops"):
        _ = gl.load_data(f"folder:{tmp_path}").train
    images = gl.load_data(f"folder:{tmp_path}@48").train
    assert images.sample().shape == (9, 3, 48, 48)


def test_validation_images_of_another_size_are_refused(tmp_path):
    fill(tmp_path, "train")
    fill(tmp_path, "val", size=(9, 9))
    with pytest.raises(DataError, match=r"val/cat/0\.png is 9x9 px and .*train/cat/0\.png 8x8"):
        _ = gl.load_data(f"folder:{tmp_path}").val


def test_small_validation_images_are_files_if_training_images_are(tmp_path):
    fill(tmp_path, "train", size=(80, 80))
    fill(tmp_path, "val")
    assert isinstance(gl.load_data(f"folder:{tmp_path}").val, ImageFiles)


def test_exif_rotation_is_applied(tmp_path):
    fill(tmp_path)
    image = Image.new("RGB", (8, 8))
    image.paste((200, 0, 0), (0, 0, 8, 1))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "train" / "cat" / "0.png", exif=exif)
    first = gl.load_data(f"folder:{tmp_path}").train.images[0, 0]
    assert first[:, 7].tolist() == [200] * 8
    assert first[:, :7].max() == 0


def test_image_with_an_odd_entry_in_its_exif_data_is_turned(tmp_path):
    # The orientation 6, behind a width that is a text: Pillow reads such data, but cannot write them.
    entries = struct.pack("<HHI4s", 0x0100, 2, 4, b"abc") + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0\0\0\0"
    for name, mode in (("photo.jpg", "RGB"), ("grey.jpg", "L"), ("drawing.png", "RGB")):
        Image.new(mode, (8, 4)).save(tmp_path / name, exif=exif)
        assert open_image(tmp_path / name).size == (4, 8)
    Image.new("RGB", (8, 4)).save(tmp_path / "damaged.png", exif=b"Exif\0\0no such data")
    assert open_image(tmp_path / "damaged.png").size == (8, 4)


def test_first_frame_of_an_animation_is_read(tmp_path, caplog):
    for split in ("train", "val"):
        for name, level in LEVELS.items():
            (tmp_path / split / name).mkdir(parents=True)
            frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (level, 250)]
            frames[0].save(tmp_path / split / name / "0.gif", save_all=True, append_images=frames[1:])
    assert read(tmp_path) == ["cat", "dog", "owl"]
    assert "several frames (3 of those looked at). The first one is read" in caplog.text


@pytest.mark.parametrize("name", ["photos@2", "a@b", "me@home@48", "@", "photos+digits", "my photos", "übung"])
def test_folder_of_any_name_is_read(tmp_path, name):
    fill(tmp_path / name)
    assert read(tmp_path / name) == ALL
    assert gl.load_data(f"folder:{tmp_path / name}@24").train.sample().shape == (9, 3, 24, 24)


def test_two_folders_that_differ_by_a_size_are_refused(tmp_path):
    fill(tmp_path / "photos")
    fill(tmp_path / "photos@24", size=(10, 10))
    with pytest.raises(DataError, match="part of the name or a size") as caught:
        gl.load_data(f"folder:{tmp_path}/photos@24")
    assert "photos@24/" in caught.value.fix
    assert gl.load_data(f"folder:{tmp_path}/photos@24/").train.side == 10
    assert gl.load_data(f"folder:{tmp_path}/photos/@24").train.sample().shape[-1] == 24


@pytest.mark.parametrize("side", ["0", "1025", "99999999"])
def test_size_out_of_range_is_refused(tmp_path, side):
    fill(tmp_path)
    with pytest.raises(DataError, match=f"images of {int(side)} px"):
        gl.load_data(f"folder:{tmp_path}@{side}")


def test_links_to_class_folders_are_followed_and_other_links_named(tmp_path, caplog):
    fill(tmp_path)
    (tmp_path / "train" / "owl").rename(tmp_path / "owls")
    (tmp_path / "train" / "owl").symlink_to(tmp_path / "owls")
    (tmp_path / "train" / "cat" / "more").symlink_to(tmp_path / "owls")
    assert read(tmp_path) == ALL
    assert "train/cat/more is a link to a folder, and is not followed" in caplog.text


def test_class_with_its_own_format_is_named(tmp_path, caplog):
    fill(tmp_path)
    for split in ("train", "val"):
        for path in (tmp_path / split / "owl").iterdir():
            path.rename(path.with_suffix(".jfif"))
    assert read(tmp_path) == ALL
    assert "a format of their own: 'owl' (.jfif). A network may learn the format" in caplog.text


def test_class_folders_that_differ_by_case_are_named(tmp_path, caplog):
    fill(tmp_path, classes=("Cat", "cat", "dog"))
    assert gl.load_data(f"folder:{tmp_path}").classes == ("Cat", "cat", "dog")
    assert "'Cat' and 'cat'" in caplog.text


def test_class_without_training_images_is_named(tmp_path, caplog):
    fill(tmp_path, ".", count=20)
    paint(tmp_path / "yak" / "8.png")
    data = gl.load_data(f"folder:{tmp_path}")
    assert ("yak" in caplog.text) == (3 not in data.train.labels.tolist())
    assert data.classes == ("cat", "dog", "owl", "yak")


def test_folder_without_permission_is_named(tmp_path, monkeypatch):
    fill(tmp_path)
    scan = os.scandir

    def refuse(path="."):
        # Root can read everything, so file permissions alone would test nothing.
        if str(path).endswith("cat"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cat.* cannot be read"):
        _ = gl.load_data(f"folder:{tmp_path}").train
