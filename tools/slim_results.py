"""Make the files in benchmarks/results small without changing any table, claim or report section.

    python tools/slim_results.py            # all files
    python tools/slim_results.py FILE ...

Curves and records of genes are rounded to six significant digits. JSON is written without spaces. Final accuracies,
seeds, settings, costs, versions and commands do not change. A second run changes nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from germline.files import write_text

ROOT = Path(__file__).resolve().parents[1]
ROUNDED = frozenset({"curve", "record", "losses"})
DIGITS = 6


def slim(value: Any, *, rounded: bool = False) -> Any:
    """Return a JSON value with the numbers below the keys of `ROUNDED` rounded."""
    if isinstance(value, dict):
        return {key: slim(item, rounded=rounded or key in ROUNDED) for key, item in value.items()}
    if isinstance(value, list):
        return [slim(item, rounded=rounded) for item in value]
    return float(f"{value:.{DIGITS}g}") if rounded and isinstance(value, float) else value


def main() -> int:
    """Rewrite the files and print the bytes before and after."""
    paths = [Path(name) for name in sys.argv[1:]] or sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    before = sum(path.stat().st_size for path in paths)
    for path in paths:
        content = slim(json.loads(path.read_text(encoding="utf-8")))
        write_text(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{before:,} bytes before, {sum(path.stat().st_size for path in paths):,} after")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
