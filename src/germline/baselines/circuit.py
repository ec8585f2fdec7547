"""Circuit baseline: a circuit of channels taken from one trained ancestor, without evolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from germline.architectures import Spec
from germline.data import DataSet
from germline.learngene import Learngene
from germline.methods.gtl.circuit_method import CircuitGene
from germline.methods.gtl.circuits import circuit_spec, draw_circuit, extract_circuit, select_strongest_circuit
from germline.methods.whole_ancestor import WholeAncestor
from germline.network import Network
from germline.randomness import generator
from germline.training import Run


class CircuitBaseline(CircuitGene, WholeAncestor):
    """A circuit of one ancestor's channels, transplanted like an evolved one.

    A control without a paper. It has the form and the size of an evolved gene and comes from a trained network, so that
    a comparison shows what evolution adds.

    Attributes:
        choose: Channels at `random`, drawn by the run's seed, or those of the largest BatchNorm `scale` of each group.
    """

    name: ClassVar[str] = "circuit"
    paper: ClassVar[str] = "a control"

    choose: Literal["random", "scale"] = "random"

    @model_serializer(mode="wrap")
    def _dump_without_no_protection(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A circuit without protection has the dump of the first release.
        settings: dict[str, Any] = dump(self)
        free = {"protected_steps": 0, "inherited_rate": 1.0}
        return {key: value for key, value in settings.items() if key not in free or value != free[key]}

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec.

        Raises:
            SettingError: There is no ancestor, or it has no stages of convolutions.
            ArtefactError: No architecture describes it.
        """
        spec = super().condense_spec(ancestor, data)
        circuit_spec(spec, self.share)
        return spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Copy the circuit's channels; nothing is trained.

        Raises:
            SettingError: There is no ancestor, or it has no stages of convolutions.
            ArtefactError: No architecture describes it.
        """
        whole = super().condense(ancestor, data, run)
        narrow = circuit_spec(whole.spec, self.share)
        if self.choose == "random":
            circuit = draw_circuit(whole.spec, narrow, generator(run.seed, self.name, "channels"))
        else:
            circuit = select_strongest_circuit(whole.tensors, whole.spec, narrow, "scale")
        return replace(whole, tensors=extract_circuit(whole.tensors, whole.spec, circuit), classes=None)
