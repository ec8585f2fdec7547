"""Every registered method on every architecture that it names, from condensing to a descendant that timm loads."""

import contextlib

import pytest
import timm
import torch

from germline.architectures import Size, count_elements
from germline.catalogue import list_methods
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.loading import load_network
from germline.methods.base import Method, empty_gene
from germline.methods.slicing import stage_depths
from germline.registry import ARCHITECTURES, METHODS, architecture_of
from germline.training import CrossEntropy, Run, TrainSettings

# `stored` has no gene of its own: test_stored.py takes those of others.
OWN = [name for name in METHODS if name != "stored"]
MATRIX = [
    (method, architecture)
    for method in OWN
    for architecture in ARCHITECTURES
    if architecture in METHODS[method].architectures
]
SHORT = {"steps": 2, "epochs": 0.5, "batch_size": 40, "preset": "tiny"}
# What a method that makes its own ancestor is told of the form, by architecture.
MODELS = {"vit": "vit_pico", "vgg": "vgg11_x025", "resnet12": "resnet12_x025", "resnet": "resnet18_x025"}
# Sizes to try, by architecture; a gene that refuses one must do so by a clear error. A new architecture adds its row.
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


def shortest(method: type[Method], architecture: str) -> Method:
    settings = SHORT if method.ancestor == "required" else {**SHORT, "model": MODELS[architecture]}
    return method(**{key: value for key, value in settings.items() if key in method.model_fields})


@pytest.fixture(scope="module")
def condensed(ancestors, pico, tmp_path_factory):
    """The method, and its gene of an architecture as read back from disk; None for a method without a gene."""
    made = {}

    def get(name, architecture):
        if (name, architecture) not in made:
            method = shortest(METHODS[name], architecture)
            teacher = None if method.ancestor == "none" else ancestors[architecture]
            try:
                fresh = method.condense(teacher, pico, Run(device="cpu", quiet=True))
            except SettingError as error:
                assert "has no gene" in str(error)  # noqa: PT017 - a control is told by what it says
                fresh = None
            if fresh is not None:
                folder = tmp_path_factory.mktemp(name) / "gene"
                fresh.save(folder)
                loaded = Learngene.load(folder)
                assert all(torch.equal(value, loaded.tensors[key]) for key, value in fresh.tensors.items())
                fresh = loaded
            made[name, architecture] = method, fresh
        return made[name, architecture]

    return get


def grow(method, own, ancestor, size, classes):
    """A descendant; a gene without a head takes the ancestor's classes, a method without a gene its form."""
    if own is not None:
        return own.inherit(size=size, classes=classes or (ancestor.classes if own.classes is None else None))
    architecture = architecture_of(ancestor.spec).name
    form = Learngene(
        method.name,
        method.model_dump(mode="json"),
        architecture,
        ancestor.spec,
        {},
        ancestor.preprocess,
        ancestor.classes,
    )
    return method.inherit(None, form.target(size, classes), torch.Generator().manual_seed(0))


def test_the_matrix_is_not_empty():
    assert {method for method, _ in MATRIX} == set(OWN)


@pytest.mark.parametrize(("name", "architecture"), MATRIX)
def test_a_method_from_condense_to_a_trained_descendant(name, architecture, condensed, ancestors, pixels, tmp_path):
    method, own = condensed(name, architecture)
    if own is not None:
        assert (own.method, own.architecture) == (name, architecture)
        assert own.bound_method() == method
        assert own.describe_sizes()
    grown = 0
    for index, size in enumerate(SIZES[architecture]):
        classes = 3 if index % 2 else None
        try:
            child = grow(method, own, ancestors[architecture], size, classes)
        except SettingError as error:
            assert "cannot grow" in str(error)  # noqa: PT017 - which sizes are refused is the method's to say
            continue
        grown += 1
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
            outside = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            assert torch.equal(outside(child.network.preprocess(pixels)), expected)
            assert torch.equal(load_network(folder).logits(pixels), expected)
        assert expected.shape == (8, 3 if classes else 10)
    assert grown >= 1


@pytest.mark.parametrize(("name", "architecture"), MATRIX)
def test_a_descendant_of_it_trains(name, architecture, condensed, ancestors, pico):
    method, own = condensed(name, architecture)
    child = grow(method, own, ancestors[architecture], Size(), None)
    before = {key: value.clone() for key, value in child.model.state_dict().items()}
    objective = (None if own is None else method.objective(own, child)) or CrossEntropy()
    result = Run(device="cpu", quiet=True).fit(
        "child", child.network, objective, pico.train, TrainSettings(steps=2, batch_size=40), val=pico.val
    )
    assert result.losses[-1][1] > 0
    assert 0 <= result.accuracy <= 1
    assert not [key for key, value in child.model.state_dict().items() if torch.equal(value, before[key])]
    if own is not None:  # training a descendant leaves the gene as it was
        again = grow(method, own, ancestors[architecture], Size(), None)
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


# These depend on what the ancestor or the settings have: stages of one block, and auxiliary models of two depths.
NOT_HERE = {
    ("pool", "vit"): {"shallower"},
    ("snnet", "vit"): {"shallower"},
    ("weight-selection", "resnet12"): {"deeper"},
}


@pytest.mark.parametrize(("name", "architecture"), MATRIX)
def test_the_catalogue_says_what_a_method_grows(name, architecture, condensed, ancestors):
    method, own = condensed(name, architecture)
    source = ancestors[architecture]
    gene = own or empty_gene(method, source.spec, source.preprocess)
    facts = list_methods()[name]
    if not facts.is_known:  # a method of another package says nothing about directions
        assert not facts.grows[architecture]
        return
    accepted = set()
    for direction, sizes in DIRECTIONS[architecture].items():
        for size in sizes:
            with contextlib.suppress(SettingError):
                spec = gene.target(Size.parse(size), gene.spec.classes).spec
                # Genes differ in depth: three blocks are more than some have.
                is_deeper = sum(stage_depths(spec)) >= sum(stage_depths(gene.spec))
                accepted |= {direction} if spec != gene.spec and not (is_deeper and direction == "shallower") else set()
    expected = set(facts.grows[architecture]) - NOT_HERE.get((name, architecture), set())
    if architecture == "resnet12":
        expected.discard("shallower")
    assert accepted == expected
