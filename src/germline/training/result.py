"""What a phase of training came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from germline.files import read_json, read_tensors, write_json, write_tensors
from germline.network import Network, load_strict
from germline.training.objective import Objective

MODEL, OBJECTIVE, RESULT = "result.safetensors", "objective.safetensors", "result.json"


@dataclass(frozen=True)
class FitResult:
    """What a phase of training came to.

    Attributes:
        steps: Optimiser steps.
        samples: Pictures seen, repeats counted.
        seconds: Wall time, earlier tries of a resumed run not counted.
        losses: (step, loss) of the logged steps.
        scores: One entry an evaluation: step, accuracy, loss.
    """

    steps: int
    samples: int
    seconds: float
    losses: list[tuple[int, float]]
    scores: list[dict[str, float]]

    @property
    def accuracy(self) -> float:
        """Accuracy after the last step; a run without validation pictures has none and gives nan."""
        return self.scores[-1]["accuracy"] if self.scores else float("nan")


def store_result(place: Path, network: Network, objective: Objective, result: FitResult) -> None:
    """Keep what a phase came to, the weights that its objective owns included; with this it is finished."""
    write_tensors(place / MODEL, network.model.state_dict())
    if owned := objective.state_dict():
        write_tensors(place / OBJECTIVE, owned)
    write_json(place / RESULT, result.__dict__)


def stored_result(place: Path, network: Network, objective: Objective) -> FitResult:
    """The result of a finished phase; network and objective get their weights."""
    load_strict(network.model, read_tensors(place / MODEL), place)
    if objective.state_dict():
        load_strict(objective, read_tensors(place / OBJECTIVE), place)
    network.model.eval()
    stored = read_json(place / RESULT)
    return FitResult(**{**stored, "losses": [(int(step), float(loss)) for step, loss in stored["losses"]]})
