"""Paths that users give: special files, links, long names, outputs over inputs, and reads during a write."""

import os
import stat
import threading
import time
from pathlib import Path

import pytest
import torch

from germline.errors import ArtefactError, OutputError
from germline.files import (
    append_json,
    atomic_file,
    atomic_folder,
    read_json,
    read_metadata,
    read_tensors,
    write_json,
    write_tensors,
    write_text,
)
from germline.outputs import check_output_file, check_output_folder
from germline.paths import check_apart, list_input_paths, make_part_path, open_regular, read_limited, read_unchanged

LONGEST = "n" * 255


def fill(folder, text):
    with atomic_folder(folder) as fresh:
        (fresh / "file").write_text(text)


def write_file(path, text):
    with atomic_file(path) as fresh:
        fresh.write_text(text)


WRITERS = {
    "text": (write_text, Path.read_text),
    "json": (write_json, read_json),
    "file": (write_file, Path.read_text),
    "folder": (fill, lambda path: (path / "file").read_text()),
}
writers = pytest.mark.parametrize(("write", "read"), WRITERS.values(), ids=WRITERS)


# Special files.


def make_pipe(path):
    os.mkfifo(path)


def make_loop(path):
    path.symlink_to(path.name)


def make_dangling(path):
    path.symlink_to("nowhere")


def make_device(path):
    path.symlink_to("/dev/zero")


def make_null(path):
    path.symlink_to("/dev/null")


def make_folder(path):
    path.mkdir()


def make_missing(path):
    pass


def make_below_file(path):
    path.parent.rmdir()
    path.parent.write_text("a file")


SPECIAL = [
    make_pipe,
    make_loop,
    make_dangling,
    make_device,
    make_null,
    make_folder,
    make_missing,
    make_below_file,
]
READERS = [open_regular, read_json, read_tensors, read_metadata, lambda path: read_limited(path, 10)]


@pytest.mark.parametrize("read", READERS, ids=["open", "json", "tensors", "metadata", "limited"])
@pytest.mark.parametrize("make", SPECIAL)
def test_special_files_are_refused_by_name(tmp_path, make, read):
    path = tmp_path / "in" / "x"
    path.parent.mkdir()
    make(path)
    with pytest.raises(ArtefactError, match="Cannot read '") as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", [LONGEST + "n", "n" * 5000, "a\0b"])
@pytest.mark.parametrize("read", READERS, ids=["open", "json", "tensors", "metadata", "limited"])
def test_impossible_names_are_refused(tmp_path, read, name):
    with pytest.raises(ArtefactError, match="Cannot read '"):
        read(tmp_path / name)


@pytest.mark.parametrize(("size", "is_read"), [(0, True), (10, True), (11, False), (2**40, False)])
def test_file_above_the_limit_is_not_read(tmp_path, size, is_read):
    with (tmp_path / "x").open("wb") as stream:
        stream.truncate(size)
    if is_read:
        assert read_limited(tmp_path / "x", 10) == bytes(size)
    else:
        with pytest.raises(ArtefactError, match="is too large"):
            read_limited(tmp_path / "x", 10)


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        '{"a": -Infinity}',
        "[" * 100_000,
        '{"a":' * 50_000,
        "9" * 5000,
        "",
        "{",
        "[1,]",
        "'a'",
        "\ufeff1",
    ],
)
def test_invalid_json_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"x\.json' is not valid JSON"):
        read_json(tmp_path / "x.json")


# Links.


@writers
@pytest.mark.parametrize("kind", ["there", "dangling", "chain", "relative"])
def test_writing_a_link_writes_its_target(tmp_path, write, read, kind):
    target, link = tmp_path / "real" / "target", tmp_path / "links" / "out"
    link.parent.mkdir()
    link.symlink_to({"chain": tmp_path / "middle", "relative": "../real/target"}.get(kind, target))
    (tmp_path / "middle").symlink_to(target)
    if kind == "there":
        write(target, "old")
    write(link, "new")
    assert link.is_symlink()
    assert not target.is_symlink()
    assert read(target) == read(link) == "new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert [path.name for path in link.parent.iterdir()] == ["out"]


@writers
def test_link_to_itself_is_refused(tmp_path, write, read):
    make_loop(tmp_path / "out")
    with pytest.raises(OutputError, match="symbolic link to itself"):
        write(tmp_path / "out", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@writers
@pytest.mark.parametrize("is_link", [False, True])
def test_pipe_is_not_replaced(tmp_path, write, read, is_link):
    """The same rule protects devices; to replace one would damage the machine."""
    make_pipe(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for attempt in (write, append_json):
        with pytest.raises(OutputError, match="It is a pipe, not a file"):
            attempt(tmp_path / ("link" if is_link else "pipe"), "new")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_checks_follow_links(tmp_path, check):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("old")
    (tmp_path / "folder").symlink_to("full")
    (tmp_path / "file").symlink_to("full/file")
    (tmp_path / "new").symlink_to("full/new")
    make_loop(tmp_path / "loop")
    check(tmp_path / "new")
    for name in ("folder", "file", "loop"):
        with pytest.raises(OutputError):
            check(tmp_path / name)


@pytest.mark.parametrize("make", [make_pipe, make_device, make_null])
@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_special_files_as_outputs_are_refused(tmp_path, make, check):
    make(tmp_path / "out")
    with pytest.raises(OutputError):
        check(tmp_path / "out", overwrite=True)


# Long names.


@writers
@pytest.mark.parametrize("name", [LONGEST, "n" * 246, "ü" * 127, "é" * 100, ".n" * 127])
def test_the_longest_names_work(tmp_path, write, read, name):
    for text in ("old", "new"):
        write(tmp_path / name, text)
    assert read(tmp_path / name) == "new"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@writers
@pytest.mark.parametrize("name", [LONGEST + "n", "ü" * 128, "n" * 5000])
def test_longer_names_are_refused_in_one_message(tmp_path, write, read, name):
    with pytest.raises(OutputError, match="is too long; the limit is 255") as caught:
        write(tmp_path / name, "new")
    assert "Choose a shorter name" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_checks_refuse_longer_names(tmp_path, check):
    check(tmp_path / LONGEST)
    with pytest.raises(OutputError, match="Choose a shorter name"):
        check(tmp_path / (LONGEST + "n"))


@pytest.mark.parametrize("name", ["x", LONGEST, "ü" * 127])
def test_temporary_files_have_short_names(name):
    one, other = make_part_path(Path("a") / name), make_part_path(Path("a") / name)
    assert one != other
    assert one.suffix == ".part"
    assert len(os.fsencode(one.name)) <= 255


# Permissions.


@pytest.fixture
def set_umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
def test_all_files_have_the_permissions_of_the_umask(tmp_path, set_umask, umask, file, folder):
    set_umask(umask)
    with atomic_folder(tmp_path / "made") as fresh:
        write_tensors(fresh / "x.safetensors", {"a": torch.zeros(2)})
        write_json(fresh / "x.json", 1)
        (fresh / "below").mkdir(mode=0o700)
        (fresh / "below" / "x").touch(mode=0o600)
    with atomic_file(tmp_path / "made" / "one") as fresh:
        fresh.touch(mode=0o600)
    write_text(tmp_path / "made" / "text", "x")
    append_json(tmp_path / "made" / "log", 1)
    for path in (tmp_path / "made", *(tmp_path / "made").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file), path


# Readers during a write.


def test_reader_sees_one_complete_folder_during_overwrites(tmp_path):
    """A writer replaces the folder again and again. Every read finds two files of the same write."""

    def write(number):
        with atomic_folder(tmp_path / "out") as fresh:
            (fresh / "a").write_text(str(number))
            (fresh / "b").write_text(str(number))

    def read(folder):
        return (folder / "a").read_text(), (folder / "b").read_text()

    write(0)
    stop = threading.Event()

    def keep_writing():
        number = 1
        while not stop.is_set():
            write(number)
            number += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()
    seen, end = [], time.monotonic() + 60
    try:
        # A busy machine may run the reader alone for a while.
        while len(seen) < 300 or (len(set(seen)) < 2 and time.monotonic() < end):
            seen.append(read_unchanged(tmp_path / "out", read))
    finally:
        stop.set()
        writer.join()
    assert all(one == other for one, other in seen)
    assert len(set(seen)) > 1


def test_reader_repeats_when_its_folder_is_replaced(tmp_path):
    fill(tmp_path / "out", "old")
    calls = []

    def read(folder):
        calls.append(1)
        text = (folder / "file").read_text()
        if len(calls) == 1:
            fill(folder, "new")
        return text

    assert read_unchanged(tmp_path / "out", read) == "new"
    assert len(calls) == 2


def test_damaged_folder_is_read_once(tmp_path):
    fill(tmp_path / "out", "old")
    calls = []

    def read(folder):
        calls.append(1)
        raise ArtefactError("damaged")

    with pytest.raises(ArtefactError, match="Damaged"):
        read_unchanged(tmp_path / "out", read)
    assert len(calls) == 1


# Outputs over inputs.


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    (tmp_path / "above" / "gene").mkdir(parents=True)
    (tmp_path / "above" / "gene" / "tensors").touch()
    (tmp_path / "r.yaml").touch()
    (tmp_path / "link").symlink_to("above/gene")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "out",
    ["above/gene", "above/gene/", "./above/../above/gene", "link", "above/gene/out", "link/deep/out", "above"],
)
@pytest.mark.parametrize("given", ["above/gene", "link", "local-dir:above/gene"])
def test_output_at_in_or_above_an_input_is_refused(inputs, out, given):
    with pytest.raises(OutputError, match="an input of this command"):
        check_output_folder(Path(out), overwrite=True, inputs=list_input_paths(given))


@pytest.mark.parametrize("out", ["out", "above/out", "above/gene2", "link2", "above/gen"])
def test_output_beside_an_input_is_allowed(inputs, out):
    check_output_folder(Path(out), overwrite=True, inputs=["above/gene", "r.yaml", "nowhere", "n" * 5000, "a\0b"])


@pytest.mark.parametrize(
    ("out", "is_refused"), [("r.yaml", True), ("above/gene/tensors", True), ("above/gene/new", False), ("new", False)]
)
def test_output_file_may_be_in_an_input_but_not_replace_its_files(inputs, out, is_refused):
    def check():
        check_output_file(Path(out), overwrite=True, inputs=["above/gene", "r.yaml"])

    if is_refused:
        with pytest.raises(OutputError, match="an input of this command"):
            check()
    else:
        check()


def test_recipe_in_a_resumed_folder_is_allowed(inputs):
    check_apart(Path("above"), ["above/gene/tensors"], overwrite=False)
    with pytest.raises(OutputError, match="would be removed"):
        check_apart(Path("above"), ["above/gene/tensors"], overwrite=True)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a", ["a"]),
        ("local-dir:a", ["a"]),
        ("timm:a", []),
        ("hf-hub:a/b", []),
        (None, []),
        (Path("a"), ["a"]),
        ({"data": "digits"}, []),
        ({"data": "folder:a"}, ["a", "a"]),
        ({"data": "folder:a@64"}, ["a", "a"]),
        ({"final_data": "folder:a"}, ["a", "a"]),
        ({"final_data": "cifar-fs/novel"}, []),
        ({"data": ["digits", "held_out=folder:a"]}, ["a", "a"]),
        ({"ancestor": {"path": "a", "data": "b"}}, ["a"]),
        ({"arms": {"x": {"settings": {"gene": "g", "steps": 3}}}}, ["g"]),
        ({"title": "a", "minutes": 3}, []),
    ],
)
def test_input_paths_are_found(value, found):
    assert list_input_paths(value) == found
