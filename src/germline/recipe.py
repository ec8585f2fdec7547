"""Recipes: what a comparison is told, checked before anything runs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from germline.anatomy import Size
from germline.config import validated
from germline.errors import SettingError, UnknownNameError
from germline.registry import METHODS
from germline.training import TrainSettings

CONTROL = "scratch"
Question = Literal["convergence", "samples", "sensitivity", "sizes", "instincts"]
Rate = Annotated[float, Field(gt=0)]
Images = Annotated[int, Field(ge=1)] | Literal["all"]
Decay = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AncestorRecipe(_Strict):
    """How the ancestor comes to be.

    Attributes:
        path: A network that is at hand, shared by all seeds; `packaged` is the one shipped with germline.
        data: Data set that an ancestor is trained on, and genes are condensed on.
        model: Preset or timm name of an ancestor to train, one a seed.
        train: How it is trained.
    """

    data: str
    path: str | None = None
    model: str = "vit_pico"
    train: TrainSettings = TrainSettings()


class Arm(_Strict):
    """One way to start a descendant.

    Attributes:
        method: Name of the method.
        settings: Its settings.
        train: Training settings that differ from the recipe's.
        tuned_as: Another arm whose tuned settings are taken over.
        draw: Another number gives other initial weights; a null is an arm that differs in nothing else.
    """

    method: str
    settings: dict[str, Any] = {}
    train: dict[str, Any] = {}
    tuned_as: str | None = None
    draw: int = Field(default=0, ge=0)


class Tuning(_Strict):
    """The grid in which every arm is tuned on validation pictures.

    Attributes:
        lr: Rates to try.
        weight_decay: Decays to try.
        size: The one size it is done at.
        images_per_class: The one number of pictures.
        seed: The one seed, apart from those of the comparison.
        scaling: At other sizes the rate is the same (`none`), or divided by how much wider they are (`width`).
    """

    lr: tuple[Rate, ...] = Field(min_length=1, max_length=4)
    weight_decay: tuple[Decay, ...] = Field(min_length=1, max_length=2)
    size: str
    images_per_class: Images
    seed: int = Field(default=1000, ge=0)
    scaling: Literal["none", "width"] = "none"


class Grid(_Strict):
    """The settings over which `sensitivity` looks at the spread.

    Attributes:
        lr: Rates.
        weight_decay: Decays.
    """

    lr: tuple[Rate, ...] = Field(min_length=2)
    weight_decay: tuple[Decay, ...] = Field(min_length=1)


class Levelling(_Strict):
    """Scratch is trained for twice, four times, ... its steps until that adds no more.

    Attributes:
        tolerance: Mean gain of a doubling, in validation accuracy as a share of 1, that counts as none.
        most: The largest multiple that is tried.
    """

    tolerance: float = Field(default=0.01, ge=0, lt=1)
    most: int = Field(default=8, ge=2)


class Family(_Strict):
    """Scratch is also given the total that ancestor, gene and descendants cost together, at one condition.

    Attributes:
        counts: Numbers of descendants that share the cost of ancestor and gene.
        size: The one size it is done at.
        images_per_class: The one number of pictures.
    """

    counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 5, 10), min_length=1)
    size: str
    images_per_class: Images


class Described(_Strict):
    """What a data set holds, so that a recipe can be priced where it is not at hand.

    Attributes:
        data: Its name in the recipe.
        classes: Classes.
        images: Training pictures.
        side: Height and width in pixels.
        channels: 1 for grey, 3 for colour.
    """

    data: str
    classes: int = Field(ge=2)
    images: int = Field(ge=1)
    side: int = Field(ge=1)
    channels: Literal[1, 3] = 3


class Tasks(_Strict):
    """Each cell is the mean over a list of tasks drawn from the data's classes by its seed.

    Attributes:
        ways: Classes of a task.
        count: Tasks of a seed.
    """

    ways: int = Field(ge=2)
    count: int = Field(ge=1)


class Recipe(_Strict):
    """A comparison: arms x sizes x pictures a class x seeds, asked one of the protocols' questions.

    Attributes:
        title: What it asks, in a line.
        protocol: What is claimed of a learngene: see `germline.compare.protocols`.
        kind: `quick` proves that it runs; only `full` is evidence.
        minutes: Expected time on two cores.
        data: What descendants are trained on: train split, curves on val, last value on test.
        ancestor: Where genes come from.
        arms: The ways to start, by name; the first is the one that claims are made of, the control is called `scratch`.
        sizes: In the size language, such as `depth=6`.
        images_per_class: Training pictures a class; `all` takes every one.
        seeds: Of everything.
        one_gene: Whether one ancestor and one gene an arm serve all seeds.
        described: Numbers of a data set, with which it is priced where it is missing.
        tasks: Whether a cell is one training on all classes, or the mean over tasks of a few.
        train: How descendants are trained.
        tune: The grid in which every arm is tuned; None takes the settings as they are.
        grid: The grid that `sensitivity` asks about.
        instinct_steps: Further steps after which `instincts` looks, between 1 and 100.
        levelling: How long scratch is trained on; None leaves it at the steps of all.
        family: The whole family's budget, given to scratch; None leaves it out.
        final: Whether the last value is read on the part of the data that is kept for headline numbers.
    """

    title: str
    protocol: Question
    kind: Literal["quick", "full"]
    minutes: float = Field(gt=0)
    data: str
    ancestor: AncestorRecipe
    arms: dict[str, Arm] = Field(min_length=1)
    sizes: tuple[str, ...] = Field(min_length=1)
    images_per_class: tuple[Images, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    one_gene: bool = False
    described: Described | None = None
    tasks: Tasks | None = None
    train: TrainSettings
    tune: Tuning | None = None
    grid: Grid | None = None
    instinct_steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = ()
    levelling: Levelling | None = None
    family: Family | None = None
    final: bool = False

    @field_validator("sizes", "images_per_class", "seeds")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({str(value) for value in values}) != len(values):
            raise ValueError("a value stands twice")
        return values

    def model_post_init(self, _: Any) -> None:
        """Hold sizes, methods and arms against what there is, and against each other."""
        for name in self.arms:
            self._check_arm(name)
        self._check_alike()
        if self.tune is not None:
            self._check_tuning(self.tune)
        if (self.protocol == "sensitivity") != (self.grid is not None):
            raise SettingError(
                f"protocol={self.protocol} {'with' if self.grid else 'without'} a grid",
                "sensitivity is the spread over a grid of rates and decays, and nothing else has one",
                "add grid: {lr: [...], weight_decay: [...]}, or take it out",
            )
        for key in ("levelling", "family"):
            if getattr(self, key):
                self._check_further(key)
        if self.family is not None:
            self._check_family(self.family)
        if self.final and not self.data.startswith("glyphs/"):
            raise SettingError(f"final with data={self.data}", "only glyphs keep a part back", "leave out --final")

    def _check_arm(self, name: str) -> None:
        arm, other = self.arms[name], self.arms[name].tuned_as
        # It becomes part of file names.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]*", name):
            raise SettingError(f"arm '{name}'", "a name is of letters, digits, - and _", "choose another name")
        if arm.method not in METHODS:
            raise UnknownNameError.of(f"method at arms.{name}.method:", arm.method, METHODS)
        validated(METHODS[arm.method], arm.settings, f"arms.{name}.settings")
        if self.train_settings(name).steps == 0:
            raise SettingError(f"arm '{name}' has steps=0", "a budget of zero trains nothing", "give it a step or more")
        if other is not None and other not in self.arms:
            raise UnknownNameError.of(f"arm at arms.{name}.tuned_as:", other, self.arms)
        if other is not None and self.arms[other].tuned_as is not None:
            raise SettingError(f"arms.{name}.tuned_as={other}", "that arm is not tuned itself", "name one that is")

    def _check_further(self, key: str) -> None:
        if CONTROL not in self.arms:
            raise SettingError(f"{key} without an arm '{CONTROL}'", "it is about that arm", "add it, or take it out")
        if self.grid is not None:
            raise SettingError(
                f"{key} with a grid", "it trains scratch on at one rate and decay", f"take out the grid, or {key}"
            )

    def _check_family(self, family: Family) -> None:
        if family.size not in self.sizes or family.images_per_class not in self.images_per_class:
            raise SettingError(
                f"family.size={family.size}, family.images_per_class={family.images_per_class}",
                "it is compared with a descendant of that size and number of pictures, and the recipe has none",
                "take one of the recipe's own",
            )
        first = next(iter(self.arms))
        if self.arms[first].method == CONTROL:
            raise SettingError(
                f"family with '{first}' as the first arm",
                "scratch is given what the first arm's gene and descendants cost, and this one has no gene",
                "put an arm with a gene first, or take out family",
            )

    def _check_alike(self) -> None:
        """Two cells of one identity would be one piece of work that counts as two."""
        sizes: dict[frozenset[tuple[str, int]], str] = {}
        for size in self.sizes:
            twin = sizes.setdefault(frozenset(Size.parse(size).items()), size)
            if twin is not size:
                raise SettingError(f"sizes '{twin}' and '{size}'", "they are one and the same", "leave one out")
        arms: dict[str, str] = {}
        for name, arm in self.arms.items():
            tuned = self._start(arm.tuned_as or name) if self.tune is not None else ""
            twin = arms.setdefault(f"{self._start(name)} {tuned}", name)
            if twin != name:
                raise SettingError(
                    f"arms '{twin}' and '{name}'",
                    "they differ in nothing, so each of their cells would be the same twice",
                    "leave one out, or give one another draw, such as draw: 1",
                )

    def _start(self, name: str) -> str:
        """All that tells the cells of one arm from those of another, their tuning left out."""
        arm, settings = self.arms[name], self.train_settings(name)
        method = validated(METHODS[arm.method], arm.settings, f"arms.{name}.settings")
        return repr((arm.method, method, settings, arm.draw))

    def _check_tuning(self, tune: Tuning) -> None:
        Size.parse(tune.size)
        if tune.seed in self.seeds:
            raise SettingError(
                f"tune.seed={tune.seed}", "it is one of the comparison's own seeds", "tune on a seed apart from them"
            )

    def train_settings(self, arm: str, **more: Any) -> TrainSettings:
        """The training settings of one arm; `more` goes before all."""
        return validated(
            TrainSettings, {**self.train.model_dump(), **self.arms[arm].train, **more}, f"arms.{arm}.train"
        )
