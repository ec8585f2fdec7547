"""Comparisons of methods with controls: recipes, runs, statistics and one report."""

from germline.compare.report.gene_records import write_gene_report
from germline.compare.report.report import write_report, write_results_page
from germline.compare.run.runner import Comparison

__all__ = ["Comparison", "write_gene_report", "write_report", "write_results_page"]
