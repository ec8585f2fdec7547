"""Cut circuit: a circuit of channels cut out of one trained ancestor, without any evolution."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from germline.architectures import Spec
from germline.baselines.whole_ancestor import WholeAncestor
from germline.data import DataSet
from germline.learngene import Learngene
from germline.methods.gtl.circuit_method import CircuitGene
from germline.methods.gtl.circuits import circuit_spec, draw_circuit, extract_circuit, select_strongest_circuit
from germline.network import Network
from germline.randomness import generator
from germline.training import Run


class CircuitBaseline(CircuitGene, WholeAncestor):
    """A circuit of an ancestor's channels, planted as an evolved one is.

    A control without a paper of its own: it has form, size and training, and tells what choosing circuits by evolution
    adds.

    Attributes:
        choose: Channels at `random`, drawn by the run's seed, or in each group those of the largest BatchNorm `scale`.
    """

    name: ClassVar[str] = "circuit"
    paper: ClassVar[str] = "a control"

    choose: Literal["random", "scale"] = "random"

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """The ancestor's own.

        Raises:
            SettingError: There is no ancestor, or it has no stages of convolutions.
            ArtefactError: No architecture knows it.
        """
        spec = super().condense_spec(ancestor, data)
        circuit_spec(spec, self.share)
        return spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Cut the circuit out; nothing is trained.

        Raises:
            SettingError: There is no ancestor, or it has no stages of convolutions.
            ArtefactError: No architecture knows it.
        """
        whole = super().condense(ancestor, data, run)
        narrow = circuit_spec(whole.spec, self.share)
        if self.choose == "random":
            circuit = draw_circuit(whole.spec, narrow, generator(run.seed, self.name, "channels"))
        else:
            circuit = select_strongest_circuit(whole.tensors, whole.spec, narrow, "scale")
        return replace(whole, tensors=extract_circuit(whole.tensors, whole.spec, circuit), classes=None)
