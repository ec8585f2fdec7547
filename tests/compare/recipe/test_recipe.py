"""Recipes: extending, overrides, quick versions, refusals and all packaged recipes."""

import json
from functools import cache
from pathlib import Path

import pytest
import yaml

from germline.architectures import Size, VitSpec
from germline.architectures.presets import MODELS
from germline.compare.cost.estimate import estimate_cost
from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.problems import list_recipe_errors
from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.text import (
    format_quick_recipe,
    has_quick_version,
    list_packaged_recipes,
    list_recipe_files,
    read_recipe_text,
)
from germline.compare.run.cells import list_main_cells, list_tuning_cells
from germline.errors import ArtefactError, SettingError, UnknownNameError
from germline.methods.base import find_method
from germline.registry import METHODS, architecture_of

DEMO = "demo"
PACKAGED = [
    pytest.param(name, quick, id=f"{name}{' --quick' * quick}")
    for name in list_packaged_recipes()
    for quick in ((False, True) if has_quick_version(name) else (False,))
]
# Recipes without tuning, with the saved result whose tuned settings they use.
TUNED_BY = dict.fromkeys(("lab/tleg-scratch-long", "lab/tleg-scratch-longer"), "tleg-samples-1000-steps")
RECIPE = {
    "title": "By hand",
    "protocol": "samples",
    "kind": "quick",
    "minutes": 1,
    "data": "digits",
    "ancestor": {"data": "digits"},
    "arms": {"gene": {"method": "tleg", "settings": {"steps": 3, "lr": 1e-3}}, "scratch": {"method": "scratch"}},
    "sizes": ["depth=2", "depth=4"],
    "images_per_class": [3],
    "seeds": [0, 1, 2],
    "train": {"steps": 5},
}
GRID = "grid={lr: [1e-3, 1e-2], weight_decay: [0.05]}"
TUNE = "tune={lr: [1e-3, 1e-2], weight_decay: [0.05], size: depth=2, images_per_class: 3}"


@pytest.fixture
def load_changed(tmp_path):
    """Function that loads the recipe with changes."""
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return lambda *changes: load_recipe(str(tmp_path / "r.yaml"), changes)


@cache
def estimate_packaged(name, *, quick=False):
    return estimate_cost(load_recipe(name, quick=quick))


# Packaged recipes


@pytest.mark.parametrize(("name", "quick"), PACKAGED)
def test_packaged_recipes_are_valid(name, quick):
    recipe = load_recipe(name, quick=quick)
    assert recipe.title
    assert not quick or (recipe.kind, recipe.title) == ("quick", load_recipe(name).title)
    assert "scratch" in recipe.arms
    if recipe.kind != "quick":
        assert len(recipe.seeds) >= 3
        # Settings are tuned, form a grid, or come from another recipe or the paper.
        assert recipe.tune or recipe.grid or name in TUNED_BY or name.startswith("paper/")
    if recipe.tune:
        tried = recipe.tune.positions if recipe.is_frozen else recipe.tune.lr
        assert len(tried) * len(recipe.tune.weight_decay or [None]) >= 2


@pytest.mark.parametrize("name", list(TUNED_BY))
def test_recipe_without_grid_uses_settings_tuned_elsewhere(name):
    recipe = load_recipe(name)
    result_file = Path(__file__).parents[3] / "benchmarks" / "results" / f"{TUNED_BY[name]}.json"
    tuned = json.loads(result_file.read_text(encoding="utf-8"))["tuned"]
    for arm in recipe.arms:
        settings = recipe.train_settings(arm)
        assert (settings.lr, settings.weight_decay) == (tuned[arm]["lr"], tuned[arm]["weight_decay"])


@pytest.mark.parametrize(("name", "quick"), PACKAGED)
def test_cost_of_packaged_recipes_can_be_estimated(name, quick):
    recipe, found = load_recipe(name, quick=quick), estimate_packaged(name, quick=quick)
    if recipe.has_open_sizes:
        first = next(iter(recipe.arms.values()))
        recipe = recipe.model_copy(update={"sizes": METHODS[first.method](**first.settings).describe_sizes(None).names})
    grid = len(recipe.grid.lr) * len(recipe.grid.weight_decay) if recipe.grid else 1
    descendants = sum(len(recipe.sizes_of(arm)) for arm in recipe.arms)
    count = descendants * len(recipe.images_per_class) * len(recipe.seeds) * grid
    assert found.cells.count == count == len(list_main_cells(recipe))
    assert found.tuning.count == len(list_tuning_cells(recipe))
    assert found.cells.samples > 0
    assert found.cells.flops > 0
    assert f"{count} cells" in found.text()


@pytest.mark.parametrize("name", [name for name in list_packaged_recipes() if not name.startswith(DEMO)])
def test_a_packaged_recipe_is_a_demonstration_or_can_be_evidence(name):
    recipe, found = load_recipe(name), estimate_packaged(name)
    assert recipe.kind in ("demonstration", "full")
    if recipe.kind == "full":
        assert recipe.question is not None
        page = (Path(__file__).parents[3] / "docs" / "how-to" / "read-a-verdict.md").read_text(encoding="utf-8")
        assert f"`{name}`" in page
        assert f"| `{recipe.question.name}` |" in page
        first = {"": "own size", "*": "every size"}.get(recipe.sizes[0], recipe.sizes[0])
        assert not found.ceiling.startswith(f"ceiling unknown at {first}")
        assert found.minutes is not None
        # Scratch chooses its initial positions, if it has any.
        fresh = recipe.arms["scratch"].settings.get("positions") or (recipe.tune and recipe.tune.positions)
        assert fresh or not recipe.ancestor.model.startswith("vit")


@pytest.mark.parametrize("protocol", ["convergence", "samples", "sensitivity", "sizes", "instincts"])
def test_every_protocol_has_a_recipe_with_a_quick_version(protocol):
    full, quick = (load_recipe(f"lab/tleg-{protocol}", quick=is_quick) for is_quick in (False, True))
    # The data leave no room for a claim.
    assert (full.protocol, full.kind) == (protocol, "demonstration")
    assert (quick.protocol, quick.kind) == (protocol, "quick")
    assert quick.minutes <= 10
    assert list(quick.arms) == list(full.arms)
    assert quick.data == full.data
    assert quick.ancestor.data == full.ancestor.data
    full_cost, quick_cost = (
        estimate_packaged(f"lab/tleg-{protocol}"),
        estimate_packaged(f"lab/tleg-{protocol}", quick=True),
    )
    samples = [sum(cost.samples for cost in (p.cells, p.tuning, p.ancestors, p.genes)) for p in (full_cost, quick_cost)]
    assert samples[1] < samples[0] / 5


@pytest.mark.parametrize("name", ["lab/pool-family", "lab/pool-family-long"])
def test_pool_recipe_gives_anchors_equal_budgets(name):
    recipe = load_recipe(name)
    assert (recipe.protocol, recipe.kind, recipe.sizes) == ("paths", "demonstration", ("*",))
    assert [arm for arm in recipe.arms if recipe.is_trained(arm)] == ["scratch"]
    steps = recipe.ancestor.train.steps
    pool, same, total = (recipe.arms[arm].settings for arm in ("pool", "snnet-same", "snnet-total"))
    assert same["anchor"] == pool["distil"]
    assert total["anchor"] == {**pool["distil"], "steps": steps + pool["distil"]["steps"]}
    assert pool["finetune"] == same["finetune"] == total["finetune"]
    # Scratch gets as many steps as all trainings of the pool together.
    assert recipe.train.steps == steps + pool["distil"]["steps"] + pool["finetune"]["steps"]
    assert recipe.ancestor.train.batch_size == recipe.train.batch_size == pool["distil"]["batch_size"]
    quick = load_recipe("lab/pool-family", quick=True)
    assert quick.minutes <= 10
    assert list(quick.arms) == list(recipe.arms)
    assert estimate_packaged("lab/pool-family", quick=True).genes.samples < estimate_packaged(name).genes.samples / 5


@pytest.mark.parametrize("name", ["instances", "losses", "positions"])
def test_pool_ablations_differ_only_in_their_subject(name):
    base, recipe = load_recipe("lab/pool-family"), load_recipe(f"lab/pool-{name}")
    about = {"instances": {"instances", "init"}, "losses": {"losses", "alpha"}, "positions": {"positions"}}[name]
    assert (recipe.data, recipe.ancestor, recipe.train, recipe.tune) == (
        base.data,
        base.ancestor,
        base.train,
        base.tune,
    )
    pools = [arm.settings for arm in recipe.arms.values() if arm.method == "pool"]
    rest = [{key: value for key, value in settings.items() if key not in about} for settings in pools]
    assert len(pools) >= 3
    assert all(one == rest[0] for one in rest)
    trainings = [base.arms["pool"].settings[key] for key in ("distil", "finetune")]
    assert [rest[0][key] for key in ("distil", "finetune")] == trainings


def test_extending_recipes_share_unchanged_keys():
    base, other = load_recipe("lab/tleg-samples"), load_recipe("lab/tleg-sizes")
    same = ("data", "ancestor", "seeds", "train", "tune", "one_gene")
    assert [getattr(other, key) for key in same] == [getattr(base, key) for key in same]
    assert list(other.arms) == ["gene", "scratch"]
    assert other.arms["gene"] == base.arms["gene"]


def test_lets_recipe_has_one_network_per_size_for_all_arms():
    base, recipe = load_recipe("lab/any-size"), load_recipe("lab/any-size-lets")
    same = ("data", "ancestor", "protocol", "seeds", "train", "tune", "read_steps", "images_per_class", "one_gene")
    assert [getattr(recipe, key) for key in same if key != "tune"] == [
        getattr(base, key) for key in same if key != "tune"
    ]
    assert recipe.tune.model_copy(update={"size": base.tune.size}) == base.tune
    assert list(recipe.arms) == [
        "lets",
        "scratch",
        "random-gene",
        "weight-selection",
        *("finetune", "finetune-shuffled"),
    ]
    nano = VitSpec(image_size=32, channels=3, classes=100, **MODELS["vit_nano"].fields)
    lets = find_method("lets")(**recipe.arms["lets"].settings)
    large = architecture_of(nano).resize(nano, Size(depth=lets.depth, width=lets.width, heads=lets.heads))
    for text in recipe.sizes:
        size = Size.parse(text)
        assert lets.descendant_spec(large, size) == architecture_of(nano).resize(nano, size)
        assert len(size) == 3


def test_sample_recipe_needs_these_ancestors():
    recipe, found = load_recipe("lab/tleg-samples"), estimate_packaged("lab/tleg-samples")
    seeds = len(recipe.seeds) + 1
    # The arm finetune needs an ancestor of four blocks, beside the one of six.
    assert found.ancestors.count == 2 * seeds
    assert found.ancestors.samples == 2 * seeds * recipe.ancestor.train.steps * recipe.ancestor.train.batch_size


# Extending


def load_extending(place, **changes):
    (place / "base.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    (place / "own.yaml").write_text(yaml.safe_dump({"extends": str(place / "base.yaml"), **changes}))
    return load_recipe(str(place / "own.yaml"))


def test_extending_changes_named_keys_only(tmp_path):
    found = load_extending(tmp_path, title="Mine", train={"lr": 0.5}, arms={"gene": {"settings": {"lr": 0.25}}})
    assert (found.title, found.train.lr, found.train.steps) == ("Mine", 0.5, 5)
    assert found.arms["gene"].settings == {"steps": 3, "lr": 0.25}
    assert list(found.arms) == ["gene", "scratch"]
    assert found.seeds == (0, 1, 2)


def test_null_removes_a_key(tmp_path):
    found = load_extending(tmp_path, arms={"gene": None}, train={"steps": None}, sizes=["depth=1"])
    assert list(found.arms) == ["scratch"]
    assert found.train.steps is None
    assert found.sizes == ("depth=1",)
    with pytest.raises(SettingError, match="'title' is missing"):
        load_extending(tmp_path, title=None)


def test_an_override_with_null_removes_an_arm(tmp_path):
    load_extending(tmp_path)
    path = str(tmp_path / "own.yaml")
    assert list(load_recipe(path).arms) == ["gene", "scratch"]
    assert list(load_recipe(path, ["arms.scratch=null"]).arms) == ["gene"]
    assert list_recipe_errors(path, ["arms.scratch=null"]) == []
    with pytest.raises(UnknownNameError, match=r"^Unknown arm 'scrath'\. Did you mean scratch\?"):
        load_recipe(path, ["arms.scrath=null"])


def test_extending_works_over_several_recipes(tmp_path):
    load_extending(tmp_path, title="Middle", seeds=[5])
    (tmp_path / "last.yaml").write_text(f"extends: {tmp_path / 'own.yaml'}\nseeds: [6]\n")
    found = load_recipe(str(tmp_path / "last.yaml"), ["minutes=9"])
    assert (found.title, found.seeds, found.minutes) == ("Middle", (6,), 9)


def test_a_recipe_beside_the_own_one_is_found_from_any_folder(tmp_path, monkeypatch):
    place = tmp_path / "recipes"
    place.mkdir()
    (place / "base.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    (place / "own.yaml").write_text("extends: base.yaml\ntitle: Mine\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("recipes/own.yaml").title == "Mine"
    assert list_recipe_files("recipes/own.yaml") == ["recipes/own.yaml", "recipes/base.yaml"]


def test_recipe_cannot_extend_itself(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{one}.yaml").write_text(f"extends: {tmp_path / other}.yaml\n")
    with pytest.raises(SettingError, match=r"a.yaml' extends itself. .*a.yaml -> .*b.yaml -> .*a.yaml"):
        load_recipe(str(tmp_path / "a.yaml"))
    with pytest.raises(UnknownNameError, match="lab/tleg-samples"):
        load_extending(tmp_path, extends="lab/tleg-sample")


def test_recipe_is_found_by_name_or_path(tmp_path):
    (tmp_path / "mine.yaml").write_text(read_recipe_text(DEMO))
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe(DEMO)
    with pytest.raises(UnknownNameError, match=r"Unknown recipe 'dmeo'. Did you mean demo"):
        load_recipe("dmeo")
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ArtefactError, match="UTF-8"):
        load_recipe(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("name", ["lab/tleg-samples", "lab/tleg-sensitivity", "lab/tleg-sizes"])
def test_recipe_survives_json(name):
    recipe = load_recipe(name)
    assert Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


# Quick versions


@pytest.fixture
def with_quick(tmp_path):
    """Function that writes a recipe with these changes for a quick run."""

    def write(changes, name="r.yaml", **keys):
        (tmp_path / name).write_text(yaml.safe_dump({**RECIPE, "kind": "full", **keys, "quick": changes}))
        return str(tmp_path / name)

    return write


def test_quick_version_applies_its_changes(with_quick):
    name = with_quick({"minutes": 0.5, "seeds": [7], "train": {"steps": 2}, "arms": {"gene": None}})
    full, quick = load_recipe(name), load_recipe(name, ["train.lr=0.5"], quick=True)
    assert (full.kind, full.minutes, full.seeds, full.train.steps, list(full.arms)) == (
        "full",
        1,
        (0, 1, 2),
        5,
        ["gene", "scratch"],
    )
    assert (quick.kind, quick.minutes, quick.seeds, quick.train.steps, list(quick.arms)) == (
        "quick",
        0.5,
        (7,),
        2,
        ["scratch"],
    )
    assert quick.train.lr == 0.5
    assert (quick.title, quick.sizes) == (full.title, full.sizes)


def test_quick_version_is_not_inherited(with_quick, tmp_path):
    base = with_quick({"seeds": [7]}, "base.yaml")
    (tmp_path / "own.yaml").write_text(f"extends: {base}\ntitle: Mine\n")
    assert load_recipe(str(tmp_path / "own.yaml")).seeds == (0, 1, 2)
    with pytest.raises(SettingError, match=r"own.yaml' has no quick version.*`quick`.*Run it without --quick"):
        load_recipe(str(tmp_path / "own.yaml"), quick=True)
    (tmp_path / "own.yaml").write_text(f"extends: {base}\nquick: {{minutes: 3}}\n")
    assert load_recipe(str(tmp_path / "own.yaml"), quick=True).seeds == (0, 1, 2)


@pytest.mark.parametrize("changes", [3, [], "minutes: 3"])
def test_quick_version_must_be_a_mapping(with_quick, changes):
    with pytest.raises(SettingError, match=r"r.yaml: quick=.*not a mapping.*Use keys of the recipe"):
        load_recipe(with_quick(changes), quick=True)


def test_former_name_of_quick_recipe_loads_quick_version(tmp_path):
    quick = load_recipe("lab/tleg-sizes", quick=True)
    assert load_recipe("lab/tleg-sizes-quick") == load_recipe("lab/tleg-sizes-quick", quick=True) == quick
    (tmp_path / "own.yaml").write_text("extends: lab/tleg-sizes-quick\n")
    assert load_recipe(str(tmp_path / "own.yaml")) == quick
    with pytest.raises(SettingError, match="'demo' has no quick version"):
        load_recipe("demo-quick")
    with pytest.raises(UnknownNameError, match="Unknown recipe 'lab/tleg-size-quick'"):
        load_recipe("lab/tleg-size-quick")


def test_quick_version_can_be_copied(tmp_path):
    (tmp_path / "mine.yaml").write_text(format_quick_recipe("lab/tleg-convergence"))
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe("lab/tleg-convergence", quick=True)


# A key of a former version


def test_former_key_levelling_is_scratch_until_plateau(load_changed, tmp_path):
    new = load_changed("scratch_until_plateau={most: 4}")
    assert new.scratch_until_plateau.most == 4
    assert (
        load_changed("levelling={most: 4}")
        == load_changed("levelling={most: 8}", "scratch_until_plateau.most=4")
        == new
    )
    saved = new.model_dump(mode="json")
    assert saved["levelling"] == {"tolerance": 0.01, "most": 4}
    assert Recipe.model_validate(saved) == new
    (tmp_path / "own.yaml").write_text(f"extends: {tmp_path / 'r.yaml'}\nlevelling: {{most: 4}}\n")
    assert load_recipe(str(tmp_path / "own.yaml")) == new
    (tmp_path / "own.yaml").write_text("levelling: {}\nscratch_until_plateau: {}\n")
    with pytest.raises(SettingError, match="unknown key 'levelling'"):
        load_recipe(str(tmp_path / "own.yaml"))


# Settings and refusals


def test_overrides_are_checked():
    assert load_recipe(DEMO, ["train.lr=1e-2", "seeds=[5]"]).train.lr == 0.01
    with pytest.raises(SettingError, match=r"demo: unknown key 'train.step'. Did you mean train.steps"):
        load_recipe(DEMO, ["train.step=3"])
    with pytest.raises(SettingError, match=r"demo: arms.gene.settings: depth=0"):
        load_recipe(DEMO, ["arms.gene.settings.depth=0"])
    with pytest.raises(SettingError, match=r"demo: arms.gene.train: lr=-1"):
        load_recipe(DEMO, ["arms.gene.train.lr=-1"])


def test_arm_settings_override_recipe_and_tuned_ones_override_both():
    recipe = load_recipe(DEMO, ["train.lr=1", "arms.gene.train={lr: 2}"])
    assert recipe.train_settings("scratch").lr == 1
    assert recipe.train_settings("gene").lr == 2
    assert recipe.train_settings("gene", lr=3).lr == 3


FAMILY = "family={counts: [1], size: depth=2, images_per_class: 3}"
SENSITIVE = ("protocol=sensitivity", GRID)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["protocol=speed"], "protocol='speed'"),
        (["protocol=sensitivity"], "protocol=sensitivity without a grid"),
        ([GRID], "protocol=samples with a grid"),
        (["protocol=sensitivity", "grid={lr: [], weight_decay: [0.05]}"], "grid.lr"),
        (["protocol=sensitivity", "grid={lr: [1e-3], weight_decay: [0.05]}"], "grid.lr"),
        (["protocol=sensitivity", "grid={lr: [1e-3, 0.001], weight_decay: [0.05]}"], "A value is given twice"),
        (["protocol=sensitivity", "grid={lr: [1e-3, 1e-2], weight_decay: [0, 0]}"], "A value is given twice"),
        (["tune={lr: [], weight_decay: [0], size: depth=2, images_per_class: 3}"], "tune.lr"),
        (["tune={lr: [1e-3, 1e-3], weight_decay: [0], size: depth=2, images_per_class: 3}"], "A value is given twice"),
        ([TUNE, "tune.positions=[0.1, 0.10]"], "tune.positions=[0.1, 0.1]. A value is given twice"),
        ([FAMILY.replace("[1]", "[5, 5]")], "family.counts=[5, 5]. A value is given twice"),
        (["ancestor.mean=[0.5]"], "belongs to a weight file at ancestor.path; remove ancestor.mean"),
        (["ancestor.image_size=8"], "image_size belongs to a weight file at ancestor.path"),
        (
            ["train.steps=0"],
            "has steps=0. The protocol samples compares trained descendants. Set its steps to 1 or more",
        ),
        (["arms.gene.train={steps: 0}"], "Arm 'gene' has steps=0"),
        (
            ["sizes=[depth=4, depth=04]"],
            "Sizes 'depth=4' and 'depth=04' are the same. Each of their cells would run twice",
        ),
        (["sizes=['depth=4,width=64', 'width=64,depth=4']"], "are the same"),
        (["sizes=[depth=4, depth=4]"], "A value is given twice"),
        (["sizes=[]"], "sizes"),
        (["arms={}"], "arms"),
        (["arms.again={method: scratch}"], "Arms 'scratch' and 'again' are the same"),
        (["arms.again={method: tleg, settings: {lr: 1e-3, steps: 3}}"], "'gene' and 'again'"),
        # An explicit default, or the recipe's own settings.
        (["arms.again={method: tleg, settings: {lr: 1e-3, steps: 3, alpha: 1.0}}"], "'gene' and 'again'"),
        (["arms.again={method: scratch, train: {steps: 5}}"], "'scratch' and 'again'"),
        # tuned_as without tuning, or with the same arm.
        (["arms.again={method: scratch, tuned_as: gene}"], "'scratch' and 'again'"),
        (["arms.again={method: scratch, tuned_as: scratch}", TUNE], "'scratch' and 'again'"),
        ([FAMILY.replace("size: depth=2", "size: depth=3")], "family.size=depth=3"),
        ([FAMILY.replace("class: 3", "class: 4")], "family.images_per_class=4"),
        ([FAMILY.replace("[1]", "[0]")], "family.counts"),
        ([FAMILY, "arms.scratch=null", "arms={gene: {method: tleg}}"], "family without an arm 'scratch'"),
        (
            ["scratch_until_plateau={}", "arms={gene: {method: tleg}}"],
            "scratch_until_plateau without an arm 'scratch'",
        ),
        ([FAMILY, "arms={scratch: {method: scratch}}"], "family with 'scratch' as the first arm"),
        ([*SENSITIVE, "scratch_until_plateau={}"], "scratch_until_plateau with a grid"),
        ([*SENSITIVE, FAMILY], "family with a grid"),
        (["final=true"], "final with data=digits. Only glyphs has a final part of its own. Set final_data"),
        (["final_data=digits"], "final_data=digits. The recipe trains or tunes on these data"),
        (["tasks={ways: 1, count: 3}"], "tasks.ways=1"),
        (["tasks={ways: 2, count: 0}"], "tasks.count=0"),
        (["arms.gene.draw=-1"], "draw=-1"),
        (["seeds=[]"], "seeds"),
        ([f"{TUNE[:-1]}, seed: 1}}"], "tune.seed=1"),
        ([f"{TUNE[:-1]}, scaling: depth}}"], "tune.scaling"),
    ],
)
def test_invalid_recipes_are_refused(load_changed, changes, message):
    with pytest.raises(SettingError) as caught:
        load_changed(*changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        SENSITIVE,
        (FAMILY, "scratch_until_plateau={}"),
        ("arms.again={method: scratch, draw: 1}",),
        ("arms.again={method: scratch, train: {steps: 9}}",),
        ("arms.again={method: tleg, settings: {lr: 1e-3, steps: 4}}",),
        # scratch with its own settings, and with those tuned for the gene.
        ("arms.again={method: scratch, tuned_as: gene}", TUNE),
        ("data=glyphs/novel", "final=true"),
    ],
)
def test_valid_recipes_load(load_changed, changes):
    assert isinstance(load_changed(*changes), Recipe)
