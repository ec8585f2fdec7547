"""Text bars of the accuracy after the first and the last step."""

from germline.compare.analysis.results import ComparisonResults
from germline.compare.report.bars import draw_text_bars
from helpers.comparison import by_hand, same_labels, three_seeds


def test_bars_show_the_first_and_the_last_step():
    lines = draw_text_bars(ComparisonResults(same_labels())).splitlines()
    assert lines[0] == "Validation accuracy on digits, 10 images per class, mean over 3 seeds"
    assert lines[1].split() == ["after", "0", "steps", "after", "100", "steps"]
    # the gene: means of 30, 30 and 10 %, and of 50, 45 and 30 %; a bar has 25 characters at 100 %
    assert lines[2].split() == ["depth=2", "gene", "#" * 6, "23.3", "%", "#" * 10, "41.7", "%"]
    assert lines[3].split() == ["scratch", "###", "10.0", "%", "#" * 10, "40.0", "%"]
    assert lines[5].split() == ["depth=3", "gene", "#" * 12, "50.0", "%", "#" * 17, "70.0", "%"]
    assert len(lines) == 2 + 6


def test_other_protocols_show_the_last_step():
    cells = [cell for cell in three_seeds() if cell["asked"]["arm"] == "gene"]
    lines = draw_text_bars(ComparisonResults(by_hand(cells))).splitlines()
    assert lines[1].split() == ["after", "100", "steps"]
    assert lines[2].split()[-2:] == ["41.7", "%"]
    assert lines[3].split() == ["scratch", "failed"]
