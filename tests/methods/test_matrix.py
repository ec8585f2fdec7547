"""Every registered method on every architecture that it supports, from condense to a descendant that timm loads."""

import contextlib
import copy
from dataclasses import replace

import pytest
import timm
import torch

import germline as gl
from germline.architectures import Size, count_elements
from germline.catalogue import list_methods
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.loading import load_network
from germline.methods.base import Method, empty_gene
from germline.methods.slicing import stage_depths
from germline.registry import ARCHITECTURES, METHODS, architecture_of
from germline.scoring import borrowed
from germline.training import CrossEntropy, Run, TrainSettings

# `stored` has no gene of its own: test_stored.py uses genes of other methods.
OWN = [name for name in METHODS if name != "stored"]
MATRIX = [
    (method, architecture)
    for method in OWN
    for architecture in ARCHITECTURES
    if architecture in METHODS[method].architectures
]
SHORT = {"steps": 2, "epochs": 0.5, "batch_size": 40, "preset": "tiny"}
# The model of each architecture that a method trains when it makes its own ancestor.
MODELS = {"vit": "vit_pico", "vgg": "vgg11_x025", "resnet12": "resnet12_x025", "resnet": "resnet18_x025"}
# Sizes to try for each architecture. A gene may refuse one with a clear error. A new architecture adds its row.
SIZES = {
    "vit": (
        Size(),
        Size(depth=1),
        Size(depth=3),
        Size(depth=6),
        Size(width=8, heads=1),
        Size(width=32, heads=4, depth=3),
    ),
    "vgg": (Size(), Size(depth=13), Size(width=2), Size(depth3=3, width5=6), Size(width=8)),
    "resnet12": (Size(), Size(depth2=2), Size(width=2), Size(depth4=2, width1=6), Size(width=8)),
    "resnet": (Size(), Size(depth2=3), Size(width=2), Size(depth4=1), Size(depth1=1, width3=6), Size(width=8)),
}


def make_short_method(method: type[Method], architecture: str) -> Method:
    settings = SHORT if method.ancestor == "required" else {**SHORT, "model": MODELS[architecture]}
    return method(**{key: value for key, value in settings.items() if key in method.model_fields})


@pytest.fixture(scope="module")
def condensed(ancestors, pico, tmp_path_factory):
    """Returns a method and its gene of an architecture, loaded from disk; the gene is None for a method without one."""
    results = {}

    def get(name, architecture):
        if (name, architecture) not in results:
            method = make_short_method(METHODS[name], architecture)
            teacher = None if method.ancestor == "none" else ancestors[architecture]
            try:
                gene = method.condense(teacher, pico, Run(device="cpu", quiet=True))
            except SettingError as error:
                assert "has no gene" in str(error)  # noqa: PT017 - only the message identifies a control
                gene = None
            if gene is not None:
                folder = tmp_path_factory.mktemp(name) / "gene"
                gene.save(folder)
                loaded = Learngene.load(folder)
                assert all(torch.equal(value, loaded.tensors[key]) for key, value in gene.tensors.items())
                gene = loaded
            results[name, architecture] = method, gene
        return results[name, architecture]

    return get


def inherit(method, gene, ancestor, size, classes):
    """Make a descendant. Without a head or a gene, the classes and the spec are those of the ancestor."""
    if gene is not None:
        return gene.inherit(size=size, classes=classes or (ancestor.classes if gene.classes is None else None))
    architecture = architecture_of(ancestor.spec).name
    empty = Learngene(
        method.name,
        method.model_dump(mode="json"),
        architecture,
        ancestor.spec,
        {},
        ancestor.preprocess,
        ancestor.classes,
    )
    return method.inherit(None, empty.target(size, classes), torch.Generator().manual_seed(0))


def test_matrix_has_every_method():
    assert {method for method, _ in MATRIX} == set(OWN)


@pytest.mark.parametrize(("name", "architecture"), MATRIX)
def test_descendants_have_complete_ledgers_and_load_in_timm(name, architecture, condensed, ancestors, pixels, tmp_path):
    method, gene = condensed(name, architecture)
    if gene is not None:
        assert (gene.method, gene.architecture) == (name, architecture)
        assert gene.bound_method() == method
        assert gene.describe_sizes()
    accepted = 0
    for index, size in enumerate(SIZES[architecture]):
        classes = 3 if index % 2 else None
        try:
            child = inherit(method, gene, ancestors[architecture], size, classes)
        except SettingError as error:
            assert "cannot grow" in str(error)  # noqa: PT017 - the method decides which sizes it refuses
            continue
        accepted += 1
        sizes = count_elements(child.model)
        assert {key: count.total() for key, count in child.ledger.entries.items()} == sizes
        assert sum(child.ledger.totals().values()) == sum(sizes.values())
        head = architecture_of(child.network.spec).parts(child.network.spec).head
        fresh = any(child.ledger.entries[key]["fresh"] for key in head)
        assert fresh == (bool(classes) or not method.traits.inherits_head)
        folder = tmp_path / f"child-{index}"
        child.save(folder)
        with torch.no_grad():
            expected = child.network.logits(pixels)
            timm_model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            assert torch.equal(timm_model(child.network.preprocess(pixels)), expected)
            assert torch.equal(load_network(folder).logits(pixels), expected)
        assert expected.shape == (8, 3 if classes else 10)
    assert accepted >= 1


@pytest.mark.parametrize(("name", "architecture"), MATRIX)
def test_training_changes_every_tensor_of_a_descendant(name, architecture, condensed, ancestors, pico):
    method, gene = condensed(name, architecture)
    child = inherit(method, gene, ancestors[architecture], Size(), None)
    before = {key: value.clone() for key, value in child.model.state_dict().items()}
    objective = (None if gene is None else method.objective(gene, child)) or CrossEntropy()
    result = Run(device="cpu", quiet=True).fit(
        "child", child.network, objective, pico.train, TrainSettings(steps=2, batch_size=40), val=pico.val
    )
    assert result.losses[-1][1] > 0
    assert 0 <= result.accuracy <= 1
    assert not [key for key, value in child.model.state_dict().items() if torch.equal(value, before[key])]
    if gene is not None:  # training a descendant does not change the gene
        again = inherit(method, gene, ancestors[architecture], Size(), None)
        assert all(torch.equal(value, before[key]) for key, value in again.model.state_dict().items())


# A size in each direction, by architecture. A direction is possible if one of its sizes is accepted.
DIRECTIONS = {
    "vit": {
        "shallower": ("depth=1", "depth=2", "depth=3"),
        "deeper": ("depth=9", "depth=12"),
        "narrower": ("width=8,heads=1", "width=8"),
        "wider": ("width=32,heads=4", "width=32"),
    },
    "vgg": {
        "shallower": ("depth5=1", "depth4=1", "depth3=1"),
        "deeper": ("depth=13", "depth1=2", "depth2=2", "depth5=3"),
        "narrower": ("width=2", "width1=2", "width2=4", "width5=4"),
        "wider": ("width=8", "width1=8", "width2=12", "width5=64"),
    },
    "resnet12": {
        "shallower": ("depth4=1", "depth3=1", "depth1=1"),
        "deeper": ("depth1=2", "depth2=2", "depth4=2", "depth4=3"),
        "narrower": ("width=2", "width1=2", "width2=4", "width4=4"),
        "wider": ("width=8", "width1=9", "width2=12", "width4=64"),
    },
    "resnet": {
        "shallower": ("depth4=1", "depth3=1", "depth1=1"),
        "deeper": ("depth1=3", "depth2=3", "depth3=3", "depth4=3"),
        "narrower": ("width=2", "width1=2", "width2=4", "width4=4"),
        "wider": ("width=8", "width1=9", "width2=12", "width4=64"),
    },
}


# Directions that are impossible here: the ancestor has stages of one block, or auxiliary models have two depths.
EXCLUDED_DIRECTIONS = {
    ("pool", "vit"): {"shallower"},
    ("snnet", "vit"): {"shallower"},
    ("weight-selection", "resnet12"): {"deeper"},
}


@pytest.mark.parametrize(("name", "architecture"), MATRIX)
def test_catalogue_lists_the_directions_that_a_method_accepts(name, architecture, condensed, ancestors):
    method, gene = condensed(name, architecture)
    source = ancestors[architecture]
    gene = gene or empty_gene(method, source.spec, source.preprocess)
    facts = list_methods()[name]
    if not facts.is_known:  # the catalogue has no directions for methods of other packages
        assert not facts.grows[architecture]
        return
    accepted = set()
    for direction, sizes in DIRECTIONS[architecture].items():
        for size in sizes:
            with contextlib.suppress(SettingError):
                spec = gene.target(Size.parse(size), gene.spec.classes).spec
                # Genes differ in depth, so a size of three blocks is not shallower than every gene.
                is_deeper = sum(stage_depths(spec)) >= sum(stage_depths(gene.spec))
                accepted |= {direction} if spec != gene.spec and not (is_deeper and direction == "shallower") else set()
    expected = set(facts.grows[architecture]) - EXCLUDED_DIRECTIONS.get((name, architecture), set())
    if architecture == "resnet12":
        expected.discard("shallower")
    assert accepted == expected


@pytest.mark.parametrize("name", ["tleg", "lets", "auto", "pool", "snnet", "front"])
def test_condensing_restores_the_mode_of_each_part_of_the_ancestor(name, ancestors, pico):
    model = copy.deepcopy(ancestors["vit"].model).train()
    model.blocks[0].norm1.eval()  # as a frozen part
    modes, before = [part.training for part in model.modules()], copy.deepcopy(model.state_dict())
    ancestor = replace(ancestors["vit"], model=model)
    gl.condense(
        make_short_method(METHODS[name], "vit"), ancestor=ancestor, data=pico, run=Run(device="cpu", quiet=True)
    )
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_borrowed_network_is_brought_back_to_its_device():
    class Noted(torch.nn.Linear):
        places = ()

        def to(self, *place):
            self.places += place
            return super().to(*place)

    model = Noted(2, 2).double()
    with borrowed(model):
        assert not model.training
        model.to("cpu")
    assert model.places == ("cpu", torch.device("cpu"))
    assert model.training
