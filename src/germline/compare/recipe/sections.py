"""Sections of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from germline.baselines.fresh_start import InitialPositions, InitialScale
from germline.training import TrainSettings
from germline.training.stable_dump import StableDump

Rate = Annotated[float, Field(gt=0)]
ImagesPerClass = Annotated[int, Field(ge=1)] | Literal["all"]
Decay = Annotated[float, Field(ge=0)]


def refuse_repeats(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """Refuse a list of settings that names one twice: its work would run and count twice.

    Raises:
        ValueError: A value is given twice.
    """
    if values is not None and len({str(value) for value in values}) != len(values):
        raise ValueError("a value is given twice")
    return values


class RecipeSection(BaseModel):
    """Base of all sections: they are frozen and refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AncestorRecipe(StableDump, RecipeSection):
    """Source of the ancestor.

    Attributes:
        path: Trained network that all seeds share; `packaged` is the one in germline. None: train one per seed.
        data: Data set that ancestors are trained on, and genes are condensed on.
        model: Preset or timm name of the ancestors to train, or of the network of a weight file at `path`.
        train: Training settings of the ancestors.
        like: Preset or timm name with the spec of the network at `path`, to estimate costs without that network.
        image_size: Image size of a weight file at `path`, in pixels.
        mean: Mean per channel of a weight file at `path`, in units of [0, 1].
        std: Standard deviation per channel of a weight file at `path`, in units of [0, 1].
        seed: Random seed of one ancestor that all seeds share; None: each seed trains its own.
    """

    # Saved recipes leave these out at their defaults, so that older folders can still be resumed.
    omitted: ClassVar[Mapping[str, Any]] = {"image_size": None, "mean": None, "std": None, "seed": None}

    data: str
    path: str | None = None
    like: str | None = None
    model: str = "vit_pico"
    train: TrainSettings = TrainSettings()
    image_size: int | None = Field(default=None, ge=1)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    seed: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _refuse_seed_of_path(self) -> AncestorRecipe:
        if self.path is not None and self.seed is not None:
            raise ValueError(f"A trained network at path={self.path} has no seed; remove ancestor.seed")
        return self

    @model_validator(mode="after")
    def _refuse_images_of_no_file(self) -> AncestorRecipe:
        if self.path is None and self.images:
            key = next(iter(self.images))
            raise ValueError(f"{key} belongs to a weight file at ancestor.path; remove ancestor.{key}")
        return self

    @property
    def is_shared(self) -> bool:
        """Whether one ancestor serves all seeds."""
        return self.path is not None or self.seed is not None

    @property
    def images(self) -> dict[str, Any]:
        """What is given of the preprocessing, by the names of `load_network`."""
        given = {"image_size": self.image_size, "mean": self.mean, "std": self.std}
        return {key: value for key, value in given.items() if value is not None}


class Arm(RecipeSection):
    """One way to start a descendant.

    Attributes:
        method: Name of the method.
        settings: Settings of the method.
        train: Training settings that differ from the recipe's.
        tuned_as: Arm whose tuned settings this arm uses.
        draw: Number that selects the random initial weights. A null comparison has two arms that differ only here.
        sizes: Sizes of this arm, spelled as in the recipe's `sizes`; None: all of them.
    """

    method: str
    settings: dict[str, Any] = {}
    train: dict[str, Any] = {}
    tuned_as: str | None = None
    draw: int = Field(default=0, ge=0)
    sizes: tuple[str, ...] | None = Field(default=None, min_length=1)


class Tuning(StableDump, RecipeSection):
    """Grid in which every arm is tuned on validation images.

    Attributes:
        lr: Learning rates to try; none in the protocol `frozen`.
        weight_decay: Weight decays to try; none in the protocol `frozen`.
        size: Size at which arms are tuned.
        images_per_class: Training images per class at which arms are tuned.
        seed: Random seed of the tuning; not one of the comparison's seeds.
        scaling: Learning rate at other sizes: the same (`none`), or divided by the ratio of widths (`width`).
        positions: Initial positions to try beside every rate and decay, for arms that start from random weights.
            Standard deviations, or `sin-cos`. None: those of the arm's method. timm and DeiT draw them with 0.02.
        layer_scale: Initial values of LayerScale to try beside all of these, for arms that start from random weights.
            None: that of the arm's method.
        extend: How often an arm's grid grows by one rate, if its best rate is at an edge.
    """

    omitted: ClassVar[Mapping[str, Any]] = {
        "lr": None,
        "weight_decay": None,
        "positions": None,
        "layer_scale": None,
        "extend": 0,
    }

    lr: tuple[Rate, ...] | None = Field(default=None, min_length=1, max_length=4)
    weight_decay: tuple[Decay, ...] | None = Field(default=None, min_length=1, max_length=2)
    size: str
    images_per_class: ImagesPerClass
    seed: int = Field(default=1000, ge=0)
    scaling: Literal["none", "width"] = "none"
    positions: tuple[InitialPositions, ...] | None = Field(default=None, min_length=1, max_length=4)
    layer_scale: tuple[InitialScale, ...] | None = Field(default=None, min_length=1, max_length=4)
    extend: int = Field(default=0, ge=0, le=2)

    _refuse_repeats = field_validator("lr", "weight_decay", "positions", "layer_scale")(refuse_repeats)


class SensitivityGrid(RecipeSection):
    """Grid of settings over which the protocol `sensitivity` measures the spread.

    Attributes:
        lr: Learning rates of the grid.
        weight_decay: Weight decays of the grid.
    """

    lr: tuple[Rate, ...] = Field(min_length=2)
    weight_decay: tuple[Decay, ...] = Field(min_length=1)

    _refuse_repeats = field_validator("lr", "weight_decay")(refuse_repeats)


class ScratchPlateau(RecipeSection):
    """Longer training of scratch: its steps are doubled until accuracy stops rising.

    Attributes:
        tolerance: Largest mean gain of a doubling that counts as none, in validation accuracy as a share of 1.
        most: Largest multiple of the steps to try.
    """

    tolerance: float = Field(default=0.01, ge=0, lt=1)
    most: int = Field(default=8, ge=2)


class FamilyBudget(RecipeSection):
    """Longer training of scratch at one condition, with the total cost of ancestor, gene and descendants.

    Attributes:
        counts: Numbers of descendants that share the cost of ancestor and gene.
        size: Size of the condition.
        images_per_class: Training images per class of the condition.
    """

    counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 5, 10), min_length=1)
    size: str
    images_per_class: ImagesPerClass

    _refuse_repeats = field_validator("counts")(refuse_repeats)


class Question(RecipeSection):
    """Question that one recipe or several answer; all its claims are one family.

    Attributes:
        name: Name of the question, the same in all its recipes.
        claims: Number of claims of all its recipes together, said before any of them runs; None: those that are found.
        against: Arms that claims are made against; None: every control. Other differences get no verdict.
    """

    name: str = Field(min_length=1)
    claims: int | None = Field(default=None, ge=1)
    against: tuple[str, ...] | None = Field(default=None, min_length=1)


class DataDescription(RecipeSection):
    """Numbers of a data set, to estimate costs without the data.

    Attributes:
        data: Name of the data set in the recipe.
        classes: Number of classes.
        images: Number of training images.
        side: Height and width of an image in pixels.
        channels: Channels of an image: 1 for grey, 3 for colour.
    """

    data: str
    classes: int = Field(ge=2)
    images: int = Field(ge=1)
    side: int = Field(ge=1)
    channels: Literal[1, 3] = 3


class Tasks(RecipeSection):
    """Few-class tasks: a cell is the mean over tasks that its seed draws from the classes.

    Attributes:
        ways: Number of classes per task.
        count: Number of tasks per seed.
    """

    ways: int = Field(ge=2)
    count: int = Field(ge=1)
