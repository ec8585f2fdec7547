"""Numbers in the docs and the README equal the stored results."""

import importlib.util
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from germline.compare.analysis.results import ComparisonResults
from germline.compare.report.paths_protocol import paths_claims_table
from germline.compare.report.tables import claims_table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SPEC = importlib.util.spec_from_file_location("quote_results", ROOT / "tools" / "quote_results.py")
quoting = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quoting)


def load_result(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", quoting.PAGES, ids=lambda path: path.name)
def test_tables_equal_the_results(path):
    page = path.read_text(encoding="utf-8")
    assert quoting.update_tables(page) == page


@pytest.mark.parametrize("name", ["tleg", "gtl", "pool", "auto", "openworld"])
def test_result_pages_quote_tables(name):
    page = (ROOT / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8")
    assert all(match[5].count("\n") > 2 for match in quoting.REQUEST.finditer(page))
    assert len(quoting.REQUEST.findall(page)) >= 5


def quoted_rows(name, function, pattern):
    return quoting.quote_table(name, function, pattern).splitlines()[2:]


def test_the_readme_quotes_the_claims_on_cifar():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    rows = quoted_rows("tleg-same-labels", "report.same_labels.step_table", r"\| gene \|")
    at_start = [float(row.split(" | ")[2].split()[0]) for row in rows]
    assert f"Untrained they have {min(at_start):.0f} to {max(at_start):.0f} % accuracy" in readme
    rows = quoted_rows("tleg-same-labels", "claims_table", r"after 100 steps is above (scratch|random-gene) ")
    gains = [float(row.split(" | ")[2].split()[0]) for row in rows]
    assert len(gains) == 8
    assert f"they are {min(gains):.0f} to {max(gains):.0f} points above scratch" in readme
    (row,) = quoted_rows("tleg-same-labels", "claims_table", r"gene ends above finetune \| depth=3")
    assert f"end {-float(row.split(' | ')[2].split()[0]):.0f} points above the gene's" in readme


def quoted_gains(name, pattern):
    """Return the differences of the matching claims, and check that all of them hold."""
    rows = quoted_rows(name, "claims_table", pattern)
    assert all(row.split(" | ")[4] == "holds" for row in rows)
    return [float(row.split(" | ")[2].split()[0]) for row in rows]


def test_the_readme_quotes_few_images_on_cifar():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    scratch, shuffled = (quoted_gains("tleg-transfer-cifar-fs", f"above {arm} ") for arm in ("scratch", "random-gene"))
    frozen = quoted_gains("tleg-frozen-cifar-fs", "above scratch ")
    assert (len(scratch), len(shuffled), len(frozen)) == (6, 6, 9)
    assert f"{min(scratch):.0f} to {max(scratch):.0f} points above scratch" in readme
    assert f"and {min(shuffled):.0f} to {max(shuffled):.0f} above the shuffled gene" in readme
    assert f"With frozen bodies, descendants are {min(frozen):.0f} to {max(frozen):.0f} points above scratch" in readme
    rows = quoted_rows("tleg-transfer-cifar-fs", "claims_table", "above (layers|weight-selection) ")
    layers = [float(row.split(" | ")[2].split()[0]) for row in rows]
    assert len(layers) == 8
    assert f"Copied layers are {min(layers):.1f} to {max(layers):.1f} points below." in readme
    assert "with 20, also on classes never used for tuning" in readme
    assert len(quoted_gains("tleg-transfer-cifar-fs-final", "above (scratch|random-gene) .*, 20 images")) == 6


def test_the_readme_quotes_the_pool_and_circuits_on_cifar():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    rows = paths_claims_table(ComparisonResults(load_result("pool-cifar100")), per_size=True)
    claims = [row for row in rows if row[0] == "pool ends above snnet-same"]
    assert [row[4] for row in claims] == 12 * ["holds"]
    gains = [float(row[2].split()[0]) for row in claims]
    assert f"12 sizes without training, each {min(gains):.0f} to {max(gains):.0f} points above SN-Net" in readme
    rows = paths_claims_table(ComparisonResults(load_result("pool-cifar100-beginnings")))
    (longer,) = (row for row in rows if row[0] == "pool is above snnet-total in the mean over sizes")
    assert (longer[2].split()[0], longer[4]) == ("-3.4", "the reverse holds")
    assert "With 9 times the steps, SN-Net is 3 above (three seeds)." in readme
    half = quoted_gains("gtl-cifar-fs-circuits", "above scratch ")
    assert f"Half of a *pretrained* CNN's parameters gain {sum(half) / len(half):.0f} points" in readme


def test_the_page_on_choosing_quotes_untrained_descendants():
    page = (ROOT / "docs" / "how-to" / "choose-a-method.md").read_text(encoding="utf-8")
    found = load_result("untrained-cifar100")
    (head,) = re.findall(r"\| arm \| (.*) \|\n", page)
    sizes = [cell.strip("`") for cell in head.split(" | ")]
    for arm in ("grow", "weight-selection, divide", "weight-selection", "front, units", "front"):
        accuracies = found["accuracies"][arm]
        cells = [f"{100 * accuracies[size]:.1f}" if size in accuracies else "" for size in sizes]
        assert f"| {arm} | {' | '.join(cells)} |" in page
    assert f"({100 * found['ancestor']['accuracy']:.1f} % on CIFAR-100)" in page


CLAIMS = [
    ("pool-family-least-squares", "snnet-total", "width=96", "-2.7 ± 0.4 points", "0.049", "the reverse holds"),
    ("pool-family-least-squares", "snnet-same", "front=24,end=96,j=5,k=5", "+13.7 ± 1.7 points", "0.035", "holds"),
    ("pool-family-least-squares", "snnet-same", "front=24,end=96,j=5,k=6", "+10.9 ± 1.5 points", "0.046", "holds"),
    ("pool-family-fashion", "scratch", "width=24", "-9.7 ± 0.5 points", "0.007", "the reverse holds"),
]


@pytest.mark.parametrize("name", ["pool-family", "pool-family-least-squares", "pool-family-fashion"])
def test_pool_page_names_the_claims_that_hold(name):
    summary, found = ComparisonResults(load_result(name)), []
    for each in (False, True):
        found += [
            tuple(row[:5])
            for row in paths_claims_table(summary, per_size=each)[1:]
            if row[4] in ("holds", "the reverse holds")
        ]
    expected = [claim[1:] for claim in CLAIMS if claim[0] == name]
    assert found == [(f"pool ends above {arm}", f"{size}, all images", *rest) for arm, size, *rest in expected]
    page = " ".join((ROOT / "docs" / "results" / "pool.md").read_text(encoding="utf-8").split())
    for _, size, difference, p, _ in expected:
        assert f"`{size}`" in page
        assert f"{difference.lstrip('+-')} (p = {p})" in page


def test_every_stored_result_has_command_and_versions():
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        starts = ("germline ", "python benchmarks/", "python tools/", "python -m pytest ", "tools/test_ray.sh")
        assert found["command"].startswith(starts), path.name
        assert {"germline", "torch", "timm"} <= found["versions"].keys(), path.name


def test_the_page_on_backbones_quotes_the_probes():
    page = (ROOT / "docs" / "how-to" / "condense-a-backbone.md").read_text(encoding="utf-8")
    probes = load_result("headless_probe")["accuracy"]
    words = {"descendant": "for a descendant", "scratch": "for scratch", "shuffled gene": "for a shuffled gene"}
    for name, text in {**words, "ancestor": "for the ancestor", "first blocks": "for its\nfirst"}.items():
        assert f"{100 * probes[name]['mean']:.1f} % {text}" in page
    for seed, accuracy in probes["descendant"]["seeds"].items():
        assert accuracy > max(probes["scratch"]["seeds"][seed], probes["shuffled gene"]["seeds"][seed])


def test_more_than_400_odd_inputs_are_tried():
    found = load_result("odd_inputs")
    assert found["total"] == sum(found["kinds"].values()) >= 400
    assert min(found["kinds"].values()) >= 20
    page = (ROOT / "docs" / "reference" / "loading.md").read_text(encoding="utf-8")
    for kind, count in {**found["kinds"], "all": found["total"]}.items():
        assert f"| {kind} | {count} |" in page


def test_odd_inputs_are_counted_in_files_that_exist():
    source = (ROOT / "tools" / "count_odd_inputs.py").read_text(encoding="utf-8")
    names = re.findall(r'"(tests/[\w/]+\.py)"', source)
    assert len(names) == len(set(names)) >= 15
    for name in names:
        assert (ROOT / name).is_file(), name


def test_the_page_on_training_quotes_the_loops_overhead():
    rows = load_result("loop-overhead-cpu")["rows"]
    assert len(rows) == 3
    page = " ".join((ROOT / "docs" / "reference" / "training.md").read_text(encoding="utf-8").split())
    plain = [row["ratio_to"]["plain"]["ratio"] for row in rows]
    assert max(plain) <= 1.03
    assert f"The median ratios of three models are {min(plain):.2f} to {max(plain):.2f}." in page
    slow = [row["processor_ratio_to"]["DataLoader"]["ratio"] for row in rows]
    assert f"{min(slow):.2f} to {max(slow):.2f} of the processor time" in page


def test_any_size_page_counts_the_claims_that_hold():
    rows = [
        row
        for row in claims_table(ComparisonResults(load_result("any-size")))[1:]
        if row[4] != "not claimed beforehand"
    ]
    verdicts = {"copies": Counter(), "random weights": Counter(), "steps": Counter()}
    for claim, _, difference, _, verdict, *_ in rows:
        kind = "copies" if claim.endswith((" weight-selection", " grow")) else "random weights"
        verdicts["steps" if "doublings" in difference else kind][verdict] += 1
    assert verdicts["random weights"] == {"holds": 20}
    assert verdicts["steps"] == {"too few seeds to tell": 5}
    assert verdicts["copies"] == {"holds": 2, "the reverse holds": 4, "no difference shown": 8}
    page = (ROOT / "docs" / "results" / "any-size.md").read_text(encoding="utf-8")
    assert "All 20 claims of `front` against scratch and the shuffled gene hold" in page
    assert "Five equal values are too few to test" in page
    assert "The other 14 claims set it against copies" in page


def test_any_size_page_counts_the_claims_of_a_better_ancestor():
    results = ComparisonResults(load_result("any-size-long"))
    rows = [row for row in claims_table(results)[1:] if row[4] != "not claimed beforehand"]
    copies = Counter(row[4] for row in rows if row[0].endswith((" weight-selection", " grow")))
    assert copies == {"the reverse holds": 9, "no difference shown": 2, "holds": 1}
    ends = [
        row for row in rows if row[0].startswith("front ends above") and row[0].endswith(("scratch", "random-gene"))
    ]
    assert [row[4] for row in ends] == 8 * ["holds"]
    gains = [float(row[2].split()[0]) for row in ends]
    page = (ROOT / "docs" / "results" / "any-size.md").read_text(encoding="utf-8")
    assert "Nine of the 12 claims against them are reversed" in page
    (early,) = (row for row in rows if row[4] == "holds" and row[0].endswith(" weight-selection"))
    assert early[:2] == ["front after 50 steps is above weight-selection", "width=192,heads=6, all images"]
    assert f"`front` is {float(early[2].split()[0]):.1f} points above plain copies after 50 steps" in page
    assert f"`front` is {min(gains):.0f} to {max(gains):.0f} points above scratch and the shuffled gene" in page


def test_any_size_page_counts_the_claims_of_lets():
    rows = [row for row in claims_table(ComparisonResults(load_result("any-size-lets")))[1:] if row[3]]
    random = [row for row in rows if row[0].endswith((" scratch", " random-gene"))]
    assert [row[4] for row in random] == 20 * ["holds"]
    assert len(rows) == 35
    gains = [float(row[2].split()[0]) for row in random if " ends " in row[0]]
    page = (ROOT / "docs" / "results" / "any-size.md").read_text(encoding="utf-8")
    assert f"ends {min(gains):.0f} to {max(gains):.0f} points above scratch and the shuffled gene. All 20" in page

    def changed_axis(condition):
        depth, width, *_ = condition.split(",")
        return depth if width == "width=96" else width

    found = {
        (row[0].split()[1], changed_axis(row[1])): (row[4], float(row[2].split()[0]))
        for row in rows
        if row[0].endswith(" weight-selection") and row[0].startswith(("lets ends", "lets after"))
    }
    reversed_claims = {key: -gap for key, (verdict, gap) in found.items() if verdict == "the reverse holds"}
    assert (len(found), len(reversed_claims)) == (10, 6)
    early = [gap for (when, _), gap in reversed_claims.items() if when == "after"]
    assert {size for when, size in found if when == "after" and (when, size) not in reversed_claims} == {"width=192"}
    assert f"After 50 steps copies are {min(early):.0f} to {max(early):.0f} points above `lets`" in page
    late = {size: gap for (when, size), gap in reversed_claims.items() if when == "ends"}
    assert list(late) == ["depth=12", "width=64"]
    assert f"They end {late['width=64']:.1f} points above it at two thirds of" in page
    assert f"the width, and {late['depth=12']:.1f} with more blocks" in page
    holds = {key: gap for key, (verdict, gap) in found.items() if verdict == "holds"}
    assert list(holds) == [("ends", "width=192")]
    assert f"`lets` ends {holds['ends', 'width=192']:.1f} points above plain copies" in page


def test_any_size_page_counts_the_claims_on_new_classes():
    rows = [row for row in claims_table(ComparisonResults(load_result("any-size-transfer")))[1:] if row[3]]
    page = (ROOT / "docs" / "results" / "any-size.md").read_text(encoding="utf-8")
    verdicts = Counter(row[4] for row in rows if row[0].startswith("front ends above "))
    assert verdicts == {"holds": 18, "no difference shown": 6, "the reverse holds": 2}
    assert "18 of 26 claims hold." in page

    def gaps(arm, verdict):
        kept = [row for row in rows if row[0] == f"front ends above {arm}" and row[4] == verdict]
        return [(row[1].split(",")[0], float(row[2].split()[0])) for row in kept]

    scratch, shuffled = ([gap for _, gap in gaps(arm, "holds")] for arm in ("scratch", "random-gene"))
    assert (len(scratch), len(shuffled)) == (8, 8)
    assert f"`front` ends {min(scratch):.0f} to {max(scratch):.0f} points above scratch" in page
    assert f"and {min(shuffled):.0f} to {max(shuffled):.0f} above the shuffled gene. All 16 claims hold." in page
    assert gaps("weight-selection", "the reverse holds") == [("depth=4", -2.2), ("depth=4", -3.2)]
    assert "at half the depth plain copies end 2.2 and 3.2 points above `front`" in page
    assert gaps("weight-selection", "holds") == [("width=192", 4.1), ("width=192", 8.4)]
    assert "At twice the width they end 4.1 and 8.4 below it" in page


def end(name, arm, size):
    """Return the mean test accuracy at the end, in % as the table of a comparison over sizes shows it."""
    (row,) = quoted_rows(name, "report.same_labels.step_table", rf"{size}, .* \| {arm} \|")
    return float(row.strip("| ").split(" | ")[-1].split()[0])


def test_any_size_page_names_the_best_start_of_each_size():
    page = (ROOT / "docs" / "results" / "any-size.md").read_text(encoding="utf-8")
    starts = ("front", "weight-selection", "weight-selection-fan-in", "grow", "layers")

    def best(name, size):
        arms = {cell["asked"]["arm"] for cell in load_result(name)["cells"] if cell["asked"]["size"].startswith(size)}
        ends = {arm: end(name, arm, size) for arm in starts if arm in arms}
        return {arm: value for arm, value in ends.items() if value == max(ends.values())}

    short, long, deep = "any-size-long", "any-size-1500", "any-size-1500-deeper"
    assert (best(short, "depth=4"), best(long, "depth=4")) == ({"layers": 36.9}, {"weight-selection": 41.9})
    own = [end(name, "finetune", "depth=4") for name in (short, long)]
    assert "| half the depth | even blocks, 36.9 | copies, 41.9 | {} and {} |".format(*own) in page
    copies = {"weight-selection", "weight-selection-fan-in"}
    assert (set(best(short, "width=48")), best(long, "width=48")) == (copies, {"weight-selection": 38.2})
    own = [end(name, "finetune", "width=48") for name in (short, long)]
    assert "| half the width | copies, 21.0 | copies, 38.2 | {} and {} |".format(*own) in page
    assert best(short, "depth=12") == {"grow": 45.3}
    level = [end(deep, arm, "depth=12") for arm in ("front", "weight-selection", "grow")]
    assert f"`grow`, 45.3 | `front`, copies and `grow`, {min(level)} to {max(level)} | not known |" in page
    behind = [
        -float(quoted_rows(short, "claims_table", rf"front ends above {arm} \| depth=12")[0].split(" | ")[2].split()[0])
        for arm in ("weight-selection", "grow")
    ]
    assert "`front` was {:.1f} and {:.1f} points below the others".format(*behind) in page
    assert best(short, "width=192,heads=6") == {"grow": 44.5}
    assert "| twice the width | `grow`, 44.5 | not measured | not known |" in page
    assert f"Scratch and the shuffled gene end at {end(deep, 'scratch', 'depth=12'):.0f} and" in page


def test_any_size_page_quotes_the_gaps_after_1500_steps():
    page = (ROOT / "docs" / "results" / "any-size.md").read_text(encoding="utf-8")
    gaps = [
        end(name, "finetune", size) - max(end(name, arm, size) for arm in copies)
        for size, copies in (("width=48", ["weight-selection"]), ("depth=4", ["weight-selection", "layers"]))
        for name, copies in (("any-size-1500", copies[:1]), ("any-size-long", copies))
    ]
    assert "copy is {:.1f} points below; after a training of 300 steps, {:.1f}.".format(*gaps[:2]) in page
    assert "At half the depth it is {:.1f}; after 300 steps, {:.1f}.".format(*gaps[2:]) in page
    claims = {
        (row[0].removeprefix("front ends above "), row[1].split(",")[0]): (float(row[2].split()[0]), row[4])
        for row in claims_table(ComparisonResults(load_result("any-size-1500")))[1:]
        if row[0].startswith("front ends above ") and row[3]
    }
    random = [claims[arm, size] for arm in ("scratch", "random-gene") for size in ("depth=4", "width=48")]
    assert [verdict for _, verdict in random] == 4 * ["holds"]
    gains = [gain for gain, _ in random]
    losses = [claims["weight-selection", size] for size in ("depth=4", "width=48")]
    assert [verdict for _, verdict in losses] == 2 * ["the reverse holds"]
    assert "end {:.1f} and {:.1f} points above `front`; both".format(*(-loss for loss, _ in losses)) in page
    behind = [
        end("any-size-1500", "weight-selection", size) - end("any-size-1500", "scratch", size)
        for size in ("depth=4", "width=48")
    ]
    choose = (ROOT / "docs" / "how-to" / "choose-a-method.md").read_text(encoding="utf-8")
    assert [f"still [{gap:.0f} points below](" in choose for gap in behind] == [True, True]
    assert f"`front` ends {min(gains):.0f} to {max(gains):.0f} points above scratch and the shuffled gene" in page


def test_the_page_on_training_quotes_steps_on_a_gpu():
    page = (ROOT / "docs" / "reference" / "training.md").read_text(encoding="utf-8")
    rows = [row for part in ("step", "overhead") for row in load_result(f"gpu-speed-{part}")["rows"]]
    ratios = [row["ratio_to"]["plain"]["ratio"] for row in rows]
    assert [round(ratio, 2) for ratio in (min(ratios), max(ratios))] == [1.04, 1.16]
    for row, ratio in zip(rows, ratios, strict=True):
        numbers = [f"{rate:,.0f}" for name, rate in row["rates"].items() if name in ("ours", "plain", "timm")]
        assert any(all(number in line for number in [*numbers, f"| {ratio:.2f} |"]) for line in page.splitlines())


@pytest.mark.parametrize(
    ("name", "table", "arm", "condition", "column", "text"),
    [
        (
            "tleg-same-labels",
            "report.same_labels.step_table",
            "finetune",
            "depth=3, all",
            -1,
            "train that depth, {} at",
        ),
        ("tleg-same-labels", "report.same_labels.step_table", "gene", "depth=3, all", -1, "`tleg`, {} at 3 blocks"),
        (
            "tleg-same-labels",
            "report.same_labels.step_table",
            "layers",
            "depth=3, all",
            -1,
            "even layers {}, scratch 9.0",
        ),
        ("tleg-transfer-cifar-fs", "main_table", "gene", "depth=6, 5 images", 2, "`tleg`, {} at 6 blocks with 5"),
        ("tleg-transfer-cifar-fs", "main_table", "scratch", "depth=6, 5 images", 2, "even layers 29.8, scratch {} |"),
        ("tleg-frozen-cifar-fs", "frozen_table", "gene", "depth=6, 5 images", 2, "with a frozen body, {} |"),
        ("tleg-frozen-cifar-fs", "frozen_table", "layers", "depth=6, 5 images", 2, "even layers {}, scratch 17.9"),
        ("any-size", "report.same_labels.step_table", "finetune", "width=48", -1, "train that width, {} |"),
        ("any-size", "report.same_labels.step_table", "front-units", "width=48", -1, "`scale=fan-in`, {} |"),
        ("any-size", "report.same_labels.step_table", "sws", "depth=12", -1, "`sws` after 300 steps, {} |"),
        ("any-size-transfer", "main_table", "grow", "width=192,heads=6, 20 images", 2, "`grow` or `front`, {} with 20"),
        (
            "any-size-transfer",
            "main_table",
            "weight-selection",
            "width=192,heads=6, 20 im",
            2,
            "plain copies {}, scratch",
        ),
        ("openworld-cifar-fs", "main_table", "finetune", ", 5 images", 2, "whole network, {} with 5 images"),
    ],
)
def test_the_decision_page_quotes_results(name, table, arm, condition, column, text):
    page = (ROOT / "docs" / "how-to" / "choose-a-method.md").read_text(encoding="utf-8")
    (row,) = quoted_rows(name, table, rf"{condition}.* \| {arm} \|")
    assert text.format(row.strip("| ").split(" | ")[column].split()[0]) in page
