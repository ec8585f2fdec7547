"""Files that an earlier germline wrote are read, and what it computed is computed again, to the bit.

`tools/build_golden.py` wrote `tests/golden/`; it is never run again in normal work. Where torch, timm or the CPU's
kernels are others than they were then, plain torch gives other bits too, and results are compared within TOLERANCE.
"""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch

import germline as gl
import golden_cases as cases

STORED = json.loads((cases.GOLDEN / "hashes.json").read_text(encoding="utf-8"))
# Of L2 norms, and of means in root mean squares. Older kernels of the same CPU gave norms that differ by 5e-4 at most.
TOLERANCE = 2e-2
# Evolution picks winners by accuracies on few images; one other prediction gives another gene of the same form.
CHOOSY = ("gtl",)
# Old releases of torch draw other numbers in `trunc_normal_` from the same seed. These genes begin with its draws.
TRUNCATED = ("tleg", "random-gene")
FIRST_TRUNCATED = [0.03081992268562317, -0.00586857832968235, -0.04357578605413437, 0.011368625797331333]
LATER_KEYS = {"openworld": {"provenance.record.collective.classes"}}
GENES = [name for name in cases.WHOLE if name not in (*cases.WITHOUT_GENE, "stored")]
PARTS = ("gene", "new", "own", "trained")


@pytest.fixture(scope="module")
def same_bits():
    """Whether plain torch and timm compute here what they computed where the golden files were written."""
    torch.set_num_threads(1)
    return cases.environment() == STORED["environment"]


@pytest.fixture
def golden(tmp_path, monkeypatch):
    """A copy of the golden folder as the working directory, under the version of germline that wrote it."""
    torch.set_num_threads(1)
    place = tmp_path / "golden"
    shutil.copytree(cases.GOLDEN, place)
    monkeypatch.chdir(place)
    # Parts of a store are found by a hash over this version too, so that a new release makes them anew.
    facts = tmp_path / "shim" / f"germline-{STORED['germline']}.dist-info" / "METADATA"
    facts.parent.mkdir(parents=True)
    facts.write_text(f"Metadata-Version: 2.1\nName: germline\nVersion: {STORED['germline']}\n")
    monkeypatch.syspath_prepend(str(facts.parents[1]))
    return place


def draws_alike(name):
    """Whether the random numbers that a method begins with are those that were drawn for the golden files."""
    drawn = torch.empty(4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.trunc_normal_(drawn, std=0.02)
    return name not in TRUNCATED or drawn.tolist() == pytest.approx(FIRST_TRUNCATED, rel=1e-5)


def assert_alike(found, stored, same_bits, *, choosy=False):
    """Facts or a summary of tensors equal those stored; within TOLERANCE where bits may differ."""
    if same_bits or stored is None:
        assert found == stored
    elif isinstance(stored, str):
        assert_close_summary(found.split(), stored.split(), choosy)
    else:
        assert found.keys() == stored.keys()
        for name, fact in stored.items():
            assert_close_fact(found[name].split(), fact.split(), choosy, name)


def assert_close_summary(found, stored, choosy):
    # A hash over all names, shapes and types, and the number of tensors.
    assert found[1:3] == stored[1:3]
    if not choosy:
        assert float(found[3]) == pytest.approx(float(stored[3]), rel=TOLERANCE)


def assert_close_fact(found, stored, choosy, name):
    assert found[1:3] == stored[1:3], name
    mean, norm = map(float, stored[3:])
    count = 1
    for side in stored[1].split("x") if stored[1] != "scalar" else ():
        count *= int(side)
    if not choosy:
        assert float(found[4]) == pytest.approx(norm, rel=TOLERANCE), name
        assert float(found[3]) == pytest.approx(mean, abs=TOLERANCE * norm / count**0.5), name


def json_of(*parts):
    return json.loads(Path(*parts).read_text(encoding="utf-8"))


def test_every_case_is_stored():
    assert STORED["cases"].keys() == {"/".join(case) for case in cases.CASES}
    assert {path.name for path in (cases.GOLDEN / "genes").iterdir()} == set(GENES)
    for name, architecture in cases.WHOLE.items():
        assert (STORED["cases"][f"{name}/{architecture}"]["gene"] is None) == (name in cases.WITHOUT_GENE)


@pytest.mark.parametrize("name", GENES)
def test_a_golden_gene_loads_and_inherits(name, golden, same_bits):
    architecture = cases.WHOLE[name]
    stored = STORED["cases"][f"{name}/{architecture}"]
    gene = gl.Learngene.load(f"genes/{name}")
    # Nothing is computed in reading, so these are equal bit by bit in every environment.
    assert {key: fact.split()[0] for key, fact in cases.facts_of(gene.tensors).items()} == {
        key: fact.split()[0] for key, fact in stored["gene"].items()
    }
    assert (gene.method, gene.architecture) == (name, architecture)
    child = cases.inherit(name, architecture, gene, new=True)
    assert_alike(cases.facts_of(child.model.state_dict()), stored["new"], same_bits)
    own = cases.inherit(name, architecture, gene)
    assert_alike(cases.summary_of(cases.facts_of(own.model.state_dict())), stored["own"], same_bits)


@pytest.mark.parametrize("name", GENES)
def test_a_golden_gene_verifies_its_tensors(name, golden):
    path = golden / "genes" / name / "learngene.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(gl.GermlineError):
        gl.Learngene.load(f"genes/{name}")


@pytest.mark.parametrize("folder", cases.model_folders())
def test_a_golden_model_gives_its_logits(folder, golden):
    stored = torch.tensor(STORED["logits"][folder])
    ours = gl.load_network(folder)
    with torch.no_grad():
        assert torch.allclose(ours.logits(cases.pixels()), stored, atol=1e-4, rtol=0)
        config = json_of(folder, "config.json")["pretrained_cfg"]
        mean, std = (torch.tensor(config[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
        outside = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        assert torch.allclose(outside((cases.pixels() - mean) / std), stored, atol=1e-4, rtol=0)
    assert cases.facts_of(ours.model.state_dict()).keys() == cases.weights_of(folder).keys()


@pytest.mark.parametrize("name", cases.DESCENDANTS)
def test_a_golden_descendant_is_written_alike(name, golden, same_bits):
    gene = gl.Learngene.load(f"genes/{name}")
    cases.inherit(name, cases.WHOLE[name], gene, new=True).save("fresh")
    assert cases.names_in("fresh") == cases.names_in(f"descendants/{name}")
    assert json_of("fresh", "config.json") == json_of("descendants", name, "config.json")
    old, new = json_of("descendants", name, "descendant.json"), json_of("fresh", "descendant.json")
    # The source is a sentence for people.
    assert old.keys() == new.keys()
    assert {**new, "source": ""} == {**old, "source": ""}
    assert_alike(cases.weights_of("fresh"), cases.weights_of(f"descendants/{name}"), same_bits)


@pytest.mark.parametrize(("name", "architecture"), cases.CASES)
def test_a_method_computes_what_it_did(name, architecture, golden, same_bits, tmp_path):
    stored = STORED["cases"][f"{name}/{architecture}"]
    found, gene = cases.results_of(name, architecture, tmp_path / "run")
    choosy = name in CHOOSY or not draws_alike(name)
    for part in PARTS:
        assert_alike(found[part], stored[part], same_bits, choosy=choosy)
    # Phases are found by these names when a run is resumed.
    assert cases.names_in(tmp_path / "run") == stored["files"]
    if name in GENES and cases.WHOLE[name] == architecture:
        gene.save("fresh")
        old, new = json_of("genes", name, "learngene.json"), json_of("fresh", "learngene.json")
        # An earlier germline ignores keys that it does not know.
        assert cases.keys_of(new) - LATER_KEYS.get(name, set()) == cases.keys_of(old)
        assert (new["format"], new["settings"], new["spec"]) == (old["format"], old["settings"], old["spec"])
        assert cases.names_in("fresh") == cases.names_in(f"genes/{name}")


def test_an_unfinished_training_ends_in_the_same_weights(golden, same_bits):
    (checkpoint,) = (golden / "unfinished.run/train/checkpoints").iterdir()
    state = json_of(checkpoint, "state.json")
    # A loss that no training gives shows that the past is read, and not computed again.
    state["facts"]["losses"][0][1] = 99.0
    (checkpoint / "state.json").write_text(json.dumps(state), encoding="utf-8")
    assert cases.command(*cases.UNFINISHED, "--resume") == 0
    assert_alike(cases.weights_of("unfinished"), STORED["unfinished"], same_bits)
    losses = json_of("unfinished.run/train/result.json")["losses"]
    assert losses[0] == state["facts"]["losses"][0]
    assert losses[-1][0] == 60
    assert not checkpoint.exists()


def test_a_fresh_training_ends_in_the_same_weights(golden, same_bits):
    assert cases.command(*cases.FRESH) == 0
    assert_alike(cases.summary_of(cases.weights_of("fresh")), STORED["fresh"], same_bits)


def parts_of(store):
    """Every file of a store with its bytes and the time of its last change; locks are left out."""
    return {name: ((store / name).read_bytes(), (store / name).stat().st_mtime_ns) for name in cases.names_in(store)}


def without_host(results):
    """What a comparison found, without what clock and versions say."""
    return {key: value for key, value in results.items() if key in ("recipe", "tuned", "costs", "genes", "cells")}


def test_a_golden_store_is_taken_as_it_is(golden):
    store, before = golden / "comparison/store", json_of("comparison", "results.json")
    parts = parts_of(store)
    assert cases.command(*cases.COMPARE, "--resume") == 0
    assert parts_of(store) == parts
    assert without_host(json_of("comparison", "results.json")) == without_host(before)
    assert "<html" in (golden / "comparison/report.html").read_text(encoding="utf-8")


def test_a_golden_comparison_has_a_report(golden):
    before = (golden / "comparison/results.json").read_bytes()
    assert cases.command("report", "comparison") == 0
    page = (golden / "comparison/report.html").read_text(encoding="utf-8")
    assert "Two arms on digits" in page
    assert (golden / "comparison/results.json").read_bytes() == before


def test_one_missing_part_of_a_store_is_made_again(golden, same_bits):
    store = golden / "comparison/store"
    cell = next(path for path in sorted(store.glob("cell-*.json")) if json_of(path)["origins"].keys() == {"fresh"})
    old, parts = json_of(cell), parts_of(store)
    cell.unlink()
    assert cases.command(*cases.COMPARE, "--resume") == 0
    new, after = json_of(cell), parts_of(store)
    assert {name: part for name, part in after.items() if name != cell.name} == {
        name: part for name, part in parts.items() if name != cell.name
    }
    assert cases.keys_of(new) == cases.keys_of(old)
    if same_bits:
        assert {**new, "seconds": 0} == {**old, "seconds": 0}
    else:
        assert (new["parameters"], new["flops"]) == (old["parameters"], old["flops"])
        assert new["curve"][-1]["loss"] == pytest.approx(old["curve"][-1]["loss"], rel=TOLERANCE)


def test_a_comparison_that_trains_its_ancestor_is_done_alike(golden, same_bits):
    assert cases.command(*cases.BRED) == 0
    assert cases.names_in("bred/store") == STORED["bred"]
    weights = cases.store_weights("bred/store")
    assert weights.keys() == STORED["bred_weights"].keys()
    for name, stored in STORED["bred_weights"].items():
        assert_alike(weights[name], stored, same_bits)


def test_nothing_golden_is_ignored_by_git_or_holds_a_path_of_a_computer():
    here = str(cases.GOLDEN.parents[1]).encode()
    for name in cases.names_in(cases.GOLDEN):
        data = (cases.GOLDEN / name).read_bytes()
        assert not any(place in data for place in (here, b"/home/", b"/root/", b"/tmp/", b"/Users/")), name
    patterns = (cases.GOLDEN.parents[1] / ".gitignore").read_text(encoding="utf-8").split()
    parts = {part for name in cases.names_in(cases.GOLDEN) for part in Path(name).parts}
    assert not parts & {pattern.strip("/") for pattern in patterns if not pattern.startswith("/")}
