"""Put tables from kept results into README and docs.

A page asks for a table by a comment and gets it right below, in place of the lines of the table that stood there:

    <!-- results: tleg-samples claims_table scratch|layers -->

names a file of `benchmarks/results`, a function of `germline.compare.report.tables` or
`germline.compare.report.gene_records` (of another module of `germline.compare` with its name before it,
`analysis.selection_regret.table`), and a pattern that rows must match (all rows where it is left out).

    python tools/quote_results.py            # write them
    python tools/quote_results.py --check    # say which pages would change
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
from pathlib import Path
from typing import Any

from germline.compare.analysis.results import Summary
from germline.compare.report import gene_records as records
from germline.compare.report import tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ASKED = re.compile(r"(<!-- results: (\S+) ([\w.]+)(?: (.+?))? -->\n)((?:\|.*\n)*)")


def quoted(page: str) -> str:
    """The page with every table that it asks for as the results have it."""
    return ASKED.sub(lambda found: found[1] + table(found[2], found[3], found[4] or ""), page)


def table(name: str, function: str, pattern: str) -> str:
    """One table of one kept comparison as Markdown."""
    kept = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    head, *rows = _found(function)(Summary(kept))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(
        [
            "| " + " | ".join(head) + " |",
            "|" + "---|" * len(head),
            *(line for line in lines if re.search(pattern, line)),
            "",
        ]
    )


def _found(function: str) -> Any:
    module, _, name = function.rpartition(".")
    if module:
        return getattr(importlib.import_module(f"germline.compare.{module}"), name)
    return getattr(tables, name, getattr(records, name, None))


def main() -> int:
    """Write the pages, or say which would change."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check, changed = parser.parse_args().check, []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if quoted(text) != text:
            changed.append(path.name)
            if not check:
                path.write_text(quoted(text), encoding="utf-8")
    print("changed: " + (", ".join(changed) or "none"))
    return int(check and bool(changed))


if __name__ == "__main__":
    raise SystemExit(main())
