"""Random layers: blocks in order without repeats, equally likely choices, and one choice per seed."""

from collections import Counter

import pytest
import torch

from germline.architectures import Size
from germline.baselines.random_layers import RandomLayers, draw_blocks
from germline.errors import SettingError
from germline.training import Run

RUN = Run(device="cpu", quiet=True)


def count_draws(available, wanted, count):
    generator = torch.Generator().manual_seed(0)
    return Counter(draw_blocks(available, wanted, generator) for _ in range(count))


def test_choices_are_equally_likely():
    found = count_draws((4,), (2,), 1200)
    assert set(found) == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    # 200 of 1200 each; four standard deviations are 52
    assert all(148 <= count <= 252 for count in found.values())


def test_first_block_of_each_stage_is_always_taken():
    found = count_draws((3, 2), (2, 1), 200)
    assert set(found) == {(0, 1, 3), (0, 2, 3)}
    assert min(found.values()) > 60


@pytest.mark.parametrize(("available", "wanted"), [((5,), (5,)), ((2, 3), (2, 3)), ((1, 1), (1, 1))])
def test_all_blocks_are_taken_in_order(available, wanted):
    assert set(count_draws(available, wanted, 5)) == {tuple(range(sum(available)))}


def test_blocks_of_a_descendant_depend_on_its_seed(make_network, pico):
    ancestor = make_network(depth=6)
    gene, own = RandomLayers().condense(ancestor, pico, RUN), ancestor.model.state_dict()
    chosen = set()
    for seed in range(6):
        child = gene.inherit(size=Size(depth=2), classes=("a", "b"), seed=seed)
        again = gene.inherit(size=Size(depth=2), classes=("a", "b"), seed=seed)
        state = child.model.state_dict()
        assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in state.items())
        places = tuple(
            next(
                i
                for i in range(6)
                if torch.equal(state[f"blocks.{at}.mlp.fc1.weight"], own[f"blocks.{i}.mlp.fc1.weight"])
            )
            for at in range(2)
        )
        assert places[0] < places[1]
        chosen.add(places)
        assert torch.equal(state["pos_embed"], own["pos_embed"])
        assert set(child.ledger.totals()) == {"copied", "fresh"}
    assert len(chosen) > 1


def test_impossible_sizes_are_refused(make_network, ancestors, pico):
    gene = RandomLayers().condense(make_network(depth=3), pico, RUN)
    with pytest.raises(SettingError, match="which has 3"):
        gene.inherit(size=Size(depth=4), classes=("a", "b"))
    with pytest.raises(SettingError, match="cannot grow"):
        gene.inherit(size=Size(width=8, heads=1), classes=("a", "b"))
    with pytest.raises(SettingError, match="only whole blocks"):
        RandomLayers().condense(ancestors["vgg"], pico, RUN).inherit(size=Size(width=2), classes=("a", "b"))
