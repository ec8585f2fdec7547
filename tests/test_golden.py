"""Files of an earlier version are read, and its results are computed again bit by bit.

`tools/build_golden.py` wrote `tests/golden/`; it is never run again in normal work. Another torch, timm or CPU
kernel gives other bits. Results are then compared within TOLERANCE.
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
# For L2 norms, and for means relative to the root mean square. Older kernels of the same CPU gave norms that differ
# by at most 5e-4.
TOLERANCE = 2e-2
# Evolution picks winners by accuracies on few images; one other prediction gives another gene of the same form.
EVOLVED = ("gtl",)
# Old releases of torch draw other numbers in `trunc_normal_` from the same seed. These genes start from its draws.
TRUNCATED = ("tleg", "random-gene")
FIRST_TRUNCATED = [0.03081992268562317, -0.00586857832968235, -0.04357578605413437, 0.011368625797331333]
LATER_KEYS = {"openworld": {"provenance.record.collective.classes"}}
GENES = [name for name in cases.FULL_ARCHITECTURE if name not in (*cases.WITHOUT_GENE, "stored")]
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
    # The keys of a store include the version, so another version would compute all parts again.
    facts = tmp_path / "shim" / f"germline-{STORED['germline']}.dist-info" / "METADATA"
    facts.parent.mkdir(parents=True)
    facts.write_text(f"Metadata-Version: 2.1\nName: germline\nVersion: {STORED['germline']}\n")
    monkeypatch.syspath_prepend(str(facts.parents[1]))
    return place


def has_same_draws(name):
    """Whether a method starts from the same random numbers as for the golden files."""
    numbers = torch.empty(4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.trunc_normal_(numbers, std=0.02)
    return name not in TRUNCATED or numbers.tolist() == pytest.approx(FIRST_TRUNCATED, rel=1e-5)


def assert_equal_or_close(found, stored, same_bits, *, only_shapes=False):
    """Facts or a summary of tensors equal those stored; within TOLERANCE where bits may differ."""
    if same_bits or stored is None:
        assert found == stored
    elif isinstance(stored, str):
        assert_close_summary(found.split(), stored.split(), only_shapes)
    else:
        assert found.keys() == stored.keys()
        for name, fact in stored.items():
            assert_close_fact(found[name].split(), fact.split(), only_shapes, name)


def assert_close_summary(found, stored, only_shapes):
    # A hash over all names, shapes and types, and the number of tensors.
    assert found[1:3] == stored[1:3]
    if not only_shapes:
        assert float(found[3]) == pytest.approx(float(stored[3]), rel=TOLERANCE)


def assert_close_fact(found, stored, only_shapes, name):
    assert found[1:3] == stored[1:3], name
    mean, norm = map(float, stored[3:])
    count = 1
    for side in stored[1].split("x") if stored[1] != "scalar" else ():
        count *= int(side)
    if not only_shapes:
        assert float(found[4]) == pytest.approx(norm, rel=TOLERANCE), name
        assert float(found[3]) == pytest.approx(mean, abs=TOLERANCE * norm / count**0.5), name


def load_json(*parts):
    return json.loads(Path(*parts).read_text(encoding="utf-8"))


def test_every_case_is_stored():
    assert STORED["cases"].keys() == {"/".join(case) for case in cases.CASES}
    assert {path.name for path in (cases.GOLDEN / "genes").iterdir()} == set(GENES)
    for name, architecture in cases.FULL_ARCHITECTURE.items():
        assert (STORED["cases"][f"{name}/{architecture}"]["gene"] is None) == (name in cases.WITHOUT_GENE)


@pytest.mark.parametrize("name", GENES)
def test_golden_gene_loads_and_inherits(name, golden, same_bits):
    architecture = cases.FULL_ARCHITECTURE[name]
    stored = STORED["cases"][f"{name}/{architecture}"]
    gene = gl.Learngene.load(f"genes/{name}")
    # Reading computes nothing, so these are equal bit by bit in every environment.
    assert {key: fact.split()[0] for key, fact in cases.facts_of(gene.tensors).items()} == {
        key: fact.split()[0] for key, fact in stored["gene"].items()
    }
    assert (gene.method, gene.architecture) == (name, architecture)
    child = cases.inherit(name, architecture, gene, new=True)
    assert_equal_or_close(cases.facts_of(child.model.state_dict()), stored["new"], same_bits)
    own = cases.inherit(name, architecture, gene)
    assert_equal_or_close(cases.summary_of(cases.facts_of(own.model.state_dict())), stored["own"], same_bits)


@pytest.mark.parametrize("name", GENES)
def test_golden_gene_verifies_its_tensors(name, golden):
    path = golden / "genes" / name / "learngene.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(gl.GermlineError):
        gl.Learngene.load(f"genes/{name}")


@pytest.mark.parametrize("folder", cases.model_folders())
def test_golden_model_gives_its_logits(folder, golden):
    stored = torch.tensor(STORED["logits"][folder])
    ours = gl.load_network(folder)
    with torch.no_grad():
        assert torch.allclose(ours.logits(cases.pixels()), stored, atol=1e-4, rtol=0)
        config = load_json(folder, "config.json")["pretrained_cfg"]
        mean, std = (torch.tensor(config[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
        timm_model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        assert torch.allclose(timm_model((cases.pixels() - mean) / std), stored, atol=1e-4, rtol=0)
    assert cases.facts_of(ours.model.state_dict()).keys() == cases.weights_of(folder).keys()


@pytest.mark.parametrize("name", cases.DESCENDANTS)
def test_golden_descendant_is_written_equally(name, golden, same_bits):
    gene = gl.Learngene.load(f"genes/{name}")
    cases.inherit(name, cases.FULL_ARCHITECTURE[name], gene, new=True).save("fresh")
    assert cases.names_in("fresh") == cases.names_in(f"descendants/{name}")
    assert load_json("fresh", "config.json") == load_json("descendants", name, "config.json")
    old, new = load_json("descendants", name, "descendant.json"), load_json("fresh", "descendant.json")
    # The source is a sentence for people.
    assert old.keys() == new.keys()
    assert {**new, "source": ""} == {**old, "source": ""}
    assert_equal_or_close(cases.weights_of("fresh"), cases.weights_of(f"descendants/{name}"), same_bits)


@pytest.mark.parametrize(("name", "architecture"), cases.CASES)
def test_method_repeats_its_golden_results(name, architecture, golden, same_bits, tmp_path):
    stored = STORED["cases"][f"{name}/{architecture}"]
    found, gene = cases.results_of(name, architecture, tmp_path / "run")
    only_shapes = name in EVOLVED or not has_same_draws(name)
    for part in PARTS:
        assert_equal_or_close(found[part], stored[part], same_bits, only_shapes=only_shapes)
    # A resumed run finds its phases by these names.
    assert cases.names_in(tmp_path / "run") == stored["files"]
    if name in GENES and cases.FULL_ARCHITECTURE[name] == architecture:
        gene.save("fresh")
        old, new = load_json("genes", name, "learngene.json"), load_json("fresh", "learngene.json")
        # An earlier germline ignores keys that it does not know.
        assert cases.keys_of(new) - LATER_KEYS.get(name, set()) == cases.keys_of(old)
        assert (new["format"], new["settings"], new["spec"]) == (old["format"], old["settings"], old["spec"])
        assert cases.names_in("fresh") == cases.names_in(f"genes/{name}")


def test_an_unfinished_training_ends_in_the_same_weights(golden, same_bits):
    (checkpoint,) = (golden / "unfinished.run/train/checkpoints").iterdir()
    state = load_json(checkpoint, "state.json")
    # An impossible loss shows that the saved losses are read and not computed again.
    state["facts"]["losses"][0][1] = 99.0
    (checkpoint / "state.json").write_text(json.dumps(state), encoding="utf-8")
    assert cases.command(*cases.UNFINISHED, "--resume") == 0
    assert_equal_or_close(cases.weights_of("unfinished"), STORED["unfinished"], same_bits)
    losses = load_json("unfinished.run/train/result.json")["losses"]
    assert losses[0] == state["facts"]["losses"][0]
    assert losses[-1][0] == 60
    assert not checkpoint.exists()


def test_a_fresh_training_ends_in_the_same_weights(golden, same_bits):
    assert cases.command(*cases.FRESH) == 0
    assert_equal_or_close(cases.summary_of(cases.weights_of("fresh")), STORED["fresh"], same_bits)


def parts_of(store):
    """Every file of a store with its bytes and the time of its last change; locks are left out."""
    return {name: ((store / name).read_bytes(), (store / name).stat().st_mtime_ns) for name in cases.names_in(store)}


def without_host(results):
    """Results of a comparison, without times and versions."""
    return {key: value for key, value in results.items() if key in ("recipe", "tuned", "costs", "genes", "cells")}


def test_golden_store_is_reused_unchanged(golden):
    store, before = golden / "comparison/store", load_json("comparison", "results.json")
    parts = parts_of(store)
    assert cases.command(*cases.COMPARE, "--resume") == 0
    assert parts_of(store) == parts
    assert without_host(load_json("comparison", "results.json")) == without_host(before)
    assert "<html" in (golden / "comparison/report.html").read_text(encoding="utf-8")


def test_golden_comparison_has_a_report(golden):
    before = (golden / "comparison/results.json").read_bytes()
    assert cases.command("report", "comparison") == 0
    page = (golden / "comparison/report.html").read_text(encoding="utf-8")
    assert "Two arms on digits" in page
    assert (golden / "comparison/results.json").read_bytes() == before


def test_missing_part_of_a_store_is_computed_again(golden, same_bits):
    store = golden / "comparison/store"
    cell = next(path for path in sorted(store.glob("cell-*.json")) if load_json(path)["origins"].keys() == {"fresh"})
    old, parts = load_json(cell), parts_of(store)
    cell.unlink()
    assert cases.command(*cases.COMPARE, "--resume") == 0
    new, after = load_json(cell), parts_of(store)
    assert {name: part for name, part in after.items() if name != cell.name} == {
        name: part for name, part in parts.items() if name != cell.name
    }
    assert cases.keys_of(new) == cases.keys_of(old)
    if same_bits:
        assert {**new, "seconds": 0} == {**old, "seconds": 0}
    else:
        assert (new["parameters"], new["flops"]) == (old["parameters"], old["flops"])
        assert new["curve"][-1]["loss"] == pytest.approx(old["curve"][-1]["loss"], rel=TOLERANCE)


def test_comparison_that_trains_its_ancestor_repeats_its_results(golden, same_bits):
    assert cases.command(*cases.BRED) == 0
    assert cases.names_in("bred/store") == STORED["bred"]
    weights = cases.store_weights("bred/store")
    assert weights.keys() == STORED["bred_weights"].keys()
    for name, stored in STORED["bred_weights"].items():
        assert_equal_or_close(weights[name], stored, same_bits)


def test_golden_files_are_tracked_and_contain_no_local_path():
    here = str(cases.GOLDEN.parents[1]).encode()
    for name in cases.names_in(cases.GOLDEN):
        data = (cases.GOLDEN / name).read_bytes()
        assert not any(place in data for place in (here, b"/home/", b"/root/", b"/tmp/", b"/Users/")), name
    patterns = (cases.GOLDEN.parents[1] / ".gitignore").read_text(encoding="utf-8").split()
    parts = {part for name in cases.names_in(cases.GOLDEN) for part in Path(name).parts}
    assert not parts & {pattern.strip("/") for pattern in patterns if not pattern.startswith("/")}
