"""What a gene tells of how it came to be: kept with it, and in the comparison's results."""

import json

from comparing import Bred, comparison, record, results

from germline.data import data
from germline.learngene import MANIFEST, Learngene
from germline.methods.random_gene import RandomGene
from germline.randomness import generator
from germline.training import Run

BRED = "arms.gene={method: bred, settings: {steps: 1, batch_size: 8, lives: 2}}"
VGG = ("ancestor.model=vgg11", "sizes=[width=2]", BRED)


def test_a_record_is_kept_with_the_gene_and_not_with_a_shuffled_one(tmp_path, bred):
    gene = Bred(steps=1, batch_size=4).condense(None, data("digits"), Run(device="cpu", quiet=True))
    gene.save(tmp_path / "gene")
    assert json.loads((tmp_path / "gene" / MANIFEST).read_text())["provenance"]["record"] == record()
    loaded = Learngene.load(tmp_path / "gene")
    assert loaded.provenance.record == record()
    shuffled = RandomGene(method="bred").redraw(loaded, generator(0, "shuffled"))
    assert shuffled.provenance.record == {}
    assert loaded.provenance.record == record()


def test_a_comparison_keeps_the_record_of_every_gene(recipe_file, tmp_path, bred):
    comparison(recipe_file, tmp_path / "out", *VGG, "train.steps=1").run()
    found = results(tmp_path / "out")["genes"]
    assert [(gene["arm"], gene["seed"], gene["record"]) for gene in found] == [
        ("gene", seed, record()) for seed in (0, 1)
    ]
