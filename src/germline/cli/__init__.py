"""The command line: one file a verb, thin; torch is imported by the verbs that need it, and not before."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from germline.cli import compare, condense, demo, export, inherit, inspect, listing, train
from germline.errors import GermlineError

INTERRUPTED = 130
app = typer.Typer(
    name="germline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Condense a trained network into a small learngene; let networks of many sizes inherit it.",
)
for _module in (demo, train, condense, inherit, inspect, export, compare, listing):
    _module.add(app)


def main() -> None:
    """Run a command. Exit codes: 0 done, 2 bad input, 3 training failed, 130 interrupted."""
    # Threads that spin while they wait make everything crawl on a machine that is busy with something else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(standalone_mode=False)
    except GermlineError as error:
        _stop(str(error), error.exit_code)
    except typer.Exit as stop:
        code = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except OSError as error:
        # Of a file that nobody looked after on the way.
        _stop(f"cannot use '{error.filename or 'a file'}'. {error.strerror or error}.", 2)
    except Exception as error:
        message, code = _known(error)
        if not message:
            raise
        _stop(message, code)
    # Older typers raise Abort at Ctrl-C, newer ones give this code.
    if code == INTERRUPTED:
        _stop("interrupted; the same command with --resume goes on", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> NoReturn:
    print(f"germline: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _known(error: Exception) -> tuple[str, int]:
    """Message and exit code of an error that is not ours but needs no traceback; empty for all others."""
    # typer's own usage errors live under click, which it may carry within itself: known by what they can do.
    if hasattr(error, "format_message"):
        if type(error).__name__ == "NoArgsIsHelpError":
            return "no command given. See germline --help.", 2
        return f"{error.format_message().rstrip('.')}. See germline --help.".replace("?.", "?"), 2
    # torch's error has this name too; importing torch here to ask for its type would cost seconds.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory. {error}. Choose a smaller batch_size, or accumulate=4 parts of it.", 3
    return "", 1
