"""Initial positions and LayerScale of fresh networks: what changes, and which networks can have them."""

import pytest
import torch

from germline.architectures import Preprocess, Target, VggSpec, VitSpec
from germline.baselines.distillation import Distil
from germline.baselines.fresh_start import sin_cos_positions
from germline.baselines.scratch import Scratch, Xavier
from germline.errors import SettingError
from germline.methods.base import empty_gene
from germline.training import Run

RUN = Run(device="cpu", quiet=True)
SPEC = VitSpec(image_size=32, channels=1, classes=3, patch_size=8, depth=1, width=16, heads=2)
GREY = Preprocess(channels=1, image_size=32, mean=(0.5,), std=(0.5,))


def grow(method, spec=SPEC, seed=0):
    target = Target("vit", spec, ("a", "b", "c"), GREY)
    return method.inherit(empty_gene(method, spec, GREY), target, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [Scratch, Xavier, Distil])
@pytest.mark.parametrize("positions", [0.1, 0.5, "sin-cos"])
def test_only_the_positions_change(kind, positions):
    plain, other = grow(kind()), grow(kind(positions=positions))
    before, after = plain.model.state_dict(), other.model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"pos_embed"}
    assert other.ledger.totals() == plain.ledger.totals()
    if positions == "sin-cos":
        assert torch.equal(after["pos_embed"][0], sin_cos_positions(4, 16))
    else:
        assert torch.allclose(after["pos_embed"], before["pos_embed"] * positions / 0.02)
        assert float(after["pos_embed"].std()) == pytest.approx(positions, rel=0.15)
    assert other.model.pos_embed.requires_grad


def test_default_deviation_is_that_of_timm():
    assert Scratch(positions=0.02) == Scratch()
    assert Scratch(positions=0.02).positions is None
    plain, same = (grow(Scratch(positions=value)).model.state_dict() for value in (None, 0.02))
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    table = grow(Scratch(), SPEC.model_copy(update={"width": 256, "heads": 4})).model.pos_embed.detach()
    assert float(table.std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("kind", [Scratch, Xavier, Distil])
def test_dumped_settings_omit_default_positions(kind):
    assert "positions" not in kind().model_dump(mode="json")
    assert kind(positions=0.5).model_dump(mode="json")["positions"] == 0.5
    assert kind.model_validate(kind(positions="sin-cos").model_dump(mode="json")).positions == "sin-cos"


def test_sin_cos_table_matches_hand_calculation():
    table = sin_cos_positions(2, 8)
    # patches row by row; two waves with frequencies 1 and 1/100; columns first
    s1, c1, s2, c2 = 0.841471, 0.540302, 0.0099998, 0.99995
    assert table[0].tolist() == pytest.approx([0, 0, 1, 1, 0, 0, 1, 1])
    assert table[1].tolist() == pytest.approx([s1, s2, c1, c2, 0, 0, 1, 1], abs=1e-5)
    assert table[2].tolist() == pytest.approx([0, 0, 1, 1, s1, s2, c1, c2], abs=1e-5)
    assert len({tuple(row) for row in sin_cos_positions(8, 16).tolist()}) == 64


def test_class_tokens_keep_their_random_values():
    spec = SPEC.model_copy(update={"class_token": True})
    plain, waves = (grow(Scratch(positions=value), spec).model.pos_embed[0] for value in (None, "sin-cos"))
    assert len(plain) == 17
    assert torch.equal(waves[0], plain[0])
    assert torch.equal(waves[1:], sin_cos_positions(4, 16))


@pytest.mark.parametrize("value", [0, -1, 100, "sincos", "", [0.1], float("nan")])
def test_wrong_positions_are_refused(value):
    with pytest.raises(SettingError):
        Scratch(positions=value)


def test_networks_without_fitting_positions_are_refused():
    vgg = VggSpec(image_size=32, channels=1, classes=3, widths=((4,), (8,)))
    for positions in (0.5, "sin-cos"):
        with pytest.raises(SettingError, match="Only ViTs have a table of positions"):
            Scratch(positions=positions).check_size(empty_gene(Scratch(), vgg, GREY), vgg)
    odd = SPEC.model_copy(update={"width": 18})
    with pytest.raises(SettingError, match="multiple of 4"):
        grow(Xavier(positions="sin-cos"), odd)
    assert grow(Xavier(positions=0.5), odd).model.pos_embed.shape == (1, 16, 18)


def test_descendants_of_distil_have_its_positions(make_network, pico):
    ancestor = make_network(depth=1)
    gene = Distil(positions="sin-cos").condense(ancestor, pico, RUN)
    child = gene.inherit(classes=("a", "b"))
    side = ancestor.spec.image_size // ancestor.spec.patch_size
    assert torch.equal(child.model.pos_embed[0], sin_cos_positions(side, ancestor.spec.width))


@pytest.mark.parametrize("kind", [Scratch, Xavier, Distil])
def test_layer_scale_is_set_in_every_block(kind):
    spec = SPEC.model_copy(update={"depth": 2, "init_values": 1e-5})
    before, after = (grow(kind(layer_scale=value), spec).model.state_dict() for value in (None, 0.1))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"blocks.{block}.ls{part}.gamma" for block in (0, 1) for part in (1, 2)}
    assert all((after[name] == 0.1).all() for name in changed)
    assert all((before[name] == 1e-5).all() for name in changed)
    assert "layer_scale" not in kind().model_dump(mode="json")


def test_layer_scale_of_a_network_without_it_is_refused():
    with pytest.raises(SettingError, match="without LayerScale"):
        grow(Scratch(layer_scale=0.1))
    for value in (0, -1, 2, "much"):
        with pytest.raises(SettingError):
            Scratch(layer_scale=value)
