"""The command line: one file per command. Only commands that need torch import it."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

import germline
from germline.cli import (
    check,
    compare,
    condense,
    demo,
    evaluate,
    export,
    inherit,
    inspect,
    listing,
    predict,
    push,
    train,
)
from germline.errors import GermlineError

INTERRUPTED, TERMINATED = 130, 143
_RESUME = "Run the same command with --resume to continue."
_INTERRUPTION = f"Interrupted. {_RESUME}"
app = typer.Typer(
    name="germline",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Condense a trained network into a small learngene. Build networks of many sizes from it.",
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"germline {germline.__version__}")
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Read the options before a command."""


for _module in (demo, train, condense, inherit, inspect, evaluate, predict, export, push, compare, check, listing):
    _module.register(app)


def main() -> None:
    """Run a command. Exit codes: 0 done, 2 bad input, 3 training failed, 130 interrupted, 143 terminated."""
    # Waiting threads that spin slow down everything else on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _print_all_characters()
    with _note_signals() as signals:
        try:
            message, code = _run()
        except Exception:
            if not signals:
                raise
    if signals:
        # Whatever the interruption became on its way here, the first signal is the reason.
        is_end = signals[0] == signal.SIGTERM
        message, code = (f"Terminated. {_RESUME}", TERMINATED) if is_end else (_INTERRUPTION, INTERRUPTED)
    if message:
        print(f"germline: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _print_all_characters() -> None:
    """Print names of files and classes to terminals and pipes whose encoding lacks their characters."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        is_utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def _run() -> tuple[str, int]:
    """Run the command line; return the message for the user, if there is one, and the exit code."""
    try:
        code = app(standalone_mode=False)
    except GermlineError as error:
        return str(error), error.exit_code
    except typer.Exit as stop:
        code = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except OSError as error:
        # A file error that no other code has turned into a GermlineError.
        return f"Cannot use '{error.filename or 'a file'}'. {error.strerror or error}.", 2
    except Exception as error:
        message, code = _known(error)
        if not message:
            raise
        return message, code
    # At Ctrl-C, older versions of typer raise Abort and newer ones return this code.
    if code == INTERRUPTED:
        return _INTERRUPTION, INTERRUPTED
    return "", code if isinstance(code, int) else 0


@contextmanager
def _note_signals() -> Iterator[list[int]]:
    """Make SIGTERM, which cluster managers send, stop a command as Ctrl-C does; list the signals that came.

    Imports of other packages may turn the interruption into another error, so Ctrl-C is noted too.
    """
    signals: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        # A second signal while files are cleaned up would leave some. A second Ctrl-C is meant.
        if number == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    takes_keys = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if takes_keys:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield signals
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if takes_keys:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _known(error: Exception) -> tuple[str, int]:
    """Message and exit code of an error from outside germline that needs no traceback; an empty message otherwise."""
    # typer's usage errors are click's, which typer may bundle: recognise them by their method.
    if hasattr(error, "format_message"):
        if type(error).__name__ == "NoArgsIsHelpError":
            return "No command was given. See germline --help.", 2
        context = getattr(error, "ctx", None)
        name = f" {context.command.name}" if context is not None and context.parent is not None else ""
        return f"{error.format_message().rstrip('.')}. See germline{name} --help.".replace("?.", "?"), 2
    # torch's error has the same name. Importing torch here to compare types would take seconds.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"Out of memory. {error}. Use a smaller batch_size, or --set accumulate=4.", 3
    return "", 1
