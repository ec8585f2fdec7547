"""Learngene Pool and SN-Net in a comparison: every path of a tiny pool without further training."""

import pytest

from germline.architectures import Size
from germline.compare import write_report
from germline.compare.cost.estimate import estimate_cost
from germline.compare.cost.storage import count_network_parameters
from germline.compare.run.cells import Cell
from germline.compare.run.train_cell import cell_path
from germline.compare.run.validate import check_recipe
from germline.learngene import Learngene
from germline.methods.pool.method import Pool
from helpers.comparison import comparison, results

POOLS = """\
title: A tiny pool
protocol: paths
kind: quick
minutes: 1
data: digits
ancestor:
  data: digits
  model: vit_pico
  train: {steps: 2, batch_size: 16}
arms:
  pool: {method: pool, settings: {preset: tiny}, train: {steps: 0}}
  snnet: {method: snnet, settings: {preset: tiny}, train: {steps: 0}}
  scratch: {method: scratch, sizes: ["width=8", "width=16"]}
sizes: ["*"]
images_per_class: [3]
seeds: [0]
train: {steps: 2, batch_size: 16}
tune: {lr: [1.0e-3, 3.0e-3], weight_decay: [0.05], size: "width=16", images_per_class: 3}
"""
# Two complete models of two blocks, and the four stitches between them.
SIZES = ["width=8", "width=16", *(f"front=8,end=16,j={j},k={k}" for j, k in ((1, 1), (1, 2), (2, 1), (2, 2)))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output folder and cost estimate of the comparison."""
    place = tmp_path_factory.mktemp("pools")
    (place / "pools.yaml").write_text(POOLS)
    work = comparison(place / "pools.yaml", place / "out")
    estimate = estimate_cost(work.recipe)
    work.run()
    assert work.failed == {}
    return place / "out", estimate


def test_every_path_has_its_validated_accuracy(finished):
    found = results(finished[0])
    assert found["recipe"]["sizes"] == SIZES
    records = {gene["arm"]: gene["record"]["paths"] for gene in found["genes"]}
    for arm in ("pool", "snnet"):
        cells = [cell for cell in found["cells"] if cell["asked"]["arm"] == arm]
        recorded = [
            (path["size"], path["accuracy"], path["parameters"], path["headless_parameters"])
            for path in records[arm]["paths"]
        ]
        keys = ("parameters", "headless_parameters")
        assert recorded == [(c["asked"]["size"], c["curve"][0]["accuracy"], *(c[key] for key in keys)) for c in cells]
        flops = [found["costs"]["parameters"][size]["flops"] for size in SIZES]
        assert [path["flops"] for path in records[arm]["paths"]] == flops
        assert {cell["samples"] for cell in cells} == {0}
    assert [c["asked"]["size"] for c in found["cells"] if c["asked"]["arm"] == "scratch"] == ["width=8", "width=16"]


def test_stitched_path_has_stitch_and_no_fresh_elements(finished):
    cells = {(c["asked"]["arm"], c["asked"]["size"]): c["origins"] for c in results(finished[0])["cells"]}
    for arm in ("pool", "snnet"):
        assert cells[arm, "width=8"].keys() == {"copied"}
        # from 8 to 16, with bias
        assert cells[arm, SIZES[2]]["stitched"] == (8 + 1) * 16


def test_paths_of_equal_spec_are_different_cells(tmp_path):
    three = POOLS.replace("preset: tiny", "preset: tiny, widths: [8, 16, 24], heads: [1, 2, 3], segments: 3, depth: 3")
    (tmp_path / "three.yaml").write_text(three)
    store = check_recipe(comparison(tmp_path / "three.yaml", tmp_path / "out").recipe)
    shift = "front=8,middle=16,end=24,j=1,k={},l={},m=2"
    one, other = (shift.format(block, block) for block in (1, 2))
    assert store.descendant_spec(one) == store.descendant_spec(other)
    assert cell_path(store, Cell("pool", one, 3, 0)) != cell_path(store, Cell("pool", other, 3, 0))
    assert cell_path(store, Cell("pool", one, 3, 0)) == cell_path(store, Cell("pool", one, 3, 0))


def test_estimate_matches_run(finished):
    out, estimate = finished
    found = results(out)
    assert (estimate.cells.count, estimate.cells.samples) == (6 + 6 + 2, 2 * 2 * 16)
    assert (estimate.ancestors.count, estimate.genes.count, estimate.tuning.count) == (1, 2, 2)
    assert estimate.genes.samples == sum(gene["training"]["samples"] for gene in found["genes"])
    stored = {gene["arm"]: gene["headless_elements"] for gene in found["genes"]}
    assert (estimate.family.gene, estimate.family.others) == (stored["pool"], {"snnet": stored["snnet"]})
    # Both store two complete models and the one stitch that all paths share.
    models = sum(found["costs"]["parameters"][size]["headless"] for size in SIZES[:2])
    assert stored["pool"] == stored["snnet"] == models + (8 + 1) * 16


def test_report_shows_every_path(finished):
    write_report(finished[0])
    text = (finished[0] / "report.md").read_text()
    listed = text.split("## Path by path")[1].split("\n## ")[0]
    assert [size for size in SIZES if f"| {size} |" in listed] == SIZES
    assert "pool - snnet, points" in listed
    page = (finished[0] / "report.html").read_text()
    assert "<h2>The paths of the genes</h2>" in page


def test_every_size_is_a_path_of_the_gene(finished):
    made = [Learngene.load(place.parent) for place in (finished[0] / "store").glob("gene-*/learngene.json")]
    (gene,) = [gene for gene in made if gene.method == "pool"]
    assert list(Pool(preset="tiny").describe_sizes(gene.spec).names) == SIZES
    assert [path["size"] for path in gene.provenance.record["paths"]["paths"]] == SIZES
    counts = results(finished[0])["costs"]["parameters"]
    for size in SIZES:
        assert count_network_parameters(gene.inherit(size=Size.parse(size)).network.spec)[0] == counts[size]["full"]
