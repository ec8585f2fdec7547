"""Keys of a recipe, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

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
    refuse_repeats,
)
from germline.compare.recipe.text import RENAMED_KEYS, rename_old_keys
from germline.methods.base import find_method
from germline.setting_problems import validate_settings
from germline.training import PrecisionName, TrainSettings

CONTROL = "scratch"
EVERY_SIZE = "*"
MIN_HEADROOM = 8.0
READ_STEPS = (0, 100, 400)
# Keys that came later. Saved recipes leave them out at their defaults, so that older folders can still be resumed.
LATER_KEYS = ("final_data", "min_headroom", "precision", "question", "read_steps")
ProtocolName = Literal["convergence", "samples", "sensitivity", "sizes", "instincts", "paths", "same-labels", "frozen"]


class RecipeKeys(RecipeSection):
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
        one_gene: Whether the ancestor and the gene of the first seed serve all seeds.
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

    _refuse_repeats = field_validator("sizes", "images_per_class", "seeds", "read_steps")(refuse_repeats)

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
