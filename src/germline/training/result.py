"""What a phase of training came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from germline.files import read_json, read_tensors
from germline.network import Network, load_strict


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


def stored_result(place: Path, network: Network) -> FitResult:
    """The result of a finished phase; the network gets its weights."""
    load_strict(network.model, read_tensors(place / "result.safetensors"), place)
    network.model.eval()
    stored = read_json(place / "result.json")
    return FitResult(**{**stored, "losses": [(int(step), float(loss)) for step, loss in stored["losses"]]})
