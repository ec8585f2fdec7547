"""The report of a collective network, for genes and for comparisons."""

import re

import pytest

from germline.compare.report.gene_records import write_gene_report
from germline.methods.openworld import report as stream
from germline.methods.openworld.method import OpenWorld
from germline.methods.openworld.report_learning import comparison_with_joint
from germline.training import Run

RECORD = {
    "heat": [[[0.9, 0.5, 0.1]], [[0.8, 0.4, 0.2], [0.6, 0.2, 0.0]]],
    "scores": [0.7, 0.3, 0.1],
    "windows": [None, 0.4],
    "window": [1, 2],
    "dead": [],
    "accuracies": [[0.9], [0.5, 0.7]],
    "parameters": [1000, 2000],
    "grown": [0, 2],
    "detection": None,
}
DETECTION = {
    "percentile": 5,
    "detection": 0.25,
    "false_alarms": 0.05,
    "auroc": 0.6,
    "flagged": ["x"],
    "curve": [[5, 0.25, 0.05]],
}


def test_parse_gives_means_and_units():
    found = stream.parse(RECORD)
    assert found.by_task == [[0.9, 0.5, 0.1], pytest.approx([0.7, 0.3, 0.1])]
    assert found.means == [0.9, pytest.approx(0.6)]
    assert found.units == "2 to 3"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heat": [[[0.9, 0.5]], [[0.8, 0.4]]]}, "the heat does not have 3 units"),
        ({"accuracies": [[0.9], [0.5]]}, "each task adds one accuracy"),
        ({"grown": [0]}, "not all parts have 2 tasks"),
        ({"window": [2, 2]}, "not all parts"),
        ({"heat": []}, "heat"),
    ],
)
def test_parse_refuses_inconsistent_records(changes, message):
    with pytest.raises(ValueError, match=message):
        stream.parse({**RECORD, **changes})


def test_one_gene_has_a_table_and_figures():
    sections = stream.gene_sections(stream.parse({**RECORD, "detection": DETECTION}))
    assert [section.heading for section in sections] == [
        "The collectives",
        "Gradients by unit and task",
        "Forgetting over the stream",
        "Growth over the stream",
        "Unknown images",
    ]
    assert sections[0].body[1] == ["this collective", "2 to 3", "none", "60.0", "40.0", "25.0", "5.0", "1"]
    figures = [section.body for section in sections[1:]]
    assert all(body.startswith("<svg") or "<svg" in body[:300] for body in figures)
    assert 'id="window"' in figures[0]
    assert not any("<image" in body for body in figures[:1])
    assert len(stream.gene_sections(stream.parse(RECORD))) == 4


def test_comparison_has_a_row_per_arm_and_figures():
    seeds = {seed: stream.parse({**RECORD, "accuracies": [[0.9], [0.5, own]]}) for seed, own in enumerate((0.6, 0.8))}
    sections = stream.comparison_sections(
        ["gene", "scratch", "other"], {"gene": seeds, "other": {0: stream.parse(RECORD)}}
    )
    assert [row[:3] for row in sections[0].body[1:]] == [["gene", "2 to 3", "none"], ["other", "2 to 3", "none"]]
    assert sections[0].body[1][4].startswith("40.0")
    assert sections[1].heading == "Gradients by unit and task, gene"
    assert len(sections) == 4


def test_gap_to_joint_training_is_paired_by_seed_and_tasks():
    classes = [["a", "b"], ["c", "d"]]

    def make_stream_record(end):
        return stream.parse({**RECORD, "accuracies": [[0.9], [end, 0.7]], "classes": classes})

    def make_joint_record(accuracy, names=classes):
        return stream.parse({**RECORD, "accuracies": [[0.3], [0.3, 0.3]], "classes": names, "joint": [accuracy, 0.9]})

    near = {seed: make_stream_record(0.6 + 0.01 * seed) for seed in range(3)}
    joint = {seed: make_joint_record(0.7 + 0.01 * seed) for seed in range(3)}
    far = {seed: make_stream_record(0.1 + 0.01 * seed) for seed in range(3)}
    others = {seed: make_joint_record(0.9, [["a", "c"], ["b", "d"]]) for seed in range(3)}
    [section] = comparison_with_joint(
        {"near": near, "far": far, "single": {0: near[0]}, "joint": joint, "others": others}
    )
    # The means are (0.9 + 0.7) / 2 when learned, (0.61 + 0.7) / 2 in the end, and (0.71 + 0.9) / 2 for joint.
    assert [row[:3] + row[6:] for row in section.body[1:]] == [
        ["near", "joint", "2", "+15.0 ± 0.0", "no"],
        ["far", "joint", "2", "+40.0 ± 0.0", "no"],
        ["single", "joint", "2", "+15.0", "one seed"],
    ]
    assert [value.split()[0] for value in section.body[1][3:6]] == ["80.0", "65.5", "80.5"]
    closer = {seed: make_joint_record(0.5 + 0.01 * seed) for seed in range(3)}
    assert comparison_with_joint({"near": near, "joint": closer})[0].body[1][6:] == ["+5.0 ± 0.0", "yes"]
    assert comparison_with_joint({"near": near}) == []


def test_report_lists_every_tuned_point():
    points = [
        {"consolidation": 0, "lr": 0.1, "distillation": 2, "accuracies": [[0.9], [0.2, 0.8]]},
        {"consolidation": 100, "lr": 0.1, "accuracies": [[0.9], [0.8, 0.6]]},
        {"consolidation": 100, "lr": 10, "accuracies": None},
    ]
    tuned = stream.parse({**RECORD, "tuning": {"tasks": 2, "points": points, "chosen": 1}})
    section = stream.gene_sections(tuned)[-1]
    assert section.heading == "Strength of the anchor"
    assert section.body[1:] == [
        ["this collective", "0", "2", "0.1", "50.0", "20.0", "80.0", "0"],
        ["this collective", "100", "0", "0.1", "70.0", "80.0", "60.0", "1"],
        ["this collective", "100", "0", "10", "loss not finite", "", "", "0"],
    ]
    with pytest.raises(ValueError, match="the chosen point of the tuning is not there"):
        stream.parse({**RECORD, "tuning": {"tasks": 2, "points": points, "chosen": 3}})
    with pytest.raises(ValueError, match="each task has one accuracy of the joint training"):
        stream.parse({**RECORD, "classes": [["a"]], "joint": [0.5, 0.6]})


def test_gene_report_has_the_collective(pico, tmp_path):
    gene = OpenWorld(preset="tiny", ways=3).condense(None, pico, Run(device="cpu", quiet=True))
    write_gene_report(gene, {"method": gene.method}, "ow", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert len(re.findall("<svg", text)) == 3
    assert "Forgetting over the stream" in text
    # The record is that of the collective. A gene with a given window has other units.
    assert "units chosen" in text
    assert "became the gene" not in text
