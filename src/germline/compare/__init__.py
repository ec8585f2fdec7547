"""Comparisons: methods against controls, their statistics and the one report."""

from germline.compare.records import write_gene_report
from germline.compare.report import write_report
from germline.compare.runner import Comparison

__all__ = ["Comparison", "write_gene_report", "write_report"]
