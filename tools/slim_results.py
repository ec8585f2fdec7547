"""Make the files in benchmarks/results small without changing any table, claim or report section.

    python tools/slim_results.py            # all files
    python tools/slim_results.py FILE ...

- Losses of learning curves are dropped. Accuracies of all steps stay.
- Gradient heat of a gene is averaged over the epochs of each task.
- Reports draw the gene tree, the history of matching weights and the detection curve of an arm's first seed only. Those
  of other seeds are dropped, except for the gene trees in the files of `WHOLE_TREES`.
- Curves and records of genes are rounded to six significant digits. JSON is written without spaces.

Final accuracies, seeds, settings, tuning, costs, versions and commands do not change. A second run changes nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from germline.files import write_text
from germline.seals import hash_json

ROOT = Path(__file__).resolve().parents[1]
ROUNDED = frozenset({"curve", "record", "losses"})
DIGITS = 6
# The only comparison of evolutions with and without selection and mutation, so all its trees stay for later analysis.
WHOLE_TREES = frozenset({"lab/gtl-no-mutation"})


def slim(results: dict[str, Any]) -> Any:
    """Return the content of a results file without what nothing reads."""
    for cell in results.get("cells", ()):
        for point in cell["curve"]:
            point.pop("loss", None)
    arms = set()
    for gene in results.get("genes", ()):
        is_first = gene["arm"] not in arms
        arms.add(gene["arm"])
        _drop_from_record(gene.get("record", {}), is_first, results["name"] in WHOLE_TREES)
    return round_numbers(results)


def _drop_from_record(record: dict[str, Any], is_first: bool, has_whole_trees: bool) -> None:
    collective = record.get("collective")
    if collective:
        collective["heat"] = [[[fmean(unit) for unit in zip(*task, strict=True)]] for task in collective["heat"]]
    if is_first:
        return
    if not has_whole_trees:
        record.pop("gene_tree", None)
    if "layers" in record:
        record["layers"]["history"] = []
    if collective and collective["detection"]:
        collective["detection"]["curve"] = []


def round_numbers(value: Any, *, rounded: bool = False) -> Any:
    """Return a JSON value with the numbers below the keys of `ROUNDED` rounded."""
    if isinstance(value, dict):
        return {key: round_numbers(item, rounded=rounded or key in ROUNDED) for key, item in value.items()}
    if isinstance(value, list):
        return [round_numbers(item, rounded=rounded) for item in value]
    return float(f"{value:.{DIGITS}g}") if rounded and isinstance(value, float) else value


def main() -> int:
    """Rewrite the files and print the bytes before and after."""
    parser = argparse.ArgumentParser(description="Make result files small.")
    parser.add_argument("files", nargs="*", type=Path, help="Result files; default: all.")
    paths = parser.parse_args().files or sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    before = sum(path.stat().st_size for path in paths)
    for path in paths:
        content = slim(json.loads(path.read_text(encoding="utf-8")))
        if "sha256" in content:
            content["sha256"] = hash_json({key: value for key, value in content.items() if key != "sha256"})
        write_text(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{before:,} bytes before, {sum(path.stat().st_size for path in paths):,} after")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
