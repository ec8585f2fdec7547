"""SWS: one shared block per stage, copied exactly; its published stages; what it refuses."""

import pytest
import torch

from germline.architectures import VIT, Size
from germline.data import load_data
from germline.errors import SettingError
from germline.methods.tleg.expansion import block_positions
from germline.methods.tleg.sws import SWS
from germline.training import Run


@pytest.fixture(scope="module")
def shared(ancestor, pico):
    """An SWS gene of two stages, condensed in a network of four blocks."""
    return SWS(preset="tiny").condense(ancestor, pico, Run(device="cpu", quiet=True))


def test_blocks_are_copies_of_the_block_of_their_stage(shared):
    assert {name.split(".")[0] for name in shared.tensors} == {"frame", "offset"}
    child = shared.inherit(size=Size(depth=5))
    tensors = child.model.state_dict()
    for stage, block in zip((0, 0, 0, 1, 1), VIT.parts(child.network.spec).blocks, strict=True):
        for name, full in block.items():
            assert torch.equal(tensors[full], shared.tensors[f"offset.{stage}.{name}"])
    assert set(child.ledger.totals()) == {"copied"}


@pytest.mark.parametrize(
    ("preset", "stages"),
    [("paper", (0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4)), ("paper12", (0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4))],
)
def test_published_presets_have_the_published_stages(preset, stages, ancestor, pico):
    method = SWS(preset=preset, width=16, heads=2)
    spec = method.condense_spec(ancestor, load_data((pico.train.images, pico.train.labels), classes=pico.classes))
    assert (spec.depth, spec.patch_size) == (len(stages), 16)
    assert tuple(stage for stage, _ in block_positions(spec.depth, method.segments, "zero")) == stages
    # A descendant of 12 blocks has the published map for both depths of the auxiliary network.
    twelve = tuple(stage for stage, _ in block_positions(12, method.segments, "zero"))
    assert twelve == (0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4)
    stored = method.cost(spec, 0, 0).stored
    assert sum(count for name, count in stored.items() if name.startswith("offset")) == 5 * (12 * 16**2 + 13 * 16)


def test_unsuitable_sizes_and_settings_are_refused(shared, ancestor, pico):
    with pytest.raises(SettingError, match=r"It has 2 segments.*Choose depth=2 or more"):
        shared.inherit(size=Size(depth=1))
    with pytest.raises(SettingError, match="Sharing of blocks changes the depth alone, and the gene has width=16"):
        shared.inherit(size=Size(width=32))
    with pytest.raises(SettingError, match="add up to 4, not to depth=6, and the preset tiny sets them"):
        SWS(preset="tiny", depth=6).condense_spec(ancestor, pico)
    for segments in ((3, 0), (3, -1)):
        with pytest.raises(SettingError, match=r"segments=.*A segment has at least one block"):
            SWS(segments=segments).condense_spec(ancestor, pico)
    with pytest.raises(SettingError, match="segments"):
        SWS(segments=())
    assert "slopes" not in SWS.model_fields
