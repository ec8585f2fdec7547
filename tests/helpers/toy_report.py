"""The report module of the toy method: a tally is a list of numbers."""

from germline.reporting.hook import RecordedBlocks
from germline.reporting.html import Section


def parse(value):
    if not isinstance(value, list):
        raise ValueError("a tally is a list")
    return tuple(value)


def comparison_sections(arms, records):
    rows = [["arm", "total"], *([arm, str(sum(map(sum, seeds.values())))] for arm, seeds in records.items())]
    return [Section("Tallies", "Totals over seeds.", rows)]


def gene_sections(record):
    return [Section("Tally", "Each number.", [["number"], *([str(number)] for number in record)])]


def size_table(record):
    return [["size", "tally"], *([f"depth={at}", str(number)] for at, number in enumerate(record, 1))]


def chosen_blocks(record, settings):
    return RecordedBlocks(record[:1], settings.get("given", False))
