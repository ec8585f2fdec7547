"""The contract of a method: its declarations, `condense` and `inherit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from germline.architectures import Preprocess, Size, Spec, Target
from germline.learngene import Descendant, Learngene
from germline.network import Network
from germline.registry import METHODS, architecture_of
from germline.setting_problems import CheckedSettings
from germline.training.settings import TrainSettings
from germline.traits import AncestorUse, Sizes, Traits

if TYPE_CHECKING:
    import torch

    from germline.data import DataSet
    from germline.training import Objective, Run


@dataclass(frozen=True)
class GeneCost:
    """What a gene costs; its ancestor is not counted.

    Attributes:
        samples: Images seen in condensing, repeats counted.
        flops: Operations of condensing, forward and backward, a teacher's forward passes included. A multiply-add
            counts as two, and a backward pass as two forward passes.
        stored: Elements of each tensor of the gene by name; None if they are not known before condensing.
    """

    samples: int = 0
    flops: int = 0
    stored: Mapping[str, int] | None = None


class Method(CheckedSettings):
    """A method: a frozen model whose fields are its settings.

    Attributes:
        name: Name on the command line and in the registry.
        paper: Where the method is published.
        ancestor: Whether `condense` needs a trained network.
        architectures: Names of the architectures that descendants can have.
        traits: Further declarations.
        reports: Path of the report module of each kind of record that genes of this method hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    ancestor: ClassVar[AncestorUse] = "required"
    architectures: ClassVar[tuple[str, ...]] = ("vit",)
    traits: ClassVar[Traits] = Traits()
    reports: ClassVar[Mapping[str, str]] = {}

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the spec of the network that a gene is condensed in, before anything is trained or written.

        Raises:
            GermlineError: This ancestor, data and settings do not fit together.
        """
        raise NotImplementedError

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Make a gene from an ancestor and data; every training goes through `run.fit`."""
        raise NotImplementedError

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Build the target from a gene; `generator` draws all fresh elements."""
        raise NotImplementedError

    def objective(self, gene: Learngene, descendant: Descendant) -> Objective | None:
        """Return the loss with which a descendant is trained; None for plain cross entropy."""
        return None

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes that descendants can have.

        Args:
            spec: Spec of the network that the gene is condensed in.
            gene: The gene itself; None before it is condensed.
        """
        raise NotImplementedError

    def descendant_spec(self, spec: Spec, size: Size, gene: Learngene | None = None) -> Spec:
        """Return the spec of a descendant of a size.

        Args:
            spec: Spec that the size starts from, with the descendant's images and classes.
            size: Size of the descendant.
            gene: The gene itself; None before it is condensed.

        Raises:
            SettingError: A network of this size cannot be built.
        """
        resized: Spec = architecture_of(spec).resize(spec, size)
        return resized

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse a spec that no descendant of the gene can have.

        Raises:
            SettingError: Names the size, the reason, and what is possible.
        """

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Return what condensing a gene costs.

        The default counts one training of a network of that spec, without a teacher, if the settings are those of a
        training. A method that trains otherwise overrides it.

        Args:
            spec: Spec of the network that the gene is condensed in.
            images: Number of training images.
            teacher_flops: Operations of the ancestor's forward pass of one image; 0 without an ancestor.
        """
        samples = self.total_samples(images) if isinstance(self, TrainSettings) else 0
        return GeneCost(samples, samples * training_flops(spec))


class DerivedMethod(Method):
    """A method whose gene can be made from another method's gene, without condensing again."""

    def derived_from(self) -> Method | None:
        """Return the method whose gene this one changes; None if it condenses its own."""
        raise NotImplementedError

    def derive(self, gene: Learngene, generator: torch.Generator) -> Learngene:
        """Make this method's gene from a gene of `derived_from`; `generator` draws what is random.

        Raises:
            SettingError: It cannot be made from this gene.
        """
        raise NotImplementedError


def find_source(method: Method) -> Method:
    """Return the method that condenses the first gene of a chain of derived ones: often the method itself."""
    parent = method.derived_from() if isinstance(method, DerivedMethod) else None
    return method if parent is None else find_source(parent)


def find_method(name: str) -> type[Method]:
    """Return the registered method of a name.

    Raises:
        UnknownNameError: No method has that name.
    """
    method: type[Method] = METHODS[name]
    return method


def method_of(gene: Learngene) -> Method:
    """Return a gene's method, with the gene's settings."""
    return find_method(gene.method).model_validate(gene.settings)


def empty_gene(method: Method, spec: Spec, preprocess: Preprocess) -> Learngene:
    """Return a gene without tensors, to ask a method before there is a gene, or where there is none."""
    settings = method.model_dump(mode="json")
    return Learngene(method.name, settings, architecture_of(spec).name, spec, {}, preprocess)


def training_flops(spec: Spec) -> int:
    """Return the operations of one image in a training step: a forward and a backward pass."""
    return 3 * int(architecture_of(spec).flops(spec))
