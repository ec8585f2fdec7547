"""Base class for methods whose gene is the whole ancestor."""

from __future__ import annotations

from typing import ClassVar

from germline.architectures import Spec
from germline.data import DataSet
from germline.learngene import Learngene
from germline.methods.base import GeneCost, Method
from germline.methods.checks import require_ancestor
from germline.methods.slicing import shapes_of
from germline.network import Network
from germline.provenance import Provenance
from germline.registry import architecture_of
from germline.training import Run
from germline.traits import Traits


class WholeAncestor(Method):
    """A method that condenses nothing: its gene is the whole ancestor."""

    architectures: ClassVar[tuple[str, ...]] = ("vit", "vgg", "resnet12", "resnet")
    traits: ClassVar[Traits] = Traits(varies_with_seed=False)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec.

        Raises:
            SettingError: There is no ancestor.
            ArtefactError: No architecture describes it.
        """
        return require_ancestor(self.name, ancestor)[1]

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Return the cost: nothing is trained, and the whole ancestor is stored."""
        return GeneCost(stored={name: shape.numel() for name, shape in shapes_of(spec).items()})

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Copy the whole ancestor; nothing is trained.

        Raises:
            SettingError: There is no ancestor.
            ArtefactError: No architecture describes it.
        """
        network, spec = require_ancestor(self.name, ancestor)
        self.condense_spec(ancestor, data)
        return Learngene(
            method=self.name,
            settings=self.model_dump(mode="json"),
            architecture=architecture_of(spec).name,
            spec=spec,
            tensors={name: tensor.detach().cpu().clone() for name, tensor in network.model.state_dict().items()},
            preprocess=network.preprocess,
            classes=network.classes or None,
            provenance=Provenance(
                ancestor=network.source, ancestor_licence=network.licence, data=data.name, data_licence=data.licence
            ),
        )
