"""Settings of Open-World Learngene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from germline.methods.openworld.gradient_criterion import CountingRule
from germline.methods.openworld.task_stream import Growth, HeadKind
from germline.training import TrainSettings

Strengths = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1, max_length=8)]


class OpenWorldSettings(BaseModel):
    """Settings of a collective network, of the gene, and of the individuals that inherit it.

    Attributes:
        preset: Values of all settings that are not given: `full` has the published networks, `lab` an eighth of their
            width, `tiny` is for tests.
        model: Preset of a `vgg`, as which the collective starts.
        size: Change of the model's own size, in the size language.
        individual: Preset of the individual's network, whose last units the gene becomes. With `own` it is the
            collective's last spec, in which the gene keeps its place.
        stream: One task after another (`tasks`), or the control: the last spec trained at once on all classes, for as
            many steps (`joint`).
        tasks: Number of tasks of base classes.
        ways: Number of classes of a task.
        overlap: Whether tasks may share classes.
        head: Kind of outputs that answer a task, see `task_stream.Heads`.
        growth: Steps of [conv unit from 1, channels], one before each task but the first; or `published`, or `none`.
        noise: Noise on copied kernels, in standard deviations.
        training: Training settings of one task.
        dropout: Dropout between the head's hidden layers while the collective is trained.
        consolidation: Strength of elastic weight consolidation; 0 is off.
        distillation: Strength of distillation, which keeps the outputs of earlier tasks; 0 is off.
        fisher_samples: Number of images from which an importance is estimated.
        tune_consolidation: Strengths to try in place of `consolidation`; None tries none.
        tune_distillation: Strengths to try in place of `distillation`.
        tune_lr: Rates to try in place of `training.lr`.
        tune_tasks: Number of first tasks on which they are tried.
        open_tasks: Number of tasks of unknown classes that may follow, if the data have a `stream`.
        percentile: Percentile of the confidence on known images. Images below it are taken for unknown.
        met: Share of a class's images that must be taken for unknown before the class counts as new.
        criterion: Rule by which gradients are counted.
        epsilon: Threshold of the gradient criterion; None finds it in the first task.
        units: Number of units of the gene.
        window: First unit of the gene, counted from 1; `auto` is the choice of the gradient criterion.
        whole: Whether the gene file keeps all units, so that other windows can be cut from it.
        anchor: Values towards which an individual's weights are pulled: those `inherited`, new ones each `epoch` (as
            in the public code), or `none`.
        strength: Strength of the pull. The importance has mean 1, except for `epoch`. `inf` freezes the gene.
        anchor_every: Number of steps of an epoch for `anchor=epoch`.
    """

    omitted: ClassVar[Mapping[str, Any]] = {
        "distillation": 0.0,
        "tune_consolidation": None,
        "tune_distillation": None,
        "tune_lr": None,
        "tune_tasks": 4,
    }

    preset: Literal["full", "lab", "tiny"] = "lab"
    model: str = ""
    size: str = ""
    individual: str = ""
    stream: Literal["tasks", "joint"] = "tasks"
    tasks: int = Field(default=21, ge=1)
    ways: int = Field(default=5, ge=2)
    overlap: bool = True
    head: HeadKind = "per-task"
    growth: Literal["published", "none"] | Growth = "published"
    noise: float = Field(default=0.0, ge=0)
    training: TrainSettings = TrainSettings()
    dropout: float = Field(default=0.0, ge=0, lt=1)
    consolidation: float = Field(default=0.0, ge=0)
    distillation: float = Field(default=0.0, ge=0)
    fisher_samples: int = Field(default=128, ge=1)
    tune_consolidation: Strengths | None = None
    tune_distillation: Strengths | None = None
    tune_lr: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, max_length=8)] | None = None
    tune_tasks: int = Field(default=4, ge=1)
    open_tasks: int = Field(default=0, ge=0)
    percentile: float = Field(default=5.0, gt=0, lt=100)
    met: float = Field(default=0.15, ge=0, le=1)
    criterion: CountingRule = "scale-free"
    epsilon: float | None = Field(default=None, gt=0)
    units: int = Field(default=3, ge=1)
    window: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    whole: bool = False
    anchor: Literal["inherited", "epoch", "none"] = "inherited"
    strength: Annotated[float, Field(ge=0)] | Literal["inf"] = 1.0
    anchor_every: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _check_criterion(self) -> Self:
        if self.criterion == "positive" and self.epsilon is None:
            raise ValueError("criterion=positive counts gradients above a number. Set epsilon=5e-10 or another")
        return self

    @model_validator(mode="after")
    def _check_tuning(self) -> Self:
        strengths = [name for name in ("tune_consolidation", "tune_distillation") if getattr(self, name)]
        for name in ("tune_consolidation", "tune_distillation", "tune_lr"):
            values = getattr(self, name) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"{name}={list(values)} names a value twice. Set each value once")
        if not strengths and not self.tune_lr:
            return self
        if self.tune_tasks > self.tasks:
            raise ValueError(
                f"Only {self.tasks} tasks follow, but {self.tune_tasks} are tuned on. Set tune_tasks={self.tasks}"
            )
        if self.stream == "joint" and strengths:
            raise ValueError(f"stream=joint has no earlier task to keep. Remove {strengths[0]}")
        if self.tune_tasks < 2 and strengths:
            raise ValueError("The first task has no earlier one to keep. Set tune_tasks=2 or more")
        return self

    @field_validator("training")
    @classmethod
    def _require_steps(cls, value: TrainSettings) -> TrainSettings:
        if not value.steps:
            raise ValueError("A task is counted in steps. Set training.steps")
        return value
