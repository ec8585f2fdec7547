"""Auto-Learngene: which layers are chosen, and what descendants do with them."""

import pytest
import torch

from germline.architectures import ResNet12Spec, Size, VggSpec
from germline.architectures.presets import MODELS
from germline.errors import DataError, SettingError
from germline.learngene import Learngene
from germline.methods.auto.layer_selection import LayerScores, choose_layers, compute_cka, split_layers
from germline.methods.auto.method import Auto
from germline.methods.auto.presets import PRESETS
from germline.methods.auto.stacking import place_blocks
from germline.methods.base import GeneCost
from germline.registry import architecture_of, model_spec
from germline.training import Run

WIDTHS = ((4,), (4,), (8, 8), (8, 8), (8, 8))


@pytest.fixture(scope="module")
def vgg(make_convolutional):
    return make_convolutional(VggSpec, widths=WIDTHS)


def condense(ancestor, data, seed=0, **settings):
    return Auto(preset="tiny", **settings).condense(ancestor, data, Run(device="cpu", seed=seed, quiet=True))


def read_state(network):
    return network.model.state_dict()


def make_spec(model, **fields):
    return model_spec(model, image_size=32, channels=1, classes=10).model_copy(update=fields)


class TestLayerChoice:
    def test_blocks_are_split_into_layers(self):
        assert [one.blocks for one in split_layers((1, 2), "blocks")] == [(0,), (1,), (2,)]
        assert split_layers((1, 2), "stages") == (((0,), 0), ((1, 2), 2))
        assert split_layers((5,), "pairs") == (((0, 1), 0), ((2, 3), 2), ((4,), 4))

    @pytest.mark.parametrize(
        ("rule", "keep", "chosen"),
        [
            ("top", 2, (0, 3)),
            ("top", 4, (0, 1, 2, 3)),
            ("threshold", 1, (0, 3)),
            ("contiguous", 1, (0,)),
            ("contiguous", 2, (2, 3)),
            ("contiguous", 3, (0, 1, 2)),
        ],
    )
    def test_each_rule_chooses_layers(self, rule, keep, chosen):
        assert choose_layers([0.4, 0.02, 0.2, 0.38], rule, keep) == chosen

    def test_equal_scores_choose_the_earliest_or_all(self):
        assert choose_layers([0.1] * 3, "top", 2) == (0, 1)
        assert choose_layers([0.1] * 3, "contiguous", 2) == (0, 1)
        assert choose_layers([0.1] * 3, "threshold", 2) == (0, 1, 2)

    def test_scores_are_normalised_row_maxima(self):
        assert LayerScores([[1.0, 3.0], [1.0, 0.0]], ("a", "b")).by_layer == [0.75, 0.25]
        assert LayerScores([[0.0], [0.0]], ("a",)).by_layer == [0.5, 0.5]

    def test_cka_equals_known_values(self):
        draw = torch.Generator().manual_seed(0)
        features, rotation = torch.randn(50, 3, generator=draw), torch.linalg.qr(torch.randn(3, 3, generator=draw))[0]
        assert compute_cka(features, features @ rotation * 5 + 2) == pytest.approx(1)
        assert compute_cka(features, torch.randn(50, 3, generator=draw)) < 0.2
        one, other = torch.tensor([[1.0], [-1.0], [0.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
        assert compute_cka(one, other) == pytest.approx(0.25)  # the square of the correlation
        assert compute_cka(one, torch.ones(3, 2)) == 0


class TestPlaces:
    @pytest.mark.parametrize(
        ("model", "size", "chosen", "place", "expected"),
        [
            ("vit_mini", {"depth": 6}, (0, 1, 8, 9, 10, 11), "relative", (0, 1, 2, 3, 4, 5)),
            ("vit_mini", {"depth": 6}, (2, 3), "relative", (1, 2)),
            ("vit_mini", {"depth": 12}, (2, 11), "relative", (2, 11)),
            ("vit_pico", {"depth": 9}, (2, 5), "relative", (3, 7)),
            ("vit_pico", {"depth": 9}, (2, 5), "positions", (2, 5)),
            # The published units of VGG16 in the published VGG9.
            (
                "vgg16_x025",
                {"depth1": 1, "depth2": 1, "depth3": 2, "depth4": 2, "depth5": 2},
                (0, 2, 4, 5, 11, 12),
                "relative",
                (0, 1, 2, 3, 6, 7),
            ),
        ],
    )
    def test_blocks_get_the_expected_places(self, model, size, chosen, place, expected):
        own = make_spec(model)
        places = place_blocks(own, architecture_of(own).resize(own, Size(**size)), chosen, place)
        assert tuple(places) == chosen
        assert tuple(places.values()) == expected

    @pytest.mark.parametrize(("place", "depth", "least"), [("relative", 1, 2), ("positions", 5, 6)])
    def test_too_few_blocks_are_refused(self, place, depth, least):
        own = make_spec("vit_pico")
        with pytest.raises(SettingError, match=f"Its layers need {least}"):
            place_blocks(own, own.model_copy(update={"depth": depth}), (0, 5), place)

    def test_refusal_names_the_stage_that_is_too_shallow(self):
        """Stages 3 to 5 of a VGG16 are equally deep."""
        own = make_spec("vgg16_x025")
        wanted = architecture_of(own).resize(own, Size(depth5=1))
        with pytest.raises(SettingError, match="cannot grow 1 blocks in stage 5"):
            place_blocks(own, wanted, (11, 12), "relative")


class TestCondense:
    def test_gene_has_the_chosen_layers_of_the_ancestor(self, vgg, pico):
        gene = condense(vgg, pico, keep=2, steps=8)
        record = gene.provenance.record["layers"]
        assert len(record["kept"]) == 2
        assert record["kept"] == list(choose_layers(record["scores"], "top", 2))
        assert sum(record["scores"]) == pytest.approx(1, abs=1e-4)
        assert len(record["matrix"]) == 8
        assert len(record["matrix"][0]) == len(record["against"]) == 8
        assert [one["step"] for one in record["history"]] == list(range(1, 9))
        assert record["history"][0]["matrix"] == [[1.0] * 8] * 8  # the weights before the first step
        assert record["history"][-1]["matrix"] != record["history"][0]["matrix"]
        parts = architecture_of(gene.spec).parts(gene.spec)
        names = [name for at in record["kept"] for name in parts.blocks[at].values()]
        assert gene.tensors.keys() == set(names)
        assert all(torch.equal(gene.tensors[name], read_state(vgg)[name]) for name in names)
        assert 0 <= gene.provenance.metrics["pseudo descendant (val)"] <= 1
        assert gene.provenance.training["steps"] == 8

    def test_condense_does_not_change_the_ancestor(self, vgg, pico):
        before = {name: one.clone() for name, one in read_state(vgg).items()}
        for select in ("meta", "cka"):
            condense(vgg, pico, select=select)
        assert all(torch.equal(one, before[name]) for name, one in read_state(vgg).items())
        assert not vgg.model.training

    def test_cka_needs_no_training_and_ignores_the_seed(self, vgg, pico):
        genes = [condense(vgg, pico, seed, select="cka", keep=3) for seed in (0, 1)]
        records = [gene.provenance.record["layers"] for gene in genes]
        assert records[0] == records[1]
        assert records[0]["against"] == ["labels"]
        assert all(0 <= row[0] <= 1 for row in records[0]["matrix"])
        assert genes[0].provenance.training["steps"] == 0

    def test_random_choices_depend_on_the_seed(self, vgg, pico):
        kept = [condense(vgg, pico, seed, select="random").provenance.record["layers"]["kept"] for seed in range(8)]
        assert len({tuple(one) for one in kept}) > 2
        assert kept[3] == condense(vgg, pico, 3, select="random").provenance.record["layers"]["kept"]

    def test_pseudo_descendant_trains_on_the_held_out_set(self, vgg, pico, tmp_path):
        from germline.data import load_data

        digits = load_data("digits,held_out=digits")
        three = pico.train.select_classes(("1", "4", "7"))
        other = load_data(three, val=pico.val.select_classes(("1", "4", "7")), classes=three.classes)
        both = type(digits)(name="both", read=pico.read, augmentation=(), roles={"held_out": other})
        run = Run(tmp_path, device="cpu", quiet=True)
        gene = Auto(preset="tiny").condense(vgg, both, run)
        from germline.files import read_tensors

        assert read_tensors(tmp_path / "pseudo/result.safetensors")["head.fc.weight"].shape[0] == 3
        assert gene.provenance.data == "both"

    def test_stages_and_pairs_are_never_split(self, vgg, ancestors, pico):
        staged = condense(vgg, pico, taps="stages", pseudo_taps="blocks").provenance.record["layers"]
        assert staged["layers"] == [[0], [1], [2, 3], [4, 5], [6, 7]]
        assert staged["kept"] in staged["layers"]
        pairs = condense(ancestors["vit"], pico, taps="pairs").provenance.record["layers"]
        assert pairs["kept"] == [0, 1]

    def test_killed_condensation_resumes_to_the_same_record(self, vgg, pico, tmp_path, monkeypatch):
        method = Auto(preset="tiny", steps=6, checkpoint_every=2)
        uninterrupted = method.condense(vgg, pico, Run(tmp_path / "uninterrupted", device="cpu", quiet=True))
        from germline.methods.auto.pseudo_descendant import PseudoDescendant

        original = PseudoDescendant.after_step

        def after_step(self, model, first):
            if self._step == 4:
                raise KeyboardInterrupt
            original(self, model, first)

        with monkeypatch.context() as patch:
            patch.setattr(PseudoDescendant, "after_step", after_step)
            with pytest.raises(KeyboardInterrupt):
                method.condense(vgg, pico, Run(tmp_path / "killed", device="cpu", quiet=True))
        resumed = method.condense(vgg, pico, Run(tmp_path / "killed", device="cpu", quiet=True))
        assert resumed.provenance.record == uninterrupted.provenance.record
        assert resumed.tensors.keys() == uninterrupted.tensors.keys()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"keep": 9}, "The ancestor has 8 layers"),
            ({"layers": (2, 8)}, "The ancestor has 8 blocks"),
            ({"pseudo": "heads=2"}, "no such key"),
        ],
    )
    def test_settings_that_do_not_fit_the_ancestor_are_refused(self, vgg, pico, settings, message):
        with pytest.raises(SettingError, match=message):
            Auto(preset="tiny", **settings).condense_spec(vgg, pico)

    def test_missing_labels_or_ancestor_are_refused(self, vgg, pico):
        from germline.data import Images, load_data

        bare = load_data(Images(pico.train.images, None, ()), val=Images(pico.val.images, None, ()))
        with pytest.raises(DataError, match="no labels"):
            Auto(preset="tiny").condense_spec(vgg, bare)
        assert Auto(preset="tiny", layers=(1,)).condense_spec(vgg, bare) == vgg.spec
        with pytest.raises(SettingError, match="'auto' needs an ancestor"):
            Auto().condense_spec(None, pico)

    def test_settings_that_virtual_steps_do_not_support_are_refused(self):
        for settings in ({"optimizer": "adamw"}, {"clip": 1.0}, {"accumulate": 2}, {"compile": True}):
            with pytest.raises(SettingError, match="plain SGD"):
                Auto(**settings)
        with pytest.raises(SettingError, match="rise"):
            Auto(layers=(3, 1))
        assert Auto(preset="lab", epochs=2).steps is None


class TestPresets:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_every_preset_is_valid(self, preset):
        assert Auto(preset=preset).optimizer == "sgd"

    def test_search_presets_have_the_published_values(self):
        search, vit = Auto(preset="cnn"), Auto(preset="vit")
        assert (search.inner_steps, search.gamma, search.lr, search.meta_lr) == (5, 1.0, 0.1, 1e-4)
        assert (vit.inner_steps, vit.gamma, vit.taps) == (2, 0.1, "pairs")

    @pytest.mark.parametrize(
        ("preset", "model", "text"),
        [
            ("vgg9", "vgg16_x025", "depth1=1,depth2=1,depth3=2"),
            ("resnet12", "resnet12_x025", ""),
            ("resnet18", "resnet18_x025", "depth1=1,depth2=1,depth3=1"),
            ("vit6", "vit_mini", "depth=6"),
            ("deit-first6", "vit_mini", ""),
        ],
    )
    def test_published_stacks_inherit_the_fixed_layers(self, preset, model, text, pico):
        from germline.api import build_start_network
        from germline.training import TrainSettings

        ancestor = build_start_network(model, pico, TrainSettings(), seed=0)
        size = Size.parse(f"{text},depth4=2,depth5=2" if preset == "vgg9" else text)
        gene = Auto(preset=preset).condense(ancestor, pico, Run(device="cpu", quiet=True))
        child = gene.inherit(size, classes=5)
        places = place_blocks(gene.spec, child.network.spec, gene.provenance.record["layers"]["kept"], "relative")
        own, parts = (architecture_of(one).parts(one) for one in (gene.spec, child.network.spec))
        assert len(places) == len(Auto(preset=preset).layers)
        for index, at in places.items():
            for name, full in parts.blocks[at].items():
                assert torch.equal(read_state(child)[full], read_state(ancestor)[own.blocks[index][name]]), full
        assert MODELS[model].architecture == gene.architecture


class TestInherit:
    def test_only_the_kept_layers_are_inherited(self, vgg, pico):
        gene = condense(vgg, pico, layers=(1, 4))
        child = gene.inherit(classes=3, seed=5)
        assert gene.describe_sizes().startswith("2 of the ancestor's 8 blocks")
        parts = architecture_of(gene.spec).parts(gene.spec)
        inherited = {name for at in (1, 4) for name in parts.blocks[at].values()}
        assert any("running_mean" in name for name in inherited)
        for name, tensor in read_state(child).items():
            if name in inherited or name.endswith("conv.weight"):
                assert torch.equal(tensor, read_state(vgg)[name]) == (name in inherited)
            assert child.ledger.entries[name] == {"copied" if name in inherited else "fresh": tensor.numel()}
        other = gene.inherit(classes=3, seed=6)
        changed = {
            name for name, tensor in read_state(other).items() if not torch.equal(tensor, read_state(child)[name])
        }
        assert changed
        assert not changed & inherited

    def test_frame_decides_what_a_vit_inherits_besides_layers(self, ancestors, pico):
        ancestor = ancestors["vit"]
        for frame, inherited in (("none", set()), ("stem", {"stem"}), ("whole", {"stem", "norm"})):
            gene = condense(ancestor, pico, layers=(1,), frame=frame)
            child = gene.inherit(Size(depth=4), classes=3, channels=3, image_size=16)
            parts = architecture_of(child.network.spec).parts(child.network.spec)
            for part in ("stem", "norm"):
                kinds = {kind for name in getattr(parts, part) for kind in child.ledger.entries[name]}
                assert ("fresh" in kinds) == (part not in inherited)
            if frame == "stem":
                assert child.ledger.entries["patch_embed.proj.weight"].keys() == {"adapted"}
                assert child.ledger.entries["pos_embed"].keys() == {"resized"}
            assert torch.equal(
                read_state(child)["blocks.2.attn.qkv.weight"], read_state(ancestor)["blocks.1.attn.qkv.weight"]
            )

    def test_layer_with_other_input_channels_gets_an_orthogonal_adapter(self, vgg, pico):
        gene = condense(vgg, pico, layers=(2,))
        kernel = gene.tensors["stages.2.blocks.0.conv.weight"]
        for width in (2, 7):  # the ancestor's unit reads 4
            child = gene.inherit(Size(width2=width), classes=3)
            name = "stages.2.blocks.0.conv.weight"
            assert child.ledger.entries[name] == {"adapted": 8 * width * 9}
            assert {kind for key, kinds in child.ledger.entries.items() if key != name for kind in kinds} == {
                "copied",
                "fresh",
            }
            adapted = read_state(child)[name]
            # Least squares recover the adapter. It keeps lengths: its columns, or its rows, are orthogonal.
            adapter = torch.linalg.lstsq(
                kernel.permute(0, 2, 3, 1).reshape(-1, 4), adapted.permute(0, 2, 3, 1).reshape(-1, width)
            ).solution
            square = adapter.T @ adapter / 2 if width == 2 else adapter @ adapter.T
            assert torch.allclose(square, torch.eye(min(width, 4)), atol=1e-4)

    def test_both_inputs_of_a_residual_block_are_adapted(self, make_convolutional, pico):
        ancestor = make_convolutional(ResNet12Spec, depths=(1, 1, 1, 1), widths=(4, 4, 8, 8))
        gene = condense(ancestor, pico, layers=(2,))
        child = gene.inherit(Size(width2=6), classes=3)
        adapted = {name for name, kinds in child.ledger.entries.items() if "adapted" in kinds}
        assert adapted == {"stages.2.blocks.0.units.0.conv.weight", "stages.2.blocks.0.shortcut.conv.weight"}

    def test_stages_of_a_timm_resnet_fit_other_depths_and_widths(self, ancestors, pico):
        ancestor = ancestors["resnet"]
        gene = condense(ancestor, pico, taps="stages", pseudo="depth1=1,width=2", keep=2, rule="contiguous")
        record = gene.provenance.record["layers"]
        assert record["layers"] == [[0, 1], [2, 3], [4, 5], [6, 7]]
        assert (len(record["matrix"]), len(record["against"])) == (4, 4)
        own = architecture_of(gene.spec).parts(gene.spec)
        assert gene.tensors.keys() == {*own.stem, *(n for at in record["kept"] for n in own.blocks[at].values())}
        widths = {f"width{stage}": 9 for stage in range(1, 5) if 2 * stage - 2 not in record["kept"]}
        child = gene.inherit(Size(depth2=3, depth3=3, **widths), classes=3, channels=3)
        places = place_blocks(gene.spec, child.network.spec, record["kept"], "relative")
        parts = architecture_of(child.network.spec).parts(child.network.spec)
        sizes = {name: one.numel() for name, one in read_state(child).items()}
        assert {name: count.total() for name, count in child.ledger.entries.items()} == sizes
        inherited = {full for at in places.values() for full in parts.blocks[at].values()} | set(parts.stem)
        for name, counts in child.ledger.entries.items():
            assert ("fresh" in counts) == (name not in inherited), name
        assert child.ledger.entries["conv1.0.weight"].keys() == {"adapted"}
        for index, at in places.items():
            name = "bn2.running_var"
            assert torch.equal(read_state(child)[parts.blocks[at][name]], gene.tensors[own.blocks[index][name]])

    def test_kept_stem_of_a_timm_resnet_needs_the_same_width(self, ancestors, pico):
        kept, left = (condense(ancestors["resnet"], pico, layers=(7,), frame=frame) for frame in ("stem", "none"))
        with pytest.raises(SettingError, match=r"cannot grow 'conv1\.0\.weight'.*the ancestor.s widths"):
            kept.inherit(Size(width=2, width4=32), classes=3)
        child = left.inherit(Size(width=2, width4=32), classes=3)
        assert read_state(child)["conv1.0.weight"].shape[0] == 1
        assert child.ledger.entries["conv1.0.weight"].keys() == {"fresh"}
        first = condense(ancestors["resnet"], pico, layers=(0,))
        with pytest.raises(SettingError, match=r"block 0 as block 0.*own depths and widths"):
            first.inherit(Size(width1=6), classes=3)

    def test_image_channels_are_adapted(self, vgg, pico):
        gene = condense(vgg, pico, layers=(0,))
        child = gene.inherit(classes=3, channels=3)
        name = "stages.0.blocks.0.conv.weight"
        assert child.ledger.entries[name].keys() == {"adapted"}
        assert torch.allclose(read_state(child)[name].sum(dim=1, keepdim=True), gene.tensors[name], atol=1e-6)

    @pytest.mark.parametrize(
        ("size", "message"), [({"width3": 6}, "the ancestor.s widths"), ({"depth3": 1}, "Its layers need")]
    )
    def test_sizes_that_the_layers_do_not_fit_are_refused(self, vgg, pico, size, message):
        gene = condense(vgg, pico, layers=(2, 3))
        with pytest.raises(SettingError, match=message):
            gene.inherit(Size(**size), classes=3)

    def test_size_must_fit_every_layer_before_the_choice(self, vgg, ancestors):
        unscored = Learngene("auto", Auto(preset="tiny").model_dump(mode="json"), "vgg", vgg.spec, {}, vgg.preprocess)
        assert unscored.target(Size(depth=13), 3).spec.stages == (2, 2, 2, 2, 2)
        with pytest.raises(SettingError, match="cannot grow"):
            unscored.target(Size(width=8), 3)
        vit = ancestors["vit"]
        with pytest.raises(SettingError, match="width=8"):
            Learngene("auto", Auto().model_dump(mode="json"), "vit", vit.spec, {}, vit.preprocess).target(
                Size(width=8), 3
            )


def test_cost_counts_every_pass():
    spec = make_spec("vgg11_x025")
    flops = architecture_of(spec).flops(spec)
    meta = Auto(preset="lab", steps=10, batch_size=4, inner_steps=5, meta_batch=None)
    assert meta.cost(spec, 1000, 7).samples == 120
    # There are 2 passes of the real step, 5 + 1 virtual steps that count three times, and the outer loss.
    assert meta.cost(spec, 1000, 7).flops == 40 * (21 * 3 * flops + 7)
    literal = Auto(preset="lab", steps=10, batch_size=4, inner_steps=5, meta_batch=6, batches="fixed")
    assert literal.cost(spec, 1000, 7).samples == 100
    assert literal.cost(spec, 1000, 7).flops == 10 * ((16 + 16 * 6 + 4) * 3 * flops + 6 * 7)
    assert meta.cost(spec, 0, 0).stored is None
    by_cka, given = Auto(select="cka"), Auto(layers=(0,))
    assert by_cka.cost(spec, 9000, 7) == GeneCost(2000, 14000)
    assert Auto(select="random").cost(spec, 9000, 7) == GeneCost(0, 0)
    assert (given.cost(spec, 9000, 7).samples, given.cost(spec, 9000, 7).flops) == (0, 0)
    assert given.cost(spec, 0, 0).stored == {
        "stages.0.blocks.0.conv.weight": 144,
        **{f"stages.0.blocks.0.norm.{name}": 16 for name in ("weight", "bias", "running_mean", "running_var")},
        "stages.0.blocks.0.norm.num_batches_tracked": 1,
    }
