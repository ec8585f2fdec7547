"""`germline train --gene`: a descendant is trained with the objective of its gene's method."""

import pytest
import torch

from germline.files import read_tensors
from germline.methods.openworld.windows import inherited_tensors

TINY = ("--set", "preset=tiny", "--set", "tasks=2", "--set", "strength=inf")
TRAIN = ("--set", "steps=2", "--set", "batch_size=8", "--set", "optimizer=sgd", "--device", "cpu", "--quiet")


@pytest.mark.parametrize("anchored", [True, False])
def test_infinite_anchor_keeps_the_weights_of_the_gene(anchored, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--method", "openworld", "--data", "digits", *TINY, "--device", "cpu", "--quiet")
    assert run("condense", *words, "--out", "gene").code == 0
    assert run("inherit", "gene", "--data", "digits", "--out", "child").code == 0
    gene = ("--gene", "gene") if anchored else ()
    done = run("train", "--model", "child", "--data", "digits", *gene, *TRAIN, "--out", "grown")
    assert done.code == 0, done
    inherited = inherited_tensors(read_tensors(tmp_path / "gene" / "learngene.safetensors"))
    trained = read_tensors(tmp_path / "grown" / "model.safetensors")
    assert all(torch.equal(trained[name], value) for name, value in inherited.items()) == anchored
    assert not torch.equal(
        trained["head.fc.weight"], read_tensors(tmp_path / "child" / "model.safetensors")["head.fc.weight"]
    )


def test_gene_of_another_network_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--method", "openworld", "--data", "digits", *TINY, "--device", "cpu", "--quiet")
    assert run("condense", *words, "--out", "gene").code == 0
    done = run("train", "--model", "vgg11_x025", "--data", "digits", "--gene", "gene", *TRAIN, "--out", "grown")
    assert done.code == 2
    assert "method openworld cannot grow" in " ".join(done.err.split())
    assert not (tmp_path / "grown").exists()
