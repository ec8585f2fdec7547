"""Report on the record `layers`: how layers were scored and which were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from germline.methods.auto.report_figures import draw_chosen_layers, draw_heat_maps
from germline.methods.auto.report_records import LayerChoiceRecord
from germline.reporting.hook import RecordedBlocks
from germline.reporting.html import Section


def parse(value: Any) -> LayerChoiceRecord:
    """Check the choice of layers that a gene records.

    Raises:
        ValueError: It is damaged, or its parts do not fit each other.
    """
    return LayerChoiceRecord.model_validate(value)


def comparison_sections(arms: Sequence[str], records: Mapping[str, Mapping[int, LayerChoiceRecord]]) -> list[Section]:
    """Show the first seed's choice of each arm that scored its layers; given layers need no figure."""
    sections = []
    for arm, choices in records.items():
        seed, choice = next(iter(choices.items()))
        if choice.scores:
            sections += _choice_sections(choice, f" of {arm}", f"Seed {seed}. ", f"{arm}-")
    return sections


def gene_sections(record: LayerChoiceRecord) -> list[Section]:
    """Show the choice of one gene."""
    return _choice_sections(record, "", "", "")


def chosen_blocks(record: LayerChoiceRecord, settings: Mapping[str, Any]) -> RecordedBlocks:
    """Return the chosen blocks, counted from 0."""
    return RecordedBlocks(record.kept, record.select == "given")


def _choice_sections(choice: LayerChoiceRecord, of_arm: str, beginning: str, prefix: str) -> list[Section]:
    note = (
        f"{beginning}The blocks of the ancestor (above) and of a descendant of its depth (below), from input (left) to "
        "output. Filled blocks are inherited at their places. The other blocks and the head are fresh. "
    )
    note += "Numbers are the layers' scores, which sum to 1." if choice.scores else "The layers were given."
    sections = [Section(f"The chosen layers{of_arm}", note, draw_chosen_layers(choice, prefix))]
    if choice.matrix:
        note = (
            f"{beginning}Rows are the ancestor's layers, named by their blocks. Columns are what they are matched with "
            f"({', '.join(choice.against)}). Darker cells have a larger weight. A layer's score comes from the largest "
            "weight of its row."
        )
        sections.append(Section(f"Matching weights{of_arm}", note, draw_heat_maps(choice, prefix)))
    return sections
