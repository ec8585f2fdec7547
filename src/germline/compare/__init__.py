"""Comparisons of methods with controls: recipes, runs, statistics and one report.

The names below are imported when they are first used, so that recipes can be listed without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from germline.compare.report.gene_records import write_gene_report
    from germline.compare.report.report import write_report, write_results_page
    from germline.compare.run.runner import Comparison

_HOME = {
    "Comparison": "run.runner",
    "write_gene_report": "report.gene_records",
    "write_report": "report.report",
    "write_results_page": "report.report",
}

__all__ = ["Comparison", "write_gene_report", "write_report", "write_results_page"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'germline.compare' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"germline.compare.{_HOME[name]}"), name)
    globals()[name] = value
    return value
