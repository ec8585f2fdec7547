"""Base class for methods whose gene is the whole ancestor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from germline.architectures import Spec, count_elements, on_meta_device
from germline.data import DataSet
from germline.learngene import Learngene, Provenance
from germline.methods.base import Method
from germline.methods.checks import require_ancestor
from germline.network import Network
from germline.registry import architecture_of
from germline.training import Run


class WholeAncestor(Method):
    """What methods share that condense nothing: the gene is the ancestor."""

    architectures: ClassVar[tuple[str, ...]] = ("vit", "vgg", "resnet12", "resnet")

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """The ancestor's own.

        Raises:
            SettingError: There is no ancestor.
            ArtefactError: No architecture knows it.
        """
        return require_ancestor(self.name, ancestor)[1]

    def outline(self, form: Spec) -> Mapping[str, int]:
        """All of the ancestor."""
        with on_meta_device():
            return count_elements(architecture_of(form).build(form))

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Keep the ancestor whole; nothing is trained.

        Raises:
            SettingError: There is no ancestor.
            ArtefactError: No architecture knows it.
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
            classes=network.classes,
            provenance=Provenance(
                ancestor=network.source, ancestor_licence=network.licence, data=data.name, data_licence=data.licence
            ),
        )
