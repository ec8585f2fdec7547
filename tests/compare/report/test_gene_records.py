"""Records of how genes are made: saved with the gene, in results and in reports."""

import json
import re

import pytest

from germline.baselines.random_gene import RandomGene
from germline.compare import write_report
from germline.compare.analysis.results import ComparisonResults
from germline.compare.report import gene_records as records
from germline.data import load_data
from germline.errors import ArtefactError
from germline.learngene import MANIFEST_FILE, Learngene
from germline.methods.gtl import report_fitness
from germline.randomness import generator
from germline.training import Run
from helpers.comparison import SelfMadeAncestor, by_hand, comparison, generations, record, results, three_seeds

BRED = "arms.gene={method: bred, settings: {steps: 1, batch_size: 8, lives: 2}}"
VGG = ("ancestor.model=vgg11", "sizes=[width=2]", BRED)


def test_record_is_saved_with_the_gene_but_not_with_a_shuffled_one(tmp_path, self_made_ancestor):
    gene = SelfMadeAncestor(steps=1, batch_size=4).condense(None, load_data("digits"), Run(device="cpu", quiet=True))
    gene.save(tmp_path / "gene")
    assert json.loads((tmp_path / "gene" / MANIFEST_FILE).read_text())["provenance"]["record"] == record()
    loaded = Learngene.load(tmp_path / "gene")
    assert loaded.provenance.record == record()
    shuffled = RandomGene(method="bred").derive(loaded, generator(0, "shuffled"))
    assert shuffled.provenance.record == {}
    assert loaded.provenance.record == record()


def test_comparison_stores_the_record_of_every_gene(recipe_file, tmp_path, self_made_ancestor):
    comparison(recipe_file, tmp_path / "out", *VGG, "train.steps=1").run()
    found = results(tmp_path / "out")["genes"]
    assert [(gene["arm"], gene["seed"], gene["record"]) for gene in found] == [
        ("gene", seed, record()) for seed in (0, 1)
    ]


# Sections of the report

ARMS = {"gene": {"method": "tleg"}, "drawn": {"method": "layers"}, "scratch": {"method": "scratch"}}


def results_with_records(by_gene):
    """Results made by hand whose genes have these records, by arm and seed."""
    facts = {"bytes": 8, "elements": 2, "headless_elements": 2}
    genes = [{"arm": arm, "seed": seed, **facts, "record": found} for (arm, seed), found in by_gene.items()]
    return {**by_hand(three_seeds(), arms=ARMS), "genes": genes}


def list_headings(results):
    return [section.heading for section in records.record_sections(ComparisonResults(results))]


def test_report_has_sections_for_records(tmp_path):
    tree = [{**gene, "score": 0.5} for gene in record()["gene_tree"]]
    other = {"gene_tree": tree, "generations": generations(0.2, 0.2, 0.2)}
    by_gene = {("gene", 0): record(), ("gene", 1): record(), ("drawn", 0): other, ("drawn", 1): other}
    found = results_with_records(by_gene)
    (tmp_path / "results.json").write_text(json.dumps(found))
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    expected = [
        "Accuracy before any training",
        "Fitness over generations",
        "Does evolution select?",
        "Gene tree of gene",
        "Gene tree of drawn",
    ]
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings[headings.index("Learning curves") + 1 : headings.index("What one descendant costs")] == expected
    assert 'id="gene-gene-4"' in page
    assert 'id="drawn-gene-4"' in page
    assert (
        "| gene ends with a fitter population than drawn | generation 2 | +30.0 ± 0.0 points |"
        in (tmp_path / "report.md").read_text()
    )


def test_arm_with_the_genes_of_another_arm_is_left_out():
    by_gene = {("gene", 0): record(), ("drawn", 0): record()}
    assert list_headings(results_with_records(by_gene)) == ["Fitness over generations", "Gene tree of gene"]


def test_no_sections_without_records():
    assert list_headings(by_hand(three_seeds())) == []
    assert list_headings(results_with_records({("gene", 0): {}, ("drawn", 0): {"of another kind": 3}})) == []
    tree = {"gene_tree": record()["gene_tree"]}
    assert list_headings(results_with_records({("gene", 0): {}, ("drawn", 0): tree})) == ["Gene tree of drawn"]


def test_damaged_record_is_named():
    with pytest.raises(ArtefactError, match="'gene_tree' of the gene of drawn, seed 1"):
        list_headings(results_with_records({("gene", 0): record(), ("drawn", 1): {"gene_tree": [{"id": "x"}]}}))


def test_tables_show_the_fitness_of_generations():
    other = {"gene_tree": record()["gene_tree"], "generations": generations(0.2, 0.2, 0.2)}
    by_gene = {("gene", seed): record() for seed in (0, 1)} | {("drawn", seed): other for seed in (0, 1)}
    found = records.records_by_arm(ComparisonResults(results_with_records(by_gene)), "generations", report_fitness)
    head, *rows = report_fitness.generations_table(found)
    assert head == ["arm", "generation 0, %", "generation 1, %", "generation 2, %"]
    assert rows[1] == ["drawn", "20.0 ± 0.0", "20.0 ± 0.0", "20.0 ± 0.0"]
    assert rows[0][3] == "50.0 ± 0.0"
    _, last, all_along = report_fitness.fitness_claims_table(found)
    assert last[:3] == ["gene ends with a fitter population than drawn", "generation 2", "+30.0 ± 0.0 points"]
    assert all_along[1] == "generations 1 to 2"
