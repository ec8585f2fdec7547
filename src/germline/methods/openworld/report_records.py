"""Records of a collective network, as a gene keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from pydantic import BaseModel, ConfigDict, Field


class DetectionRecord(BaseModel):
    """Record of the detection of unknown images; all values but the percentile are shares of 1.

    Attributes:
        percentile: Percentile of known images' scores that gives the threshold.
        detection: Share of unknown images below the threshold.
        false_alarms: Share of known images below the threshold.
        auroc: Area under the curve of detection over false alarms.
        flagged: Classes that were detected as new.
        curve: Threshold, detection and false alarms, as the threshold rises.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    percentile: float
    detection: float
    false_alarms: float
    auroc: float
    flagged: tuple[str, ...]
    curve: tuple[tuple[float, float, float], ...]


class TuningPointRecord(BaseModel):
    """Record of one strength and rate that were tried.

    Attributes:
        consolidation: Strength of consolidation.
        distillation: Strength of distillation.
        lr: Learning rate.
        accuracies: Accuracies on a task and all earlier ones, after each of the first tasks. A joint training has one
            accuracy over all classes. None if the loss was not finite.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    consolidation: float
    distillation: float = 0.0
    lr: float
    accuracies: tuple[tuple[float, ...], ...] | None


class TuningRecord(BaseModel):
    """Record of the strengths and rates that were tried on the first tasks.

    Attributes:
        tasks: Number of these tasks.
        points: All points, in the order of trial.
        chosen: Index of the chosen point.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    tasks: int = Field(ge=1)
    points: tuple[TuningPointRecord, ...] = Field(min_length=1)
    chosen: int = Field(ge=0)


class CollectiveRecord(BaseModel):
    """Record of a collective network.

    Attributes:
        heat: Share of gradients above the threshold, by task, epoch and unit.
        scores: Score of each unit by the criterion.
        window: Window that the criterion chose: its first unit, counted from 0, and number of units. The setting
            `window` can give the gene another one.
        dead: Units with constant outputs, counted from 0.
        accuracies: Accuracies on a task and all earlier ones, after each task.
        parameters: Number of parameters at each task.
        grown: Unit that grew before each task, counted from 1; 0 for none.
        detection: Detection of unknown images; None if there were none.
        classes: Classes of each task; empty in older genes. A joint training lists the tasks of the stream.
        joint: Accuracies of a joint training on these tasks; None for a stream.
        tuning: Strengths and rates that were tried; None if nothing was tuned.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    heat: tuple[tuple[tuple[float, ...], ...], ...] = Field(min_length=1)
    scores: tuple[float, ...] = Field(min_length=1)
    window: tuple[int, int]
    dead: tuple[int, ...]
    accuracies: tuple[tuple[float, ...], ...] = Field(min_length=1)
    parameters: tuple[int, ...]
    grown: tuple[int, ...]
    detection: DetectionRecord | None
    classes: tuple[tuple[str, ...], ...] = ()
    joint: tuple[float, ...] | None = None
    tuning: TuningRecord | None = None

    @property
    def by_task(self) -> list[list[float]]:
        """Mean of the heat over epochs, by task and unit."""
        return [[fmean(column) for column in zip(*epochs, strict=True)] for epochs in self.heat]

    @property
    def means(self) -> list[float]:
        """Mean accuracy over all tasks so far, after each task."""
        return [fmean(row) for row in self.accuracies]

    @property
    def units(self) -> str:
        """First and last unit of the chosen window, counted from 1."""
        return f"{self.window[0] + 1} to {sum(self.window)}"


Seeds = Mapping[int, CollectiveRecord]  # by seed of the comparison
