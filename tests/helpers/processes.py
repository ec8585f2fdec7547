"""Real processes of the command line. They are copies of a process that has imported torch, so they start fast."""

import os
import resource
import runpy
import signal
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from germline.compare.run.executor import _process_context


@dataclass(frozen=True)
class Ended:
    """Exit code of a process (minus the signal that killed it) and both streams."""

    returncode: int
    stdout: str
    stderr: str


class Running:
    """A process, and the files that it prints to."""

    def __init__(self, target, place, paths=(), limit=None):
        # The files are outside of the working folder, because tests compare its content.
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [Path(self._folder.name) / name for name in ("out", "err")]
        given = (target, str(place), [str(path) for path in paths], [str(path) for path in self._streams], limit)
        self._process = _process_context().Process(target=_run, args=given)
        self._process.start()
        self.pid = self._process.pid

    @property
    def is_running(self):
        return self._process.is_alive()

    def kill(self, sent):
        os.kill(self.pid, sent)

    def wait(self, seconds=300):
        self._process.join(seconds)
        if self._process.is_alive():
            os.killpg(self.pid, signal.SIGKILL)
            raise TimeoutError(f"no end after {seconds} s")
        out, err = (path.read_text() for path in self._streams)
        return Ended(self._process.exitcode, out, err)

    def wait_for(self, condition, seconds=300):
        """Wait until a condition holds while the process runs."""
        deadline = time.monotonic() + seconds
        while not condition() and self.is_running and time.monotonic() < deadline:
            time.sleep(0.002)
        if not condition():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(self.wait())


@contextmanager
def started(target, place, **more):
    """Start a process, which is killed with its children if the test fails."""
    process = Running(target, place, **more)
    try:
        yield process
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise


def command(*words):
    """Target that runs `germline WORDS`."""
    return "germline", [str(word) for word in words]


def module(name, *words):
    """Target that runs `python -m NAME WORDS`."""
    return "module", [name, *map(str, words)]


def script(path, *words):
    """Target that runs `python PATH WORDS`."""
    return "script", [str(path), *map(str, words)]


def code(text, *words):
    """Target that runs `python -c TEXT WORDS`."""
    return "code", [text, *map(str, words)]


def finish(target, place, **more):
    """Run a process to its end."""
    with started(target, place, **more) as process:
        return process.wait()


def _run(target, place, paths, streams, limit):
    kind, words = target
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(place)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    sys.path[:0] = paths
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if kind == "germline":
        from germline.cli import main

        sys.argv = ["germline", *words]
        main()
    elif kind == "module":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "script":
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
    else:
        sys.argv = ["-c", *words[1:]]
        exec(words[0], {"__name__": "__main__"})
