"""Weights & Biases behind the three calls of a Fabric logger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import wandb  # type: ignore[import-not-found]


class WandbLogger:
    """Logs numbers to one wandb run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(project="germline", dir=str(folder), name=folder.stem)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of a step."""
        # The step travels as a number: phases of one run begin at 0 again, which wandb's own counter forbids.
        self._run.log({**metrics, "step": step})

    def finalize(self, status: str) -> None:
        """Nothing to close: the run ends with the process."""
