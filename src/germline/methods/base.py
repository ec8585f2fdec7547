"""What a method is: its settings, condense and inherit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from germline.architectures import Size, Spec, Target
from germline.learngene import Descendant, Learngene
from germline.network import Network
from germline.registry import architecture_of
from germline.training.settings import TrainSettings

if TYPE_CHECKING:
    import torch

    from germline.data import DataSet
    from germline.training import Objective, Run

DataRole = Literal["train", "val", "held_out", "stream"]


class Method(BaseModel):
    """A method: a frozen model whose fields are its settings.

    Attributes:
        name: What the command line calls it.
        paper: Where it is published.
        ancestor: Whether `condense` needs a trained network.
        roles: The data it reads.
        architectures: The families it can grow.
        own_size: Whether it needs an ancestor of each descendant's own size.
        teaches: Whether the ancestor looks at every picture that a descendant is trained on.
        crosses: Whether it grows other forms than sizes of its gene's own, down to other families.
        inherits_head: Whether a descendant inherits a head for the gene's own classes, and so can answer untrained.
        reports: Path of the report module of each kind of record that genes of this method hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    ancestor: ClassVar[Literal["required", "optional", "none"]] = "required"
    roles: ClassVar[tuple[DataRole, ...]] = ("train", "val")
    architectures: ClassVar[tuple[str, ...]] = ("vit",)
    own_size: ClassVar[bool] = False
    teaches: ClassVar[bool] = False
    crosses: ClassVar[bool] = False
    inherits_head: ClassVar[bool] = True
    reports: ClassVar[Mapping[str, str]] = {}

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec | None:
        """The form of the network that a gene is condensed in, before anything is trained or written.

        Returns:
            None where it is not known beforehand.

        Raises:
            GermlineError: This ancestor, data and settings do not fit.
        """
        return None

    def outline(self, form: Spec) -> Mapping[str, int] | None:
        """Elements of each tensor that a gene of that form would hold, by name; None where it is not known."""
        return None

    @property
    def distils(self) -> bool:
        """Whether the ancestor looks at every picture that a gene is condensed on."""
        return False

    def condensing_samples(self, images: int) -> int:
        """Pictures that condensing sees, repeats counted, of a training set of that many.

        Of a method that is one training these are its steps times its batch; one that trains more has to say so, and
        where not every picture is seen by a network of the gene's form, `condensing_flops` too.
        """
        return self.total_samples(images) if isinstance(self, TrainSettings) else 0

    def condensing_flops(self, form: Spec, images: int, teacher: int) -> int:
        """Operations of condensing, a teacher's forward passes included; a backward pass counts as two forward ones.

        Args:
            form: Of the network that a gene is condensed in.
            images: In the training set.
            teacher: Operations of the ancestor's forward pass, of one picture; 0 where it does not look.
        """
        return self.condensing_samples(images) * (3 * int(architecture_of(form).flops(form)) + teacher)

    def inner(self) -> Method | None:
        """The method whose gene this one alters; None for a method of its own."""
        return None

    def redraw(self, gene: Learngene, generator: torch.Generator) -> Learngene:
        """This method's gene, made from its inner method's; `generator` draws what is drawn.

        Raises:
            SettingError: It cannot be made from that one.
        """
        raise NotImplementedError

    def root(self) -> Method:
        """The method that condenses what this one alters, however often it was altered; itself for one of its own."""
        inner = self.inner()
        return self if inner is None else inner.root()

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Make a gene from an ancestor and data; every training goes through `run.fit`."""
        raise NotImplementedError

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Grow the target; what is fresh is drawn from `generator`."""
        raise NotImplementedError

    def objective(self, gene: Learngene, descendant: Descendant) -> Objective | None:
        """The loss with which a descendant is trained; None for plain cross entropy."""
        return None

    def sizes(self, gene: Learngene) -> str:
        """The sizes that a gene can grow, in a sentence."""
        raise NotImplementedError

    def every_size(self, form: Spec) -> tuple[str, ...]:
        """The sizes that a gene of that form grows, in the size language; empty where they are not a list to be named.

        A recipe's `sizes: ["*"]` stands for them.
        """
        return ()

    def descendant_spec(self, form: Spec, size: Size, gene: Learngene | None = None) -> Spec:
        """The form of a descendant of that size.

        Args:
            form: What the size starts from, with the descendant's pictures and classes.
            size: Asked for.
            gene: It grows from; None where there is none yet.

        Raises:
            SettingError: A size that cannot be built.
        """
        shaped: Spec = architecture_of(form).resize(form, size)
        return shaped

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse a size that the gene cannot grow.

        Raises:
            SettingError: Says which size, why, and what can be grown.
        """
