"""Files are written completely or not at all, and damaged or dangerous files are refused."""

import ctypes
import json
import os
import pickle
import resource
from pathlib import Path

import pytest
import torch

from germline.errors import ArtefactError, OutputError
from germline.files import (
    append_json,
    atomic_file,
    atomic_folder,
    hash_tensor,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
    write_text,
)
from germline.outputs import check_output_file, check_output_folder, check_replaceable

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int64)}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(folder, text):
    with atomic_folder(folder) as fresh:
        (fresh / "file").write_text(text)


def test_atomic_folder_replaces_the_old_one(tmp_path):
    fill(tmp_path / "deep" / "out", "old")
    (tmp_path / "deep" / "out" / "stale").touch()
    fill(tmp_path / "deep" / "out", "new")
    assert contents(tmp_path) == {"deep/out/file": b"new"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_exception_keeps_the_old_folder_and_leaves_no_part(tmp_path):
    fill(tmp_path / "out", "old")

    def crash():
        with atomic_folder(tmp_path / "out") as fresh:
            (fresh / "file").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert contents(tmp_path) == {"out/file": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_full_disk_keeps_the_old_folder_and_leaves_no_part(tmp_path):
    fill(tmp_path / "out", "old")
    with pytest.raises(OutputError, match="No space left on device"), atomic_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert contents(tmp_path) == {"out/file": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.fixture
def no_swap(monkeypatch):
    """A system that cannot swap two folders at once."""
    monkeypatch.setattr("germline.files.ctypes.CDLL", lambda *_, **__: object())


def test_folder_is_replaced_without_swap(tmp_path, no_swap):
    fill(tmp_path / "out", "old")
    fill(tmp_path / "out", "new")
    assert contents(tmp_path) == {"out/file": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_swap_never_leaves_the_folder_missing(tmp_path, monkeypatch):
    places = [tmp_path / name for name in ("out", "a", "b")]
    for place in places:
        fill(place, place.name)
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    can_swap = swap is not None and swap(-100, bytes(places[1]), -100, bytes(places[2]), 2) == 0
    assert (places[1] / "file").read_text() == ("b" if can_swap else "a")
    rename, renamed = Path.rename, []

    def record_rename(self, target):
        renamed.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", record_rename)
    fill(tmp_path / "out", "new")
    assert bool(renamed) is not can_swap
    assert (tmp_path / "out" / "file").read_text() == "new"


def test_failed_rename_restores_the_old_folder(tmp_path, monkeypatch, no_swap):
    fill(tmp_path / "out", "old")
    rename = Path.rename

    def refuse(self, target):
        if self.suffix == ".part":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="Input/output error"):
        fill(tmp_path / "out", "new")
    assert contents(tmp_path) == {"out/file": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write"):
        check_output_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="Cannot write"):
        fill(tmp_path / "file" / "out", "x")


def test_output_folder_needs_overwrite(tmp_path):
    fill(tmp_path / "out", "old")
    with pytest.raises(OutputError, match="is not empty"):
        check_output_folder(tmp_path / "out")
    check_output_folder(tmp_path / "out", overwrite=True)
    check_output_folder(tmp_path / "out", resume=True)
    (tmp_path / "empty").mkdir()
    check_output_folder(tmp_path / "empty")
    check_output_folder(tmp_path / "not" / "yet" / "there")
    assert not (tmp_path / "not").exists()
    with pytest.raises(OutputError, match="is a file"):
        check_output_folder(tmp_path / "out" / "file", overwrite=True)


def test_working_folder_and_its_parents_are_not_overwritten(tmp_path, monkeypatch):
    fill(tmp_path / "out" / "below", "old")
    monkeypatch.chdir(tmp_path / "out" / "below")
    for place in (tmp_path / "out" / "below", tmp_path / "out", Path.home()):
        with pytest.raises(OutputError, match="is not overwritten"):
            check_output_folder(place, overwrite=True)
    assert (tmp_path / "out" / "below" / "file").read_text() == "old"


def test_folder_that_cannot_be_replaced_is_refused(tmp_path, monkeypatch):
    for name in ("volume", "plain"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    with pytest.raises(OutputError, match="Cannot write"):
        fill(Path(), "x")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "volume")
    places = {".": "no name", "..": "no name", "/": "no name", str(tmp_path / "volume"): "mount point"}
    for place, reason in places.items():
        with pytest.raises(OutputError, match=reason):
            check_replaceable(Path(place))
    for name in ("plain", "new", "volume/new"):
        check_replaceable(tmp_path / name)


def test_text_is_written_completely_or_not_at_all(tmp_path, monkeypatch):
    write_text(tmp_path / "a" / "x.txt", "old")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"x\.txt'. No space left"):
        write_text(tmp_path / "a" / "x.txt", "new")
    assert contents(tmp_path) == {"a/x.txt": b"old"}


@pytest.fixture
def limit_file_size():
    """Function that limits the size of files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 9])
def test_line_that_does_not_fit_leaves_the_log_unchanged(tmp_path, limit_file_size, room):
    """Without room the system refuses the write; with little room it writes a part of the line."""
    log = tmp_path / "log"
    append_json(log, {"run": "ä"})
    before = log.read_bytes()
    limit_file_size(len(before) + room)
    with pytest.raises(OutputError, match=r"^Cannot write '\S+log'\. (File too large|No space left)[^.]*\. Choose"):
        append_json(log, {"run": "second"})
    assert contents(tmp_path) == {"log": before}
    limit_file_size(10_000)
    append_json(log, {"run": "third"})
    assert [json.loads(line) for line in log.read_text().splitlines()] == [{"run": "ä"}, {"run": "third"}]


def test_unwritable_log_is_refused(tmp_path, monkeypatch):
    (tmp_path / "log").write_text("1\n")
    for place in (tmp_path, tmp_path / "log" / "under"):
        with pytest.raises(OutputError, match="Cannot write"):
            append_json(place, 2)
    open_file = os.open

    def refuse(path, *rest):
        if Path(path) == tmp_path / "log":
            raise PermissionError(13, "Permission denied")
        return open_file(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match=r"Cannot write '\S+log'\. Permission denied\. Choose another folder"):
        append_json(tmp_path / "log", 2)
    assert contents(tmp_path) == {"log": b"1\n"}


def test_json_round_trip_and_invalid_json(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, "ä"]})
    assert read_json(tmp_path / "x.json") == {"a": [1, "ä"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert read_json(tmp_path / "x.json") == {"a": [1, "ä"]}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"bad\.json' is not valid JSON"):
        read_json(tmp_path / "bad.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ArtefactError, match=r"bytes\.json' is not valid JSON"):
        read_json(tmp_path / "bytes.json")
    with pytest.raises(ArtefactError, match=r"Cannot read '.*gone\.json'"):
        read_json(tmp_path / "gone.json")


def test_tensors_round_trip_bitwise_for_any_layout(tmp_path):
    tensors = {**TENSORS, "t": TENSORS["a"].t(), "h": torch.rand(3).to(torch.bfloat16), "scalar": torch.tensor(2.5)}
    write_tensors(tmp_path / "x.safetensors", tensors)
    found = read_tensors(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in tensors.items())


def test_tensors_are_on_disk_before_they_get_their_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    write_tensors(tmp_path / "t.safetensors", TENSORS)
    assert (tmp_path / "t.safetensors").stat().st_ino in synced


def test_tensor_hash_covers_bytes_in_row_order():
    assert hash_tensor(torch.zeros(4)) == "374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb"
    square = torch.arange(9.0).reshape(3, 3)
    assert hash_tensor(square.t()) == hash_tensor(square.t().contiguous()) != hash_tensor(square)


def test_pickle_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / "plain.safetensors").write_bytes(pickle.dumps(Trap()))
    torch.save({"a": Trap()}, tmp_path / "zip.safetensors")
    for name in ("plain", "zip"):
        with pytest.raises(ArtefactError, match=rf"{name}\.safetensors' is a pickle"):
            read_tensors(tmp_path / f"{name}.safetensors")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("first", [b"\x80", b"PK"])
def test_header_length_with_the_first_bytes_of_a_pickle_is_read(tmp_path, first):
    path = tmp_path / "x.safetensors"
    length = {b"\x80": 0x280, b"PK": 0x4B50}[first]  # the first bytes of the file are the header's length
    tensor = torch.arange(4.0)
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).ljust(length).encode()
    path.write_bytes(length.to_bytes(8, "little") + header + tensor.numpy().tobytes())
    assert path.read_bytes().startswith(first)
    assert torch.equal(read_tensors(path)["a"], tensor)


def test_damaged_and_missing_files_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    for text in (b"", b"abc", b"not safetensors at all"):
        path.write_bytes(text)
        with pytest.raises(ArtefactError, match=r"x\.safetensors' is damaged or not safetensors"):
            read_tensors(path)
    with pytest.raises(ArtefactError, match=r"Cannot read '.*gone\.safetensors'"):
        read_tensors(tmp_path / "gone.safetensors")


def test_file_is_written_completely_or_not_at_all(tmp_path):
    place = tmp_path / "deep" / "net.bin"
    for text in ("old", "new"):
        with atomic_file(place) as fresh:
            assert fresh.name == "net.bin"
            fresh.write_text(text)

    def crash():
        with atomic_file(place) as fresh:
            fresh.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert contents(tmp_path) == {"deep/net.bin": b"new"}
    assert [path.name for path in place.parent.iterdir()] == ["net.bin"]
    with pytest.raises(OutputError, match="Cannot write"), atomic_file(place / "under"):
        pass


def test_unwritable_output_file_is_refused_before_work(tmp_path):
    check_output_file(tmp_path / "new" / "net.bin")
    assert not (tmp_path / "new").exists()
    (tmp_path / "net.bin").touch()
    with pytest.raises(OutputError, match="exists already"):
        check_output_file(tmp_path / "net.bin")
    check_output_file(tmp_path / "net.bin", overwrite=True)
    with pytest.raises(OutputError, match="is a folder"):
        check_output_file(tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="Cannot write"):
        check_output_file(tmp_path / "net.bin" / "under")


def test_mapped_tensors_can_be_written_to_their_own_file(tmp_path):
    path, tensors = tmp_path / "x.safetensors", {"a": torch.arange(5000.0), "b": torch.ones(3, dtype=torch.int64)}
    write_tensors(path, tensors)
    before = path.read_bytes()
    write_tensors(path, read_tensors(path))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
