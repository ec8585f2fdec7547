"""A folder or a gene is loaded from its own files only: no connection, no other file, no other process."""

import socket
from pathlib import Path

import pytest

import golden_cases as cases
from helpers.processes import code, finish

# Loads each folder named on the command line, and lists the files, connections and processes that Python opens.
PROGRAM = """
import sys
from pathlib import Path
import germline as gl
from germline.loading import load_network

kind, warm, *folders = sys.argv[1:]
load = {"gene": lambda f: gl.Learngene.load(f).inherit(classes=3), "model": load_network}[kind]
for folder in warm.split(","):  # imports what loading needs
    load(folder)
events = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        events.append(f"open {arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()}")
    elif event.startswith(("socket.", "urllib", "http", "ftplib", "subprocess", "os.exec", "os.posix_spawn", "os.fork",
                           "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.system")):
        events.append(event)
sys.addaudithook(watch)
for folder in folders:
    events.append(f"load {folder}")
    load(folder)
print("\\n".join(events))
"""
GENES = [name for name in cases.FULL_ARCHITECTURE if name not in (*cases.WITHOUT_GENE, "stored")]


def list_events(kind, folders):
    """Return the events of loading the folders, without Python's modules and caches."""
    done = finish(code(PROGRAM, kind, ",".join(folders), *folders), cases.GOLDEN)
    assert done.returncode == 0, done.stderr
    events = done.stdout.splitlines()
    return [event for event in events if not event.endswith((".py", ".pyc"))]


@pytest.mark.parametrize(
    ("kind", "folders"), [("gene", [f"genes/{name}" for name in GENES]), ("model", cases.model_folders())]
)
def test_loading_opens_only_the_folder_s_own_files(kind, folders):
    events = list_events(kind, folders)
    assert [event for event in events if event.startswith("load ")] == [f"load {folder}" for folder in folders]
    folder = ""
    for event in events:
        what, _, place = event.partition(" ")
        if what == "load":
            folder = place
        else:
            assert what == "open", event
            assert Path(place).parent == Path(folder), event


def test_events_include_other_files_and_sockets(tmp_path):
    (tmp_path / "stolen").write_text("x")
    program = PROGRAM.replace(
        "    load(folder)\n", f"    open({str(tmp_path / 'stolen')!r}); import socket; socket.socket()\n"
    )
    done = finish(code(program, "model", "models/vit", "models/vit"), cases.GOLDEN)
    assert f"open {tmp_path / 'stolen'}" in done.stdout
    assert "socket.__new__" in done.stdout


@pytest.mark.parametrize("folder", cases.model_folders())
def test_loading_needs_no_socket(folder, monkeypatch):
    from germline.loading import load_network

    def refuse(*_, **__):
        raise AssertionError("loading opened a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load_network(cases.GOLDEN / folder).classes
