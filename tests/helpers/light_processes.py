"""Commands in processes without torch. Each is a copy of a process that has imported the command line only."""

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass

# A copy of this process runs each command, and records which slow packages the command imported.
PROGRAM = """
import importlib.abc, json, os, sys, traceback
import rich.console, typer, yaml
from germline.cli import main
SLOW = ("torch", "timm", "numpy", "safetensors")
assert not set(SLOW) & set(sys.modules)

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "timm.models", "numpy"):
            raise ImportError(name)

def run(case):
    os.chdir(case["place"])
    for number in (1, 2):
        os.dup2(os.open(case["streams"][number - 1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if case["is_blocked"]:
        sys.meta_path.insert(0, Blocker())
    sys.argv = ["germline", *case["words"]]
    code = 1
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with open(case["streams"][2], "w") as file:
        json.dump([name for name in SLOW if name in sys.modules], file)
    os._exit(code)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(json.loads(line))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """Exit code, both streams, and the slow packages that were imported."""

    returncode: int
    stdout: str
    stderr: str
    slow: list[str]


class LightServer:
    """Runs commands one after another, each in its own process."""

    def __init__(self, folder):
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *words, place, is_blocked=False):
        """Run `germline WORDS`; a blocked process cannot import torch."""
        streams = [self._folder / name for name in ("out", "err", "slow")]
        case = {"words": words, "place": str(place), "is_blocked": is_blocked, "streams": list(map(str, streams))}
        print(json.dumps(case), file=self._process.stdin, flush=True)
        code = int(self._process.stdout.readline())
        out, err, slow = (path.read_text() for path in streams)
        return Ended(code, out, err, json.loads(slow))

    def close(self):
        """End the process from which the others are copied."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=60)
