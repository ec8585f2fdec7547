"""Layers: which blocks of the ancestor a descendant takes."""

import pytest
import torch

from germline.architectures import ResNet12Spec, ResNetSpec, Size, VggSpec, count_elements
from germline.baselines.finetune import Finetune
from germline.baselines.layers import Layers
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.registry import METHODS, architecture_of
from germline.training import Run

RUN = Run(device="cpu", quiet=True)


@pytest.fixture(scope="module")
def deep(make_network):
    return make_network(depth=6)


def condense(ancestor, images, **settings):
    return Layers(**settings).condense(ancestor, images, RUN)


@pytest.mark.parametrize(
    ("choose", "taken"),
    [
        ("first", (0, 1, 2)),
        ("last", (3, 4, 5)),
        ("even", (0, 2, 4)),
        ((1, 2, 5), (1, 2, 5)),
        ([0, 3, 4], (0, 3, 4)),
    ],
    ids=str,
)
def test_the_chosen_blocks_stem_norm_and_head_are_copied(deep, pico, tmp_path, choose, taken):
    gene = condense(deep, pico, choose=choose)
    gene.save(tmp_path / "gene")
    child = Learngene.load(tmp_path / "gene").inherit(size=Size(depth=3))
    for block, index in zip(child.model.blocks, taken, strict=True):
        own = deep.model.blocks[index].state_dict()
        assert all(torch.equal(value, own[name]) for name, value in block.state_dict().items())
    own = deep.model.state_dict()
    for name, value in child.model.state_dict().items():
        assert name.startswith("blocks.") or torch.equal(value, own[name])
    assert child.ledger.totals() == {"copied": sum(value.numel() for value in child.model.parameters())}


def test_descendant_of_the_last_block_computes_its_output(deep, pico, pixels):
    child = condense(deep, pico, choose="last").inherit(size=Size(depth=1)).network
    model, images = deep.model, deep.preprocess(pixels)
    with torch.no_grad():
        tokens = model.blocks[5](model.norm_pre(model.patch_embed(images) + model.pos_embed))
        assert torch.allclose(child.logits(pixels), model.head(model.norm(tokens).mean(dim=1)), atol=1e-6)


def test_all_blocks_equal_fine_tuning(deep, pico):
    gene, finetune_gene = condense(deep, pico), Finetune().condense(deep, pico, RUN)
    child, expected = gene.inherit(classes=3, channels=3, seed=5), finetune_gene.inherit(classes=3, channels=3, seed=5)
    own = expected.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in child.model.state_dict().items())
    assert child.ledger.entries == expected.ledger.entries
    assert child.ledger.totals()["fresh"] == 16 * 3 + 3


@pytest.mark.parametrize(
    ("choose", "size", "words"),
    [
        ("first", {"depth": 7}, "cannot grow 7 blocks.*which has 6. Use 6 or fewer"),
        ("even", {"width": 8}, "'layers' cannot grow width=8.*ancestor's width=16"),
        ("first", {"heads": 1}, "'layers' cannot grow heads=1.*ancestor's heads=2"),
        ((0, 5), {"depth": 3}, r"cannot grow 3 blocks.*choose=\(0, 5\) names 2"),
    ],
)
def test_impossible_sizes_are_refused(deep, pico, choose, size, words):
    with pytest.raises(SettingError, match=words):
        condense(deep, pico, choose=choose).inherit(size=Size(**size))


def test_missing_block_is_refused(deep, pico):
    with pytest.raises(SettingError, match=r"choose=\(0, 6\) names.* has 6 blocks. Use indices from 0 to 5"):
        Layers(choose=(0, 6)).condense_spec(deep, pico)
    with pytest.raises(SettingError, match="The ancestor has 6 blocks"):
        condense(deep, pico, choose=(0, 6))


@pytest.mark.parametrize("choose", ["middle", (), (2, 1), (1, 1), (-1, 2)], ids=str)
def test_bad_choices_are_refused(choose):
    with pytest.raises(SettingError):
        Layers(choose=choose)


def test_sizes_are_described(deep, pico):
    for choose, words in (("last", "at most 6 blocks"), ((0, 5), "the 2 blocks chosen")):
        gene = condense(deep, pico, choose=choose)
        assert gene.describe_sizes() == f"{words}, at the ancestor's width"


@pytest.fixture(scope="module")
def vgg(make_convolutional):
    return make_convolutional(VggSpec, widths=((4,) * 3, (6,) * 4))


@pytest.fixture(scope="module")
def resnet(make_convolutional):
    return make_convolutional(ResNet12Spec, depths=(3, 4), widths=(4, 6))


def find_source_blocks(child, ancestor):
    """List for each block of a descendant the ancestor's blocks with the same tensors, buffers included."""
    blocks, own = (
        [
            {name: network.model.state_dict()[full] for name, full in block.items()}
            for block in architecture_of(network.spec).parts(network.spec).blocks
        ]
        for network in (child.network, ancestor)
    )
    return [
        [
            index
            for index, other in enumerate(own)
            if block.keys() == other.keys()
            and all(torch.equal(value, other[name]) for name, value in block.items() if name in other)
        ]
        for block in blocks
    ]


@pytest.mark.parametrize("family", ["vgg", "resnet"])
@pytest.mark.parametrize(
    ("choose", "taken"),
    [
        ("first", [0, 1, 3, 4, 5]),
        # A stage always begins with the ancestor's first block, since only that one reads the previous stage.
        ("last", [0, 2, 3, 5, 6]),
        ("even", [0, 1, 3, 4, 5]),
        ((0, 2, 3, 4, 6), [0, 2, 3, 4, 6]),
    ],
    ids=str,
)
def test_blocks_are_chosen_per_stage(request, family, pico, choose, taken):
    network = request.getfixturevalue(family)
    child = condense(network, pico, choose=choose).inherit(size=Size(depth1=2, depth2=3))
    assert find_source_blocks(child, network) == [[index] for index in taken]
    assert child.ledger.totals() == {"copied": sum(count_elements(child.model).values())}


def test_last_choice_of_one_block_per_stage_is_the_first_block(vgg, pico, pixels):
    child = condense(vgg, pico, choose="last").inherit(size=Size(depth1=1, depth2=1))
    assert find_source_blocks(child, vgg) == [[0], [3]]
    images, (first, second) = vgg.preprocess(pixels), vgg.model.stages
    with torch.no_grad():
        maps = second.pool(second.blocks[0](first.pool(first.blocks[0](images))))
        assert torch.allclose(child.network.logits(pixels), vgg.model.head(maps), atol=1e-6)


@pytest.mark.parametrize(
    ("family", "choose", "size", "words"),
    [
        ("vgg", "first", {"depth2": 5}, "cannot grow 5 blocks in a stage.*which has 4"),
        ("resnet", "even", {"width": 2}, "'layers' cannot grow 'head.fc.weight'.* is wider"),
        ("vgg", "first", {"width2": 8}, r"cannot grow 'head.fc.weight' of shape \(10, 8\).*has shape \(10, 6\)"),
        ("resnet", (0, 3, 4), {}, r"cannot grow 3 \+ 4 blocks.*names 1 \+ 2"),
        (
            "resnet",
            (1, 3),
            {"depth1": 1, "depth2": 1},
            "cannot grow block 0 as block 1.*tensors that the other one lacks",
        ),
        (
            "vgg",
            (1, 3),
            {"depth1": 1, "depth2": 1},
            r"shape \(4, 1, 3, 3\). .*blocks.1.conv.weight' is wider",
        ),
    ],
)
def test_stages_that_do_not_fit_are_refused(request, pico, family, choose, size, words):
    with pytest.raises(SettingError, match=words):
        condense(request.getfixturevalue(family), pico, choose=choose).inherit(size=Size(**size))


@pytest.mark.parametrize(
    ("method", "spec_type", "fields", "size", "keys"),
    [
        (Layers, VggSpec, {"widths": ((4,), (6,)), "hidden": (8,)}, {"width": 2}, "widths"),
        (Finetune, VggSpec, {"widths": ((4,), (6, 6))}, {"depth2": 1}, "depths and widths"),
        (
            Finetune,
            ResNetSpec,
            {"depths": (1,) * 4, "widths": (4,) * 4, "stem_type": "deep", "stem_width": 4},
            {"width": 2},
            "widths",
        ),
        (Finetune, ResNet12Spec, {"depths": (1, 1), "widths": (4, 6)}, {"width2": 4}, "widths"),
    ],
    ids=["hidden layers", "units", "stem", "stage"],
)
def test_message_names_keys_of_a_size(make_convolutional, pico, method, spec_type, fields, size, keys):
    gene = method().condense(make_convolutional(spec_type, **fields), pico, RUN)
    with pytest.raises(SettingError, match=f"It keeps the ancestor's .*Remove {keys} from the size"):
        gene.inherit(size=Size(**size))


def test_units_of_unequal_widths_are_refused(make_convolutional, pico):
    uneven = make_convolutional(VggSpec, widths=((4, 6), (8,)))
    with pytest.raises(
        SettingError, match=r"'layers' cannot grow 'stages.1.blocks.0.conv.weight' of shape \(8, 4, 3, 3\)"
    ):
        condense(uneven, pico).inherit(size=Size(depth1=1))


@pytest.mark.parametrize("name", ["layers", "finetune", "frame", "last-layers", "random-layers", "auto"])
def test_an_ancestor_that_was_trained_with_dropped_paths_is_inherited(make_network, pico, name):
    ancestor = make_network(depth=3, drop_path=0.1)
    settings = {"preset": "tiny", "layers": (1,)} if name == "auto" else {}
    gene = METHODS[name](**settings).condense(ancestor, pico, RUN)
    child = gene.inherit(classes=4).network
    assert (child.spec.drop_path, child.spec.depth) == (0.0, 3)
