"""Recipes: what a comparison is told, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from germline.architectures import Size
from germline.compare.recipe.sections import (
    AncestorRecipe,
    Arm,
    DataDescription,
    FamilyBudget,
    ImagesPerClass,
    RecipeSection,
    ScratchPlateau,
    SensitivityGrid,
    Tasks,
    Tuning,
)
from germline.config import validate_settings
from germline.errors import SettingError, UnknownNameError
from germline.methods.base import find_method
from germline.registry import METHODS
from germline.training import TrainSettings

CONTROL = "scratch"
EVERY_SIZE = "*"
Question = Literal["convergence", "samples", "sensitivity", "sizes", "instincts", "paths"]


# Former names of keys, with their names of today. Saved recipes keep the former ones, which older versions read.
RENAMED_KEYS = {"levelling": "scratch_until_plateau"}


def rename_old_keys(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Give keys with former names their names of today."""
    return {RENAMED_KEYS[key] if RENAMED_KEYS.get(key, key) not in raw else key: value for key, value in raw.items()}


class Recipe(RecipeSection):
    """A comparison: arms x sizes x pictures a class x seeds, asked one of the protocols' questions.

    Attributes:
        title: What it asks, in a line.
        protocol: What is claimed of a learngene: see `germline.compare.analysis.protocols`.
        kind: `quick` proves that it runs; only `full` is evidence.
        minutes: Expected time on two cores.
        data: What descendants are trained on: train split, curves on val, last value on test.
        ancestor: Where genes come from.
        arms: The ways to start, by name; the first is the one that claims are made of, the control is called `scratch`.
        sizes: In the size language, such as `depth=6`; `*` alone is every size that the first arm's method lists.
        images_per_class: Training pictures a class; `all` takes every one.
        seeds: Of everything.
        one_gene: Whether one ancestor and one gene an arm serve all seeds.
        described: Numbers of data sets, one or a list, with which the recipe is priced where they are missing.
        tasks: Whether a cell is one training on all classes, or the mean over tasks of a few.
        train: How descendants are trained.
        tune: The grid in which every arm is tuned; None takes the settings as they are.
        grid: The grid that `sensitivity` asks about.
        instinct_steps: Further steps after which `instincts` looks, between 1 and 100.
        scratch_until_plateau: How long scratch is trained until more steps add nothing; None: as long as all arms.
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
    images_per_class: tuple[ImagesPerClass, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    one_gene: bool = False
    described: tuple[DataDescription, ...] = ()
    tasks: Tasks | None = None
    train: TrainSettings
    tune: Tuning | None = None
    grid: SensitivityGrid | None = None
    instinct_steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = ()
    scratch_until_plateau: ScratchPlateau | None = None
    family: FamilyBudget | None = None
    final: bool = False

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, raw: Any) -> Any:
        return rename_old_keys(raw) if isinstance(raw, Mapping) else raw

    @model_serializer(mode="wrap")
    def _save_old_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        former = {new: old for old, new in RENAMED_KEYS.items()}
        return {former.get(key, key): value for key, value in dump(self).items()}

    @field_validator("described", mode="before")
    @classmethod
    def _wrap_single(cls, value: Any) -> Any:
        return [value] if isinstance(value, (Mapping, DataDescription)) else value

    @field_validator("sizes", "images_per_class", "seeds")
    @classmethod
    def _refuse_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({str(value) for value in values}) != len(values):
            raise ValueError("a value stands twice")
        return values

    def model_post_init(self, _: Any) -> None:
        """Hold sizes, methods and arms against what there is, and against each other."""
        for name in self.arms:
            self._check_arm(name)
        self._check_arm_sizes()
        self._check_duplicates()
        if self.tune is not None:
            self._check_tuning(self.tune)
        if (self.protocol == "sensitivity") != (self.grid is not None):
            raise SettingError(
                f"protocol={self.protocol} {'with' if self.grid else 'without'} a grid",
                "sensitivity is the spread over a grid of rates and decays, and nothing else has one",
                "add grid: {lr: [...], weight_decay: [...]}, or take it out",
            )
        for key in ("scratch_until_plateau", "family"):
            if getattr(self, key):
                self._check_scratch_budget(key)
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
            raise UnknownNameError.with_nearest(f"method at arms.{name}.method:", arm.method, METHODS)
        validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
        if not self.is_trained(name):
            self._check_untrained(name)
        if other is not None and other not in self.arms:
            raise UnknownNameError.with_nearest(f"arm at arms.{name}.tuned_as:", other, self.arms)
        if other is not None and (self.arms[other].tuned_as is not None or not self.is_trained(other)):
            raise SettingError(f"arms.{name}.tuned_as={other}", "that arm is not tuned itself", "name one that is")

    def _check_untrained(self, name: str) -> None:
        """Only a descendant that has all it needs to answer, in a protocol that asks for that, is left untrained."""
        arm, known = self.arms[name], self.ancestor.data
        method = validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
        # An ancestor that is at hand, and a gene that is neither trained nor drawn.
        fixed = self.ancestor.path is not None and not method.traits.varies_with_seed
        refusals = (
            (self.protocol != "paths", "a budget of zero trains nothing", ""),
            (not method.traits.inherits_head, f"'{arm.method}' hands no head on, and a fresh one only guesses", ""),
            (arm.tuned_as is not None, "what trains nothing is not tuned", "take tuned_as out, or "),
            (
                self.data != known or self.final,
                f"its head is for the classes of {known}, and a fresh one only guesses",
                f"evaluate it on {known}, or ",
            ),
            (
                self.tasks is not None,
                "a task has classes of its own, for which the head is fresh",
                "take tasks out, or ",
            ),
            (
                self.one_gene and len(self.seeds) > 1,
                "with one gene every seed is the same evaluation once more",
                "take one_gene out, leave a single seed, or ",
            ),
            (
                fixed and len(self.seeds) > 1,
                f"'{arm.method}' has the same gene for every seed of ancestor.path={self.ancestor.path}",
                "leave a single seed, or ",
            ),
        )
        for wrong, why, way in refusals:
            if wrong:
                raise SettingError(f"arm '{name}' has steps=0", why, f"{way}give it a step or more")

    def _check_arm_sizes(self) -> None:
        """Every arm has sizes of the recipe's, and every size has an arm."""
        if self.has_open_sizes:
            return
        if EVERY_SIZE in self.sizes:
            raise SettingError(
                f"sizes={list(self.sizes)}", f"'{EVERY_SIZE}' is every size there is", "leave the others out"
            )
        for name, arm in self.arms.items():
            odd = [size for size in arm.sizes or () if size not in self.sizes]
            if odd:
                raise SettingError(
                    f"arms.{name}.sizes: '{odd[0]}'",
                    "it is none of the recipe's sizes",
                    "name some of these, written as they are there",
                )
        taken = {size for name in self.arms for size in self.sizes_of(name)}
        if left := [size for size in self.sizes if size not in taken]:
            raise SettingError(f"sizes: '{left[0]}'", "no arm stands there", "leave it out, or give it to an arm")

    def _check_scratch_budget(self, key: str) -> None:
        if CONTROL not in self.arms:
            raise SettingError(f"{key} without an arm '{CONTROL}'", "it is about that arm", "add it, or take it out")
        if self.grid is not None:
            raise SettingError(
                f"{key} with a grid", "it trains scratch on at one rate and decay", f"take out the grid, or {key}"
            )

    def _check_family(self, family: FamilyBudget) -> None:
        first = next(iter(self.arms))
        shared = set(self.sizes_of(first)) & set(self.sizes_of(CONTROL))
        if (
            family.size not in shared and not self.has_open_sizes
        ) or family.images_per_class not in self.images_per_class:
            raise SettingError(
                f"family.size={family.size}, family.images_per_class={family.images_per_class}",
                "it is compared with a descendant of that size and number of pictures, and the recipe has none",
                f"take one of the recipe's own, at which '{first}' and '{CONTROL}' stand",
            )
        if not find_method(self.arms[first].method).traits.has_gene:
            raise SettingError(
                f"family with '{first}' as the first arm",
                "scratch is given what the first arm's gene and descendants cost, and this one has no gene",
                "put an arm with a gene first, or take out family",
            )

    def _check_duplicates(self) -> None:
        """Two cells of one identity would be one piece of work that counts as two."""
        sizes: dict[frozenset[tuple[str, int]], str] = {}
        for size in () if self.has_open_sizes else self.sizes:
            twin = sizes.setdefault(frozenset(Size.parse(size).items()), size)
            if twin is not size:
                raise SettingError(f"sizes '{twin}' and '{size}'", "they are one and the same", "leave one out")
        arms: dict[str, str] = {}
        for name, arm in self.arms.items():
            tuned = self._arm_identity(arm.tuned_as or name) if self.tune is not None else ""
            twin = arms.setdefault(f"{self._arm_identity(name)} {tuned}", name)
            if twin != name:
                raise SettingError(
                    f"arms '{twin}' and '{name}'",
                    "they differ in nothing, so each of their cells would be the same twice",
                    "leave one out, or give one another draw, such as draw: 1",
                )

    def _arm_identity(self, name: str) -> str:
        """All that tells the cells of one arm from those of another, their tuning left out."""
        arm, settings = self.arms[name], self.train_settings(name)
        method = validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
        return repr((arm.method, method, settings, arm.draw))

    def _check_tuning(self, tune: Tuning) -> None:
        Size.parse(tune.size)
        if tune.seed in self.seeds:
            raise SettingError(
                f"tune.seed={tune.seed}", "it is one of the comparison's own seeds", "tune on a seed apart from them"
            )

    def train_settings(self, arm: str, **more: Any) -> TrainSettings:
        """The training settings of one arm; `more` goes before all."""
        return validate_settings(
            TrainSettings, {**self.train.model_dump(), **self.arms[arm].train, **more}, f"arms.{arm}.train"
        )

    def is_trained(self, arm: str) -> bool:
        """Whether the descendants of an arm are trained at all; if not, they are evaluated as they were grown."""
        return self.train_settings(arm).steps != 0

    def is_tuned(self, arm: str) -> bool:
        """Whether an arm is tuned itself: neither as another one, nor without any training."""
        return self.tune is not None and self.arms[arm].tuned_as is None and self.is_trained(arm)

    @property
    def has_open_sizes(self) -> bool:
        """Whether sizes are yet to be listed by the first arm's method."""
        return self.sizes == (EVERY_SIZE,)

    def sizes_of(self, arm: str) -> tuple[str, ...]:
        """The sizes at which an arm stands, in the recipe's order."""
        named = self.arms[arm].sizes
        return tuple(size for size in self.sizes if named is None or size in named)
