"""Schema of recipes, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from germline.architectures import Size
from germline.baselines.fresh_start import START_LABELS, FreshStart
from germline.compare.recipe.sections import (
    AncestorRecipe,
    Arm,
    DataDescription,
    FamilyBudget,
    ImagesPerClass,
    Question,
    RecipeSection,
    ScratchPlateau,
    SensitivityGrid,
    Tasks,
    Tuning,
)
from germline.compare.recipe.text import RENAMED_KEYS, rename_old_keys
from germline.config import validate_settings
from germline.errors import GermlineError, SettingError, UnknownNameError
from germline.methods.base import find_method
from germline.registry import METHODS
from germline.training import PrecisionName, TrainSettings

CONTROL = "scratch"
EVERY_SIZE = "*"
MIN_HEADROOM = 8.0
READ_STEPS = (0, 100, 400)
# Keys that came later. Saved recipes leave them out at their defaults, so that older folders can still be resumed.
LATER_KEYS = ("final_data", "min_headroom", "precision", "question", "read_steps")
ProtocolName = Literal["convergence", "samples", "sensitivity", "sizes", "instincts", "paths", "same-labels", "frozen"]


class Recipe(RecipeSection):
    """A comparison of arms, over sizes, numbers of images and seeds, under one protocol.

    Attributes:
        title: Question of the comparison, in one line.
        protocol: Claim to test about a learngene; see `germline.compare.analysis.protocols`.
        kind: `quick` only shows that the recipe runs. `demonstration` has no room for a claim, or no known ceiling.
            `full` gives evidence.
        minutes: Expected time on two cores; None: unknown.
        data: Data of the descendants: train on `train`, curves on `val`, final accuracy on `test`.
        ancestor: Source of the genes.
        arms: Ways to start, by name. Claims are about the first arm; the control is called `scratch`.
        sizes: Sizes in the size language, such as `depth=6`. `*` alone means every size that the first arm's method
            lists.
        images_per_class: Numbers of training images per class; `all` uses every image.
        seeds: Random seeds; each has its own ancestor unless all share one, genes, drawn images and descendants.
        one_gene: Whether one ancestor and one gene per arm serve all seeds.
        described: Numbers of one data set or of several, to estimate costs without the data.
        tasks: Few-class tasks that a cell averages over; None: one training on all classes.
        train: Training settings of the descendants; none in the protocol `frozen`.
        tune: Grid in which every arm is tuned; None: use the settings as given.
        grid: Grid of the protocol `sensitivity`.
        instinct_steps: Further steps, from 1 to 100, at which the protocol `instincts` evaluates.
        read_steps: Steps at which the protocol `same-labels` reads the accuracy.
        scratch_until_plateau: Longer training of scratch until a plateau; None: no longer training.
        family: Longer training of scratch with the budget of a whole family; None: no such training.
        final: Whether to train and test on the part of the data for headline numbers.
        final_data: Data for headline numbers, on which nothing is tuned; None: `glyphs/final` for characters, and none
            for other data.
        min_headroom: Smallest ceiling, in points of accuracy, under which a claim gets the verdict "no room to tell".
        question: Question that the recipe answers, by name or with details. Claims of all result files with the same
            question are corrected as one family; None: the claims of this comparison are a family.
        precision: Precision of all training and evaluation of ancestors, genes and descendants.
    """

    title: str
    protocol: ProtocolName
    kind: Literal["quick", "demonstration", "full"] = "full"
    minutes: float | None = Field(default=None, gt=0)
    data: str
    ancestor: AncestorRecipe
    arms: dict[str, Arm] = Field(min_length=1)
    sizes: tuple[str, ...] = Field(min_length=1)
    images_per_class: tuple[ImagesPerClass, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    one_gene: bool = False
    described: tuple[DataDescription, ...] = ()
    tasks: Tasks | None = None
    train: TrainSettings = TrainSettings()
    tune: Tuning | None = None
    grid: SensitivityGrid | None = None
    instinct_steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = ()
    read_steps: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=READ_STEPS, min_length=1)
    scratch_until_plateau: ScratchPlateau | None = None
    family: FamilyBudget | None = None
    final: bool = False
    final_data: str | None = None
    min_headroom: float = Field(default=MIN_HEADROOM, ge=0, le=100)
    question: Question | None = None
    precision: PrecisionName = "32-true"

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, raw: Any) -> Any:
        return rename_old_keys(raw) if isinstance(raw, Mapping) else raw

    @model_serializer(mode="wrap")
    def _save_old_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        former, fields = {new: old for old, new in RENAMED_KEYS.items()}, type(self).model_fields
        left_out = {key for key in LATER_KEYS if getattr(self, key) == fields[key].default}
        if self.is_frozen and "train" not in self.model_fields_set:
            left_out.add("train")
        return {former.get(key, key): value for key, value in dump(self).items() if key not in left_out}

    @field_validator("described", "images_per_class", mode="before")
    @classmethod
    def _wrap_single(cls, value: Any) -> Any:
        return [value] if isinstance(value, (Mapping, DataDescription, int, str)) else value

    @field_validator("question", mode="before")
    @classmethod
    def _read_name_of_question(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("sizes", "images_per_class", "seeds", "read_steps")
    @classmethod
    def _refuse_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({str(value) for value in values}) != len(values):
            raise ValueError("a value is given twice")
        return values

    def model_post_init(self, context: Any) -> None:
        """Check sizes, methods and arms, each alone and together.

        A context with a list `errors` gets all errors; without one, the first is raised.
        """
        errors = context.get("errors") if isinstance(context, dict) else None
        for check in self._list_checks():
            try:
                check()
            except GermlineError as error:
                if errors is None:
                    raise
                errors.append(error)

    def _list_checks(self) -> Iterator[Callable[[], None]]:
        for name in self.arms:
            yield partial(self._check_arm, name)
        yield from (self._check_train, self._check_arm_sizes, self._check_duplicates, self._check_grid)
        if self.tune is not None:
            yield partial(self._check_tuning, self.tune)
        for key in ("scratch_until_plateau", "family"):
            if getattr(self, key):
                yield partial(self._check_longer_scratch, key)
        if self.family is not None:
            yield partial(self._check_family, self.family)
        yield from (self._check_question, self._check_final)

    def _check_train(self) -> None:
        if not self.is_frozen and "train" not in self.model_fields_set:
            raise SettingError(
                f"No train with protocol={self.protocol}",
                "It holds the training settings of the descendants",
                "Set train, for example train: {steps: 600}",
            )

    def _check_grid(self) -> None:
        if (self.protocol == "sensitivity") != (self.grid is not None):
            raise SettingError(
                f"protocol={self.protocol} {'with' if self.grid else 'without'} a grid",
                "The protocol sensitivity measures the spread over a grid, and no other protocol uses one",
                "Remove `grid`" if self.grid else "Set grid: {lr: [...], weight_decay: [...]}",
            )

    def _check_question(self) -> None:
        for other in (self.question.against or ()) if self.question is not None else ():
            if other not in self.arms:
                raise UnknownNameError.with_nearest("arm at question.against:", other, self.arms)

    def _check_final(self) -> None:
        if self.final and self.final_data is None and not self.data.startswith("glyphs/"):
            raise SettingError(
                f"final with data={self.data}",
                "Only glyphs has a final part of its own",
                "Set final_data to data that nothing is tuned on, or remove --final",
            )
        if self.final_data is not None and self.final_data in (self.data, self.ancestor.data.partition(",")[0]):
            raise SettingError(
                f"final_data={self.final_data}",
                "The recipe trains or tunes on these data",
                "Choose data with other classes",
            )

    def _check_arm(self, name: str) -> None:
        arm, other = self.arms[name], self.arms[name].tuned_as
        # Names of arms become parts of file names.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]*", name):
            raise SettingError(
                f"The name of arm '{name}' is not allowed",
                "Names are made of letters, digits, - and _",
                "Choose another name",
            )
        if arm.method not in METHODS:
            raise UnknownNameError.with_nearest(f"method at arms.{name}.method:", arm.method, METHODS)
        validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
        if not self.is_trained(name):
            self._check_untrained(name)
        if other is not None and other not in self.arms:
            raise UnknownNameError.with_nearest(f"arm at arms.{name}.tuned_as:", other, self.arms)
        if other is not None and (self.arms[other].tuned_as is not None or not self.is_trained(other)):
            raise SettingError(f"arms.{name}.tuned_as={other}", "That arm is not tuned itself", "Use an arm that is")

    def _check_untrained(self, name: str) -> None:
        """Check that an arm without training is a `paths` arm whose descendants inherit a head for the data."""
        arm, ancestor_data = self.arms[name], self.ancestor.data
        method = validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
        has_one_gene = self.ancestor.is_shared and not method.traits.varies_with_seed
        path, seed = self.ancestor.path, self.ancestor.seed
        shared = f"ancestor.seed={seed}" if path is None else f"ancestor.path={path}"
        refusals = (
            (self.protocol != "paths", f"The protocol {self.protocol} compares trained descendants", ""),
            (
                not method.traits.inherits_head,
                f"'{arm.method}' passes no head on, and a fresh head only guesses",
                "",
            ),
            (arm.tuned_as is not None, "An arm without training is not tuned", "Remove tuned_as, or "),
            (
                self.data != ancestor_data or self.final,
                f"Its head is for the classes of {ancestor_data}, and a fresh head only guesses",
                f"Use data: {ancestor_data}, or ",
            ),
            (
                self.tasks is not None,
                "Each task has its own classes, for which the head is fresh",
                "Remove tasks, or ",
            ),
            (
                self.one_gene and len(self.seeds) > 1,
                "With one_gene, every seed repeats the same evaluation",
                "Remove one_gene, use a single seed, or ",
            ),
            (
                has_one_gene and len(self.seeds) > 1,
                f"'{arm.method}' has the same gene for every seed of {shared}",
                "Use a single seed, or ",
            ),
        )
        for is_refused, why, alternative in refusals:
            if is_refused:
                fix = f"{alternative}set its steps to 1 or more"
                raise SettingError(f"Arm '{name}' has steps=0", why, fix[0].upper() + fix[1:])

    def _check_arm_sizes(self) -> None:
        """Check that arms only use the recipe's sizes, and that every size has an arm."""
        if self.has_open_sizes:
            return
        if EVERY_SIZE in self.sizes:
            raise SettingError(
                f"sizes={list(self.sizes)}", f"'{EVERY_SIZE}' means every size", f"Remove '{EVERY_SIZE}' or the others"
            )
        for name, arm in self.arms.items():
            unknown = [size for size in arm.sizes or () if size not in self.sizes]
            if unknown:
                raise SettingError(
                    f"arms.{name}.sizes: '{unknown[0]}'",
                    "It is not one of the recipe's sizes",
                    "Use sizes from `sizes`, spelled as there",
                )
        used = {size for name in self.arms for size in self.sizes_of(name)}
        if unused := [size for size in self.sizes if size not in used]:
            raise SettingError(
                f"No arm uses size '{unused[0]}'",
                "It would never be built",
                "Remove it from `sizes`, or add it to an arm's `sizes`",
            )

    def _check_longer_scratch(self, key: str) -> None:
        if CONTROL not in self.arms:
            raise SettingError(
                f"{key} without an arm '{CONTROL}'", "It trains that arm longer", f"Use such an arm, or remove {key}"
            )
        if self.grid is not None:
            raise SettingError(
                f"{key} with a grid", "It needs one learning rate and weight decay", f"Remove grid or {key}"
            )

    def _check_family(self, family: FamilyBudget) -> None:
        first = next(iter(self.arms))
        shared = set(self.sizes_of(first)) & set(self.sizes_of(CONTROL))
        has_size = family.size in shared or self.has_open_sizes
        if not has_size or family.images_per_class not in self.images_per_class:
            raise SettingError(
                f"family.size={family.size}, family.images_per_class={family.images_per_class}",
                "The recipe has no such descendants to compare with",
                f"Use a size that '{first}' and '{CONTROL}' both have, and one of the recipe's images_per_class",
            )
        if not find_method(self.arms[first].method).traits.has_gene:
            raise SettingError(
                f"family with '{first}' as the first arm",
                "Scratch gets the cost of the first arm's gene, and this arm has no gene",
                "Use an arm with a gene first, or remove family",
            )

    def _check_duplicates(self) -> None:
        """Check that no two sizes or arms are the same, which would count one piece of work twice."""
        sizes: dict[frozenset[tuple[str, int]], str] = {}
        for size in () if self.has_open_sizes else self.sizes:
            twin = sizes.setdefault(frozenset(Size.parse(size).items()), size)
            if twin is not size:
                raise SettingError(
                    f"Sizes '{twin}' and '{size}' are the same",
                    "Each of their cells would run twice",
                    "Remove one of them",
                )
        arms: dict[str, str] = {}
        for name, arm in self.arms.items():
            tuned = self._arm_identity(arm.tuned_as or name) if self.tune is not None else ""
            twin = arms.setdefault(f"{self._arm_identity(name)} {tuned}", name)
            if twin != name:
                raise SettingError(
                    f"Arms '{twin}' and '{name}' are the same",
                    "Each of their cells would run twice",
                    "Remove one of them, or set another draw for one, such as draw: 1",
                )

    def _arm_identity(self, name: str) -> str:
        """Return a text that is equal for arms with the same cells, apart from tuning."""
        arm, settings = self.arms[name], self.train_settings(name)
        method = validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
        return repr((arm.method, method, settings, arm.draw))

    def _check_tuning(self, tune: Tuning) -> None:
        Size.parse(tune.size)
        if not self.is_frozen and (tune.lr is None or tune.weight_decay is None):
            raise SettingError(
                f"tune without {'lr' if tune.lr is None else 'weight_decay'}",
                "Every arm is tuned over learning rate and weight decay",
                "Set both, for example lr: [0.001, 0.003] and weight_decay: [0.05]",
            )
        for key in START_LABELS:
            values = getattr(tune, key)
            if values and not any(self.tunes_start(arm, key) for arm in self.arms):
                raise SettingError(
                    f"tune.{key}={list(values)}",
                    f"No tuned arm starts from random weights without {key} of its own",
                    f"Remove tune.{key}, or use an arm such as scratch: {{method: scratch}}",
                )
        if tune.seed in self.seeds:
            raise SettingError(
                f"tune.seed={tune.seed}", "It is one of the comparison's own seeds", "Use a seed that is not in `seeds`"
            )

    def train_settings(self, arm: str, **changes: Any) -> TrainSettings:
        """Return the training settings of an arm; `changes` override all others."""
        settings = {**self.train.model_dump(), **self.arms[arm].train, **changes}
        return validate_settings(TrainSettings, settings, f"arms.{arm}.train")

    @property
    def is_frozen(self) -> bool:
        """Whether descendants keep their inherited bodies, and only a head is fitted."""
        return self.protocol == "frozen"

    def is_trained(self, arm: str) -> bool:
        """Tell whether the descendants of an arm are trained, or only evaluated."""
        return self.train_settings(arm).steps != 0

    def is_tuned(self, arm: str) -> bool:
        """Tell whether an arm is tuned itself: it is trained, and uses no other arm's tuned settings.

        With a frozen body, only initial values can be tuned.
        """
        if self.tune is None or self.arms[arm].tuned_as is not None:
            return False
        if self.is_frozen:
            return any(getattr(self.tune, key) and self.draws_start(arm, key) for key in START_LABELS)
        return self.is_trained(arm)

    def draws_start(self, arm: str, key: str) -> bool:
        """Tell whether an arm's method starts from random weights, and its settings do not give an initial value."""
        entry = self.arms[arm]
        return issubclass(find_method(entry.method), FreshStart) and entry.settings.get(key) is None

    def tunes_start(self, arm: str, key: str) -> bool:
        """Tell whether the tuning of an arm tries initial values, such as `positions`."""
        return bool(getattr(self.tune, key, None)) and self.is_tuned(arm) and self.draws_start(arm, key)

    @property
    def has_open_sizes(self) -> bool:
        """Whether the first arm's method has to list the sizes."""
        return self.sizes == (EVERY_SIZE,)

    def sizes_of(self, arm: str) -> tuple[str, ...]:
        """Return the sizes of an arm, in the recipe's order."""
        chosen = self.arms[arm].sizes
        return tuple(size for size in self.sizes if chosen is None or size in chosen)
