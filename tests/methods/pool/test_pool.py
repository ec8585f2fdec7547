"""Learngene Pool from condense to descendants, on tiny real genes."""

from dataclasses import replace

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

import germline.timm  # noqa: F401 - registers stitched ViTs
from germline.architectures import VIT, Size, count_elements
from germline.baselines.random_gene import RandomGene
from germline.compare.cost.storage import count_headless_elements
from germline.data import DataSet, Images
from germline.errors import DataError, SettingError
from germline.files import read_tensors
from germline.learngene import Learngene
from germline.loading import load_network
from germline.methods.pool.method import Pool
from germline.methods.pool.paths import PoolPath
from germline.methods.pool.supernet import PoolNetwork, rebuild_vit
from germline.network import load_strict
from germline.registry import architecture_of
from germline.training import Run, TrainSettings, score_model
from helpers.architecture_cases import count_parameters

STITCHED = "front=8,end=16,j=1,k=2"
PATHS = [
    "width=8",
    "width=16",
    "front=8,end=16,j=1,k=1",
    STITCHED,
    "front=8,end=16,j=2,k=1",
    "front=8,end=16,j=2,k=2",
]
UNTRAINED = {"distil": {"steps": 0}, "finetune": {"steps": 0}}


def condense(ancestor, images, folder=None, seed=0, **settings):
    run = Run(folder, seed=seed, device="cpu", quiet=True)
    return Pool(**{"preset": "tiny", **settings}).condense(ancestor, images, run)


def rebuild_pool(gene):
    """Rebuild the pool of a gene."""
    method = gene.bound_method()
    specs = method.forms(gene.spec)
    models = {width: VIT.build(spec) for width, spec in specs.models.items()}
    pool = PoolNetwork(models, specs.layout)
    load_strict(pool, dict(gene.tensors), "gene")
    return pool.eval()


@pytest.fixture(scope="module")
def gene(ancestor, pico):
    """A gene of two auxiliary models of two blocks."""
    return condense(ancestor, pico)


def are_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_gene_has_all_tensors_of_the_pool(gene):
    assert {name.split(".")[0] for name in gene.tensors} == {"8", "16", "stitch"}
    assert gene.tensors["stitch.8-16.0.weight"].shape == (16, 8)
    assert len([name for name in gene.tensors if name.startswith("stitch")]) == 2
    assert (gene.spec.width, gene.spec.heads, gene.spec.depth) == (16, 2, 2)
    sizes = {name: tensor.numel() for name, tensor in gene.tensors.items()}
    assert gene.bound_method().cost(gene.spec, 0, 0).stored == sizes
    heads = (8 + 1) * 10 + (16 + 1) * 10
    assert count_headless_elements(gene.spec, sizes) == sum(sizes.values()) - heads


@torch.no_grad()
@pytest.mark.parametrize("size", PATHS)
def test_descendant_equals_the_pool_on_its_path(gene, pixels, size, tmp_path):
    pool = rebuild_pool(gene)
    pool.choose(PoolPath.of(Size.parse(size)))
    expected = pool(gene.preprocess(pixels))
    child = gene.inherit(Size.parse(size))
    assert torch.equal(child.network.logits(pixels), expected)
    assert {key: count.total() for key, count in child.ledger.entries.items()} == count_elements(child.model)
    assert set(child.ledger.totals()) == ({"copied"} if size.startswith("width") else {"copied", "stitched"})
    assert (type(child.model) is VisionTransformer) == size.startswith("width")
    child.save(tmp_path / "child")
    assert torch.equal(load_network(tmp_path / "child").logits(pixels), expected)
    timm_model = timm.create_model(f"local-dir:{tmp_path / 'child'}", pretrained=True).eval()
    assert torch.equal(timm_model(gene.preprocess(pixels)), expected)


def test_record_has_accuracy_and_cost_of_every_path(gene, pico):
    record = gene.provenance.record["paths"]
    assert (record["data"], record["split"]) == (pico.name, "val")
    assert [row["size"] for row in record["paths"]] == PATHS
    for row in record["paths"]:
        network = gene.inherit(Size.parse(row["size"])).network
        architecture = architecture_of(network.spec)
        score = score_model(network.model, network.logits, pico.val)
        assert row["accuracy"] == score.accuracy
        assert row["parameters"] == count_parameters(architecture, network.spec)
        assert row["headless_parameters"] == row["parameters"] - 10 * (network.model.embed_dim + 1)
        assert row["flops"] == architecture.flops(network.spec)
    accuracies = [row["accuracy"] for row in record["paths"]]
    assert gene.provenance.metrics["best of all paths (val)"] == max(accuracies)
    assert 0 <= gene.provenance.metrics["auxiliary model 8 (val)"] <= 1


def test_descendant_shares_no_tensors_with_the_gene(gene):
    before = {name: value.clone() for name, value in gene.tensors.items()}
    child = gene.inherit(Size.parse(STITCHED), classes=3)
    with torch.no_grad():
        for parameter in child.model.parameters():
            parameter.zero_()
    assert are_equal(dict(gene.tensors), before)


def test_head_is_inherited_only_for_equal_class_names(gene, pico):
    kept, fresh = gene.inherit(Size.parse(STITCHED)), gene.inherit(Size.parse(STITCHED), classes=10)
    assert torch.equal(kept.model.head.weight, gene.tensors["16.head.weight"])
    assert "fresh" not in kept.ledger.totals()
    assert fresh.ledger.totals()["fresh"] == 17 * 10
    assert kept.network.classes == pico.classes


@pytest.mark.parametrize("size", ["width=8", STITCHED])
def test_stem_is_adapted_to_other_images(gene, pixels, size):
    child = gene.inherit(Size.parse(size), channels=3, image_size=48)
    assert child.ledger.entries["patch_embed.proj.weight"] == {"adapted": 3 * 64 * 8}
    assert child.ledger.entries["pos_embed"] == {"resized": 36 * 8}
    with torch.no_grad():
        assert child.network.logits(pixels).shape == (8, 10)


def test_loaded_gene_gives_the_same_descendants(gene, tmp_path, pixels):
    gene.save(tmp_path / "gene")
    loaded = Learngene.load(tmp_path / "gene")
    assert loaded.bound_method() == gene.bound_method()
    assert are_equal(dict(loaded.tensors), dict(gene.tensors))
    assert loaded.provenance.record == gene.provenance.record
    caps = Size(max_params=10**6)
    assert are_equal(loaded.inherit(caps).model.state_dict(), gene.inherit(caps).model.state_dict())
    assert "6 paths: width=8, width=16, and stitched ones" in (tmp_path / "gene" / "learngene.json").read_text()


def test_cap_gives_the_best_path_below_it(gene):
    rows = gene.provenance.record["paths"]["paths"]
    for cap in (row["parameters"] for row in rows):
        best = max(row["accuracy"] for row in rows if row["parameters"] <= cap)
        child = gene.inherit(Size(max_params=cap))
        found = sum(parameter.numel() for parameter in child.model.parameters())
        assert found <= cap
        assert best == max(row["accuracy"] for row in rows if row["parameters"] == found)
    least = min(row["flops"] for row in rows)
    assert gene.inherit(Size(max_flops=least)).network.spec.width == 8


def test_cap_includes_the_descendant_s_head(gene):
    smallest = gene.provenance.record["paths"]["paths"][0]["parameters"]
    assert gene.inherit(Size(max_params=smallest - 8 * 9), classes=2).network.spec.width == 8
    with pytest.raises(SettingError, match="Its smallest path, width=8, has"):
        gene.inherit(Size(max_params=smallest), classes=100)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("max_params=100", "cannot grow max_params=100. Its smallest path, width=8"),
        ("max_params=1M,max_flops=7", "cannot grow max_params=1000000,max_flops=7. Its smallest"),
        ("max_params=1M,width=8", "A cap chooses the whole size. Remove width"),
        ("depth=2", "cannot grow depth=2"),
        ("width=12", "none has 12"),
        ("front=8,end=16,j=2,k=3", "have blocks 1 to 2"),
    ],
)
def test_sizes_that_the_pool_does_not_have_are_refused(gene, size, message):
    with pytest.raises(SettingError, match=message):
        gene.inherit(Size.parse(size))


def test_path_has_a_spec_without_a_gene_and_a_cap_does_not(gene, ancestor):
    method = gene.bound_method()
    spec = method.descendant_spec(ancestor.spec, Size.parse(STITCHED))
    assert spec == gene.target(Size.parse(STITCHED)).spec
    assert spec.widths == (8, 16)
    assert method.descendant_spec(ancestor.spec, Size()) == gene.spec
    with pytest.raises(SettingError, match=r"no path was validated\. Choose a path, such as front=8"):
        method.descendant_spec(ancestor.spec, Size(max_params=10**6))
    with pytest.raises(SettingError, match="No path of its pool has that spec"):
        method.check_size(gene, spec.model_copy(update={"depths": (2, 3)}))


def test_random_gene_gives_paths_but_refuses_caps(gene, pixels):
    shuffled = RandomGene(method="pool", settings=gene.settings).derive(gene, torch.Generator().manual_seed(0))
    child = shuffled.inherit(Size.parse(STITCHED))
    assert child.network.spec == gene.inherit(Size.parse(STITCHED)).network.spec
    with pytest.raises(SettingError, match="no path was validated"):
        shuffled.inherit(Size(max_params=10**6))


@torch.no_grad()
def test_pool_of_three_widths_gives_all_paths(ancestor, pico, pixels):
    gene = condense(ancestor, pico, widths=[8, 16, 24], heads=[1, 2, 3], segments=3, pairs="all", **UNTRAINED)
    rows = gene.provenance.record["paths"]["paths"]
    assert len(rows) == 3 + 3 * 4 + 12
    pool = rebuild_pool(gene)
    # Both paths have the same spec and different blocks.
    for size in ("front=8,middle=16,end=24,j=1,k=1,l=1,m=1", "front=8,middle=16,end=24,j=1,k=2,l=2,m=1"):
        pool.choose(PoolPath.of(Size.parse(size)))
        child = gene.inherit(Size.parse(size))
        assert child.network.spec.depths == (1, 1, 2)
        assert torch.equal(child.network.logits(pixels), pool(gene.preprocess(pixels)))


def test_file_has_the_bytes_of_the_path(ancestor, pico, tmp_path):
    gene = condense(ancestor, pico, widths=[32, 64], heads=[1, 2], depth=3, **UNTRAINED)
    for row in gene.provenance.record["paths"]["paths"][::4]:
        child = gene.inherit(Size.parse(row["size"]))
        child.save(tmp_path / "child", overwrite=True)
        size = (tmp_path / "child" / "model.safetensors").stat().st_size
        assert size == pytest.approx(4 * row["parameters"], rel=0.05)
        assert sum(value.numel() for value in child.model.state_dict().values()) == row["parameters"]


@pytest.fixture(scope="module")
def initial_pools(ancestor, pico):
    """Pools of three blocks with initial stitches, by the setting `init`."""
    settings = {"depth": 3, "distil": {"steps": 2}, "finetune": {"steps": 0}}
    inits = ("transpose", "pinv", "least-squares", "random")
    return {init: dict(condense(ancestor, pico, init=init, **settings).tensors) for init in inits}


def test_setting_init_decides_the_initial_stitches(initial_pools, ancestor, pico):
    weights = {init: [tensors[f"stitch.8-16.{n}.weight"] for n in (0, 1)] for init, tensors in initial_pools.items()}
    for init, (first, second) in weights.items():
        assert torch.equal(first, second) == (init in ("transpose", "pinv"))
        assert initial_pools[init]["stitch.8-16.0.bias"].any() != (init == "transpose")
        others = [weights[other][0] for other in weights if other != init]
        assert not [other for other in others if torch.equal(first, other)]
    other_seed = condense(ancestor, pico, seed=1, init="random", depth=3, distil={"steps": 2}, finetune={"steps": 0})
    assert not torch.equal(other_seed.tensors["stitch.8-16.0.weight"], weights["random"][0])


def test_init_transpose_gives_the_transposed_trained_matrices(initial_pools, ancestor, pico, tmp_path):
    gene = condense(ancestor, pico, tmp_path, depth=3, distil={"steps": 2}, finetune={"steps": 0})
    saved = read_tensors(tmp_path / "auxiliaries" / "objective.safetensors")
    trained = [saved[f"matrices.8.hidden.{index}.weight"] for index in range(3)]
    assert torch.equal(gene.tensors["stitch.8-16.1.weight"], torch.stack(trained).mean(0).T)
    assert are_equal(dict(gene.tensors), initial_pools["transpose"])


def test_setting_init_does_not_change_the_blocks(initial_pools):
    for tensors in initial_pools.values():
        for name, value in tensors.items():
            assert name.startswith("stitch.") or torch.equal(value, initial_pools["random"][name])


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": "logits", "init": "random"},
        {"losses": "logits+rep"},
        {"positions": ["end", "mid,end"]},
        {"alpha": 0.9},
        {"instances": "scratch", "init": "least-squares"},
    ],
    ids=str,
)
def test_distillation_settings_change_the_gene(gene, ancestor, pico, changes):
    other = condense(ancestor, pico, **changes)
    assert not torch.equal(other.tensors["8.blocks.0.attn.qkv.weight"], gene.tensors["8.blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize("changes", [{"teach": 0}, {"sandwich": True}, {"teaching": "hard"}], ids=str)
def test_fine_tuning_settings_change_the_gene(gene, ancestor, pico, changes):
    other = condense(ancestor, pico, **changes)
    metrics = "auxiliary model 8 (val)"
    assert other.provenance.metrics[metrics] == gene.provenance.metrics[metrics]
    assert not torch.equal(other.tensors["16.head.weight"], gene.tensors["16.head.weight"])


def test_condense_does_not_change_the_ancestor(ancestor, pico):
    before = {name: value.clone() for name, value in ancestor.model.state_dict().items()}
    condense(ancestor, pico)
    assert are_equal(ancestor.model.state_dict(), before)


def test_cost_includes_all_phases(gene, ancestor, pico):
    method, images = gene.bound_method(), len(pico.train)
    assert gene.provenance.training["samples"] == method.cost(gene.spec, images, 0).samples == 4 * 40 + 6 * 40
    rows = gene.provenance.record["paths"]["paths"]
    students = rows[0]["flops"] + rows[1]["flops"]
    mean = sum(row["flops"] for row in rows) / len(rows)
    teacher = VIT.flops(ancestor.spec)
    expected = 160 * (3 * students + teacher) + 240 * (3 * mean + teacher)
    found = method.cost(gene.spec, images, teacher)
    assert found.flops == pytest.approx(expected, abs=1)
    assert found.samples == 400
    scratch = Pool(preset="tiny", instances="scratch", init="least-squares", teach=0)
    untaught = 160 * 3 * students + 240 * 3 * mean
    assert scratch.cost(gene.spec, images, teacher).flops == pytest.approx(untaught, abs=1)
    ends = rows[0]["flops"] + max(rows, key=lambda row: row["parameters"])["flops"]
    order = sorted(rows, key=lambda row: row["parameters"])[1:-1]
    sandwich = Pool(preset="tiny", sandwich=True, teach=0, distil={"steps": 0})
    each = ends + sum(row["flops"] for row in order) / len(order)
    assert sandwich.cost(gene.spec, images, 0).flops == pytest.approx(240 * 3 * each, abs=1)


class InterruptedRun(Run):
    """A run that is interrupted before the phase `before`, or within the phase `during`."""

    before, during = "", ""

    def fit(self, name, network, objective, *rest, **more):
        if name == self.before:
            raise KeyboardInterrupt
        if name == self.during:
            original, left = objective.before_step, [3]

            def before_step(seed, phase, step):
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                original(seed, phase, step)

            objective.before_step = before_step
        return super().fit(name, network, objective, *rest, **more)

    def keep(self, name, work):
        if name == self.before:
            raise KeyboardInterrupt
        return super().keep(name, work)


CHECKPOINTS = {key: {"checkpoint_every": 2} for key in ("distil", "finetune")}


@pytest.fixture(scope="module")
def uninterrupted(ancestor, pico):
    """Genes of uninterrupted runs, by the setting `init`."""
    return {init: condense(ancestor, pico, init=init, **CHECKPOINTS) for init in ("transpose", "least-squares")}


@pytest.mark.parametrize(
    ("when", "phase", "init"),
    [
        ("during", "auxiliaries", "transpose"),
        ("before", "pool", "transpose"),  # the matrices are loaded with their phase
        ("before", "stitches", "least-squares"),
        ("during", "pool", "least-squares"),
        ("before", "paths", "least-squares"),
    ],
)
def test_interrupted_run_resumes_to_the_same_gene(ancestor, pico, uninterrupted, tmp_path, when, phase, init):
    method, expected = Pool(preset="tiny", init=init, **CHECKPOINTS), uninterrupted[init]
    run = InterruptedRun(tmp_path, device="cpu", quiet=True)
    setattr(run, when, phase)
    with pytest.raises(KeyboardInterrupt):
        method.condense(ancestor, pico, run)
    resumed = method.condense(ancestor, pico, Run(tmp_path, device="cpu", quiet=True))
    assert are_equal(dict(resumed.tensors), dict(expected.tensors))
    assert resumed.provenance.record == expected.provenance.record
    assert resumed.provenance.metrics == expected.provenance.metrics


def test_class_token_layer_scale_and_registers_come_from_the_ancestor(make_network, pico, pixels):
    ancestor = make_network(class_token=True, reg_tokens=1, init_values=1e-5, global_pool="token", depth=3)
    gene = condense(ancestor, pico, **UNTRAINED)
    child = gene.inherit(Size.parse(STITCHED))
    assert (child.network.spec.class_token, child.network.spec.reg_tokens) == (True, 1)
    assert child.model.blocks[0].ls1.gamma.shape == (8,)
    pool = rebuild_pool(gene)
    pool.choose(PoolPath.of(Size.parse(STITCHED)))
    with torch.no_grad():
        assert torch.equal(child.network.logits(pixels), pool(gene.preprocess(pixels)))


def test_presets_have_the_published_settings():
    six, nine, lab = (Pool(preset=name) for name in ("paper6", "paper9", "lab"))
    assert (six.widths, six.heads, six.depth, nine.depth) == ((192, 768), (3, 12), 6, 9)
    assert (len(six.layout.paths), len(nine.layout.paths)) == (18, 27)
    assert (six.distil.epochs, six.distil.batch_size, six.finetune.epochs) == (100, 256, 50)
    assert six.distil.lr == six.finetune.lr == pytest.approx(5e-4 * 256 / 512)
    assert (six.rates, nine.rates) == (None, (1.0, 0.1))
    assert nine.finetune.lr == pytest.approx(5e-4 * 128 / 512)
    for training in (six.distil, six.finetune, nine.finetune):
        assert training.lr * training.min_lr == pytest.approx(1e-5)
        assert training.warmup * training.epochs == pytest.approx(5)
    assert (six.init, six.losses, six.alpha, six.teach, six.temperature) == ("transpose", "all", 0.1, 0.5, 1.0)
    assert (lab.widths, lab.depth, lab.distil.steps, lab.finetune.steps) == ((24, 96), 6, 1500, 1500)
    assert (lab.init, nine.init) == ("least-squares", "transpose")
    assert Pool() == lab


def test_given_settings_override_the_preset():
    method = Pool(preset="tiny", depth=3, distil={"lr": 0.5}, finetune=TrainSettings(epochs=2))
    assert (method.depth, method.distil.lr, method.distil.steps) == (3, 0.5, 4)
    assert (method.finetune.epochs, method.finetune.steps, method.finetune.batch_size) == (2, None, 40)
    assert Pool.model_validate(method.model_dump(mode="json")) == method


@pytest.mark.parametrize(
    "bad",
    [
        {"unknown": 1},
        {"preset": "none"},
        {"widths": [8]},
        {"widths": [16, 8]},
        {"widths": [8, 8]},
        {"heads": [1]},
        {"positions": ["end"]},
        {"positions": ["end", "front"]},
        {"rates": [1.0]},
        {"rates": [1.0, 0.0]},
        {"depth": 0},
        {"segments": 4},
        {"pairs": "some"},
        {"init": "identity"},
        {"ridge": 0},
        {"init_images": 0},
        {"alpha": 2},
        {"losses": "rep"},
        {"losses": "logits"},  # no matrices to transpose
        {"instances": "scratch"},
        {"distil": {"unknown": 1}},
        {"distil": 3},
    ],
    ids=str,
)
def test_invalid_settings_are_refused(bad):
    with pytest.raises(SettingError):
        Pool(**{"preset": "tiny", **bad})


def test_unsuitable_ancestors_and_data_are_refused(ancestor, ancestors, make_network, pico, tmp_path):
    unknown = replace(ancestor, spec=None)
    bare = Images(pico.train.images, None, ())
    unlabelled = DataSet("bare", {"train": bare, "val": bare}.__getitem__)
    for teacher, images, settings, error, message in (
        (None, pico, {}, SettingError, "method pool without an ancestor"),
        (ancestors["vgg"], pico, {}, SettingError, "method pool cannot condense in a vgg"),
        (unknown, pico, {}, SettingError, "network of unknown spec. .* Give a plain timm ViT"),
        (make_network(classes="abc"), pico, {}, DataError, "The ancestor has 3 classes"),
        (ancestor, unlabelled, {}, DataError, "'bare' has no labels"),
        (ancestor, pico, {"heads": [3, 2]}, SettingError, "width=8 with heads=3"),
    ):
        with pytest.raises(error, match=message):
            condense(teacher, images, tmp_path / "run", **settings)
        assert not [path for path in (tmp_path / "run").iterdir() if path.name != "run.json"]


def test_model_of_one_width_can_be_rebuilt_from_the_gene(gene):
    tensors = {name[2:]: value for name, value in gene.tensors.items() if name.startswith("8.")}
    spec = gene.target(Size(width=8)).spec
    assert are_equal(rebuild_vit(spec, tensors).state_dict(), gene.inherit(Size(width=8)).model.state_dict())
