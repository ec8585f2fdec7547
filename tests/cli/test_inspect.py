"""`germline inspect`: facts without torch, valid sizes in every direction, networks, image sizes."""

import json
import re
from dataclasses import replace

import pytest

from germline.architectures import Size
from germline.cli.artefact_facts import describe_manifest, read_gene_facts, read_model_facts
from germline.cli.inspect import list_sizes
from germline.cli.suggested_sizes import suggest_sizes
from germline.learngene import Learngene
from germline.methods.base import find_method
from germline.registry import architecture_of
from germline.training import Run


@pytest.fixture(scope="session")
def resnet_gene(ancestors, pico):
    """A gene of a residual network, by weight selection."""
    return find_method("weight-selection")().condense(ancestors["resnet"], pico, Run(device="cpu", quiet=True))


@pytest.mark.parametrize("words", [("gene",), ("ancestor",), ("child",), ("cnn",)], ids=lambda words: words[0])
def test_facts_need_no_torch(words, workdir, light):
    done = light("inspect", *words, "--brief", place=workdir)
    assert (done.returncode, done.slow) == (0, []), done


def test_facts_of_files_equal_those_of_the_loaded_gene(workdir):
    gene = Learngene.load("gene")
    assert read_gene_facts(workdir / "gene") == describe_manifest(gene.manifest())
    facts = read_gene_facts(workdir / "gene")
    elements = sum(tensor.numel() for tensor in gene.tensors.values())
    assert facts["holds"] == f"{len(gene.tensors)} tensors, {elements:,} elements, {gene.count_bytes():,} bytes"
    assert facts["sizes"] == "shallower, deeper"
    assert facts["network"] == "depth 4, width 16, heads 2"


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["learngene.json", "learngene.safetensors"])
def test_facts_of_changed_files_are_not_printed(name, share, workdir, run):
    path = workdir / "gene" / name
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 1
    path.write_bytes(bytes(content))
    assert read_gene_facts(workdir / "gene") is None
    done = run("inspect", "gene")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1


def test_valid_sizes_of_a_vit_are_listed(workdir, run):
    done = run("inspect", "gene")
    assert (done.code, done.err) == (0, "")
    sizes = [line.split()[0] for line in done.out.split("share by origin")[1].splitlines() if line]
    assert sizes == ["depth=2", "depth=4", "depth=6", "depth=8"]


def test_valid_sizes_of_a_resnet_are_listed(resnet_gene, workdir, run):
    resnet_gene.save("resnet-gene")
    done = run("inspect", "resnet-gene")
    assert done.code == 0
    sizes = [line.split()[0] for line in done.out.split("share by origin")[1].splitlines() if line]
    shallower, deeper = (f"depth1={depth},depth2={depth},depth3={depth},depth4={depth}" for depth in (1, 3))
    assert sizes == ["the", shallower, deeper, "width=2", "width=6", "width=8"]
    for size in (shallower, "width=6"):
        assert run("inherit", "resnet-gene", "--size", size, "--out", f"of-{size}").code == 0


def test_suggested_sizes_are_valid_and_differ(ancestors):
    for network in ancestors.values():
        sizes = suggest_sizes(network.spec)
        specs = [architecture_of(network.spec).resize(network.spec, Size.parse(size)) for size in sizes]
        assert len({repr(spec) for spec in specs}) == len(sizes) >= 2


def test_listed_sizes_are_valid_and_differ(gene, resnet_gene):
    for source in (gene, resnet_gene):
        specs = [source.target(Size.parse(size)).spec for size in list_sizes(source)]
        assert len({repr(spec) for spec in specs}) == len(specs)


def test_larger_images_cost_more_flops(resnet_gene, workdir, run):
    resnet_gene.save("resnet-gene")
    flops = []
    for side in ("32", "64"):
        done = run("inspect", "resnet-gene", "--image-size", side, "--size", "width=2")
        assert done.code == 0
        flops.append(float(done.out.splitlines()[-1].split()[2]))
    assert flops[1] >= 2 * flops[0]
    refused = run("inspect", "gene", "--image-size", "33")
    assert refused.code == 2
    assert "patch_size" in refused.err


@pytest.mark.parametrize("name", ["ancestor", "child", "cnn"])
def test_a_network_is_described(name, workdir, run):
    done = run("inspect", name)
    assert (done.code, done.err) == (0, "")
    config = json.loads((workdir / name / "config.json").read_text())
    assert f"{config['architecture']} of timm" in done.out
    assert f"{config['num_classes']} classes: " in done.out
    rows = [line.split(maxsplit=1) for line in done.out.splitlines()]
    methods = dict(row for row in rows if len(row) == 2)
    assert methods["distil"] == "shallower, deeper, narrower, wider"
    assert ("tleg" in methods) == (name != "cnn")
    assert "sizes are written as " in done.out


def test_a_weight_file_is_described(workdir, run, ancestors):
    import timm

    from germline.files import write_tensors

    write_tensors(workdir / "w.safetensors", timm.create_model("resnet10t", num_classes=7).state_dict())
    done = run("inspect", "w.safetensors", "--model", "resnet10t", "--quiet")
    assert done.code == 0, done
    assert "ResNet" in done.out


@pytest.mark.parametrize("option", ["--size=depth=3", "--classes=3", "--image-size=64"])
def test_sizes_of_a_network_are_refused(option, workdir, run):
    done = run("inspect", "ancestor", option)
    assert (done.code, done.out) == (2, "")
    assert "Only a gene grows to sizes" in done.err


def test_damaged_and_missing_networks_have_no_facts(workdir):
    (workdir / "ancestor/model.safetensors").write_bytes(b"\xff" * 20)
    assert read_model_facts(workdir / "ancestor") is None
    assert read_model_facts(workdir / "nowhere") is None


def test_suggested_widths_are_multiples_of_the_head_length(ancestors):
    spec = ancestors["vit"].spec.model_copy(update={"depth": 8, "width": 96, "heads": 3})
    widths = ["width=32,heads=1", "width=128,heads=4", "width=192,heads=6"]
    assert suggest_sizes(spec) == ["depth=4", "depth=8", "depth=12", "depth=16", *widths]
    assert suggest_sizes(ancestors["vgg"].spec)[2:] == ["width=2", "width=6", "width=8"]


def test_accuracy_before_training_is_shown_for_each_size(workdir, run):
    done = run("inspect", "gene", "--data", "digits", "--size", "depth=3", "--size", "max_params=9K", "--quiet")
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.split("share by origin")[1].splitlines() if line]
    assert [row[0] for row in rows] == ["depth=3", "depth=2"]
    evaluated = run("evaluate", "gene", "--data", "digits", "--size", "depth=3", "--quiet")
    accuracy = float(evaluated.out.split("accuracy ")[1].split(",")[0])
    assert float(rows[0][4]) == pytest.approx(100 * accuracy, abs=0.05)
    for words, message in (
        (("gene", "--data", "digits", "--classes", "3"), "A fresh head only guesses. Remove --classes"),
        (("gene", "--data", "glyphs/base"), "classes"),
        (("ancestor", "--data", "digits"), "Remove --data"),
    ):
        refused = run("inspect", *words)
        assert (refused.code, refused.out) == (2, "")
        assert message in refused.err


# Methods that grow both axes, and the directions in which the table of a gene lists sizes.
BOTH_AXES = {
    "front": "shallower deeper narrower wider",
    "weight-selection": "shallower deeper narrower wider",
    "grow": "deeper wider",
    "sws": "shallower deeper",
    "lets": "shallower narrower",
}


@pytest.mark.parametrize("name", BOTH_AXES)
def test_gene_lists_sizes_on_both_axes_with_their_cost(name, workdir, run, ancestors, pico):
    settings = {"preset": "tiny", "steps": 1, "batch_size": 4} if name in ("sws", "lets") else {}
    gene = find_method(name)(**settings).condense(ancestors["vit"], pico, Run(device="cpu", quiet=True))
    gene.save(workdir / "new")
    done = run("inspect", "new", "--data", "digits", "--quiet")
    assert (done.code, done.err) == (0, "")
    head, *rows = [re.split("  +", line) for line in done.out.strip().split("\n\n")[1].splitlines()]
    assert head[1:5] == ["parameters", "MFLOP per image", "bytes of weights", "accuracy before training"]
    found = set()
    for size, parameters, mflop, size_in_bytes, accuracy, _ in rows:
        child = gene.inherit(size=Size.parse(size))
        spec, own = child.network.spec, gene.spec
        steps = {"shallower": spec.depth < own.depth, "deeper": spec.depth > own.depth}
        steps |= {"narrower": spec.width < own.width, "wider": spec.width > own.width}
        found |= {direction for direction, is_there in steps.items() if is_there}
        count = sum(one.numel() for one in child.model.parameters())
        assert parameters.replace(",", "") == str(count)
        assert size_in_bytes.replace(",", "") == str(4 * count)
        assert float(mflop) == pytest.approx(architecture_of(spec).flops(spec) / 1e6, abs=0.05)
        assert 0 <= float(accuracy.removesuffix(" %")) <= 100
    assert found == set(BOTH_AXES[name].split())


def test_a_gene_without_a_head_lists_sizes(workdir, run):
    gene = Learngene.load("gene")
    tensors = {name: value for name, value in gene.tensors.items() if not name.startswith("head")}
    replace(gene, classes=None, tensors=tensors).save(workdir / "headless")
    done = run("inspect", "headless")
    assert done.code == 0
    assert re.search("^ *head +none *$", done.out, re.MULTILINE)
    assert done.out.count("fresh") == 4
    refused = run("inspect", "headless", "--data", "digits")
    assert (refused.code, refused.out) == (2, "")
    assert "fresh head, which only guesses. Remove --data" in refused.err


def test_parameter_cap_prints_the_chosen_size(workdir, run):
    done = run("inherit", "gene", "--max-params", "9K", "--out", "small", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1].startswith("chosen under max_params=9000: depth=2, width=16, heads=2, ")
    assert read_model_facts(workdir / "small") is not None
    assert "note:" not in done.out


def test_a_larger_size_than_a_cap_chooses_is_named(workdir, run):
    done = run("inherit", "gene", "--max-params", "1M", "--out", "large", "--quiet")
    assert done.out.splitlines()[1].startswith("chosen under max_params=1000000: depth=16, width=16, heads=2, ")
    assert done.out.splitlines()[2] == (
        "note: depth=17 is also under max_params=1000000, but a cap chooses at most 4 times the gene's own depth and "
        "width. Pass a larger one as --size."
    )


@pytest.mark.parametrize("option", ["--max-params", "--max-flops"])
def test_an_empty_cap_is_refused(option, workdir, run):
    done = run("inherit", "gene", option, "", "--out", "new", "--quiet")
    assert (done.code, done.out) == (2, "")
    assert "is not key=number" in done.err
    assert not (workdir / "new").exists()
