"""The command line: one file a verb, thin; torch is imported by the verbs that need it, and not before."""

from __future__ import annotations

import sys

import typer

from germline.cli import compare, condense, demo, inherit, inspect, listing, train
from germline.errors import GermlineError

app = typer.Typer(
    name="germline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Condense a trained network into a small learngene; let networks of many sizes inherit it.",
)
for _module in (demo, train, condense, inherit, inspect, compare, listing):
    _module.add(app)


def main() -> None:
    """Run a command. Exit codes: 0 done, 2 bad input, 3 training failed, 130 interrupted."""
    try:
        code = app(standalone_mode=False)
    except GermlineError as error:
        print(f"germline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        print("germline: interrupted; the same command with --resume goes on", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # typer's own usage errors live under click, which it may carry within itself: known by what they can do.
        if not hasattr(error, "format_message"):
            raise
        print(f"germline: {error.format_message()} See germline --help.", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
