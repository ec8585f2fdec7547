"""A Fabric logger for Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import wandb  # type: ignore[import-not-found]


class WandbLogger:
    """Logger of numbers to one wandb run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(project="germline", dir=str(folder), name=folder.stem)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of a step."""
        # The step is a metric: phases of one run start again at 0, which wandb's own counter forbids.
        self._run.log({**metrics, "step": step})

    def finalize(self, status: str) -> None:
        """Do nothing, since the wandb run ends with the process."""
