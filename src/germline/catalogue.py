"""What methods and data sets are, in one line each, without importing their modules.

Modules of methods import torch, which takes seconds. A test keeps these lines equal to the docstrings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from germline.registry import ARCHITECTURES, DATA, METHODS

Direction = Literal["shallower", "deeper", "narrower", "wider"]
EVERY: tuple[Direction, ...] = ("shallower", "deeper", "narrower", "wider")
_DEPTHS: tuple[Direction, ...] = ("shallower", "deeper")
_ALL = ("vit", "vgg", "resnet12", "resnet")
_CIRCUITS = ("vgg", "resnet12")


@dataclass(frozen=True)
class MethodFacts:
    """What a list shows of a method.

    Attributes:
        summary: First docstring line of its class.
        paper: Where it is published, or what it is.
        grows: Directions in which descendants differ from the ancestor or the gene's network, by architecture; none
            for its own size.
        note: What limits the sizes, or what they depend on; may be empty.
        is_known: Whether the directions are known; those of another package's methods are not.
    """

    summary: str
    paper: str
    grows: Mapping[str, tuple[Direction, ...]] = field(default_factory=dict)
    note: str = ""
    is_known: bool = True

    def line(self) -> str:
        """Return the summary, followed by the paper unless it is there already."""
        return self.summary if self.paper in self.summary else f"{self.summary} [{self.paper}]"

    def sizes(self, architecture: str) -> str:
        """Return what can be grown of an architecture, in a phrase."""
        if not self.is_known:
            return "see its documentation"
        directions = ", ".join(self.grows[architecture]) or "its own size"
        return f"{directions} ({self.note})" if self.note else directions


def _for(architectures: tuple[str, ...], directions: tuple[Direction, ...]) -> dict[str, tuple[Direction, ...]]:
    return dict.fromkeys(architectures, directions)


_METHODS = {
    "tleg": MethodFacts(
        "TLEG (arXiv 2312.05614): block l of L is offset + (l/L) x slope.", "arXiv 2312.05614", _for(("vit",), _DEPTHS)
    ),
    "sws": MethodFacts(
        "SWS (arXiv 2404.16897): blocks of a stage share one block, and descendants repeat it.",
        "arXiv 2404.16897",
        _for(("vit",), _DEPTHS),
    ),
    "lets": MethodFacts(
        "LeTs (NeurIPS 2024): narrow blocks, and learnt maps that make them wider and deeper.",
        "NeurIPS 2024",
        _for(("vit",), EVERY),
        "up to the size of its auxiliary network",
    ),
    "auto": MethodFacts(
        "Auto-Learngene (arXiv 2305.02279): the ancestor's layers that help a pseudo descendant most.",
        "arXiv 2305.02279",
        {**_for(_ALL, EVERY), "vit": _DEPTHS},
        "its layers keep their widths",
    ),
    "pool": MethodFacts(
        "Learngene Pool (arXiv 2312.05743): blocks of distilled auxiliary models, and stitches between them.",
        "arXiv 2312.05743",
        _for(("vit",), ("shallower", "narrower")),
        "paths through its auxiliary models",
    ),
    "gtl": MethodFacts(
        "Genetic Transfer Learning: a circuit of channels that evolves in a population of CNNs.",
        "arXiv 2401.08139",
        _for(_CIRCUITS, EVERY),
    ),
    "openworld": MethodFacts(
        "Open-World Learngene: a collective CNN grows over a stream of tasks; its steadiest layers are the gene.",
        "arXiv 2106.06788",
        _for(("vgg",), EVERY),
        "its units keep their widths",
    ),
    "front": MethodFacts(
        "FRONT (arXiv 2603.07523): low frequencies of an ancestor's tensors grow to any depth and width.",
        "arXiv 2603.07523",
        {**_for(_ALL, EVERY), "resnet12": ("shallower", "narrower", "wider")},
        "in a CNN, a stage of one block stays so",
    ),
    "grow": MethodFacts(
        "HyperCloning (arXiv 2409.12903): a larger network that computes what its ancestor does.",
        "arXiv 2409.12903",
        {"vit": ("deeper", "wider"), **_for(("vgg", "resnet12"), ("wider",)), "resnet": ("deeper", "wider")},
        "whole multiples of its widths",
    ),
    "finetune": MethodFacts(
        "All of an ancestor of the descendant's own size; only the head can be fresh.", "a control", _for(_ALL, ())
    ),
    "scratch": MethodFacts(
        "A network of the target's spec with the architecture's own random weights.", "a control", _for(_ALL, EVERY)
    ),
    "xavier": MethodFacts(
        "Scratch with Xavier initialisation of the blocks' matrices (Glorot and Bengio, 2010).",
        "a control",
        _for(_ALL, EVERY),
    ),
    "weight-selection": MethodFacts(
        "Weight selection (arXiv 2311.18823): evenly spaced elements of a trained network.",
        "arXiv 2311.18823",
        _for(_ALL, EVERY),
    ),
    "layers": MethodFacts(
        "Whole blocks of an ancestor, with its stem and norm; the head is copied or fresh.",
        "a control",
        _for(_ALL, ("shallower",)),
    ),
    "random-layers": MethodFacts(
        "Blocks of an ancestor at random, in rising order, with its stem and norm; the head is copied or fresh.",
        "a control",
        _for(_ALL, ("shallower",)),
    ),
    "frame": MethodFacts(
        "An ancestor's stem with its positions, its norm and its head; every block is fresh.",
        "a control",
        _for(("vit", "resnet"), _DEPTHS),
    ),
    "random-gene": MethodFacts(
        "Another method's gene with the elements of each tensor shuffled.",
        "a control",
        _for(("vit",), _DEPTHS),
        "with tleg; with another method, what that grows",
    ),
    "stored": MethodFacts(
        "A gene of any method from a folder; nothing is trained, and no source data are read.",
        "a stored gene",
        _for(_ALL, EVERY),
        "what the gene's own method grows",
    ),
    "distil": MethodFacts(
        "Knowledge distillation into random weights (Hinton et al., arXiv 1503.02531).",
        "arXiv 1503.02531",
        _for(_ALL, EVERY),
    ),
    "snnet": MethodFacts(
        "SN-Net (arXiv 2302.06586): independently trained anchors and stitches between neighbouring widths.",
        "arXiv 2302.06586",
        _for(("vit",), ("shallower", "narrower")),
        "paths through its anchors",
    ),
    "circuit": MethodFacts(
        "A circuit of one ancestor's channels, transplanted like an evolved one.", "a control", _for(_CIRCUITS, EVERY)
    ),
    "last-layers": MethodFacts(
        "The last blocks of an ancestor, up to a share of its parameters.", "a control", _for(_ALL, ())
    ),
}
_DATA = {
    "glyphs": "Characters drawn by hundreds of fonts: glyphs/base, glyphs/open, glyphs/novel, glyphs/final.",
    "fashion-mnist": "Fashion-MNIST; the last 10,000 training images are the validation split.",
    "digits": "Scikit-learn's digits, split 60/20/20 within each class.",
    "cifar10": "CIFAR-10; the last 5,000 training images are the validation split.",
    "cifar100": "CIFAR-100 with its 100 fine labels; the last 5,000 training images are the validation split.",
    "cifar-fs": "CIFAR-FS from a folder with CIFAR-100: cifar-fs/base:/folder, and open and novel.",
    "mini-imagenet": "miniImageNet as distributed: mini-imagenet/base:/folder, and open and novel.",
    "folder": "A folder with train, val and test, or one that is split 80/10/10 by file names.",
}


def list_methods() -> dict[str, MethodFacts]:
    """Map names of methods to their facts; only methods of other packages are imported."""
    return {name: _METHODS.get(name) or _read_method(name) for name in METHODS}


def list_methods_for(architecture: str) -> dict[str, MethodFacts]:
    """Map names of the methods for an architecture to their facts.

    Raises:
        UnknownNameError: There is no such architecture.
    """
    ARCHITECTURES.check_name(architecture)
    return {name: facts for name, facts in list_methods().items() if architecture in facts.grows}


def describe_data_sets() -> dict[str, str]:
    """Map names of data sets to one line; only readers of other packages are imported."""
    return {name: _DATA.get(name) or _first_line(DATA[name]) for name in DATA}


def _read_method(name: str) -> MethodFacts:
    method = METHODS[name]
    return MethodFacts(_first_line(method), method.paper, _for(tuple(method.architectures), ()), is_known=False)


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").strip().partition("\n")[0]
