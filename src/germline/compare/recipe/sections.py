"""What a recipe is put together from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from germline.training import TrainSettings

Rate = Annotated[float, Field(gt=0)]
ImagesPerClass = Annotated[int, Field(ge=1)] | Literal["all"]
Decay = Annotated[float, Field(ge=0)]


class RecipeSection(BaseModel):
    """What all parts have in common: they are frozen, and refuse keys that they do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AncestorRecipe(RecipeSection):
    """How the ancestor comes to be.

    Attributes:
        path: A network that is at hand, shared by all seeds; `packaged` is the one shipped with germline.
        data: Data set that an ancestor is trained on, and genes are condensed on.
        model: Preset or timm name of an ancestor to train, one a seed.
        train: How it is trained.
        like: Preset or timm name of the form that the network at `path` has, so that the recipe can be priced where it
            is not at hand.
    """

    data: str
    path: str | None = None
    like: str | None = None
    model: str = "vit_pico"
    train: TrainSettings = TrainSettings()


class Arm(RecipeSection):
    """One way to start a descendant.

    Attributes:
        method: Name of the method.
        settings: Its settings.
        train: Training settings that differ from the recipe's.
        tuned_as: Another arm whose tuned settings are taken over.
        draw: Another number gives other initial weights; a null is an arm that differs in nothing else.
        sizes: Those of the recipe's sizes at which this arm stands, written as they are there; None for all of them.
    """

    method: str
    settings: dict[str, Any] = {}
    train: dict[str, Any] = {}
    tuned_as: str | None = None
    draw: int = Field(default=0, ge=0)
    sizes: tuple[str, ...] | None = Field(default=None, min_length=1)


class Tuning(RecipeSection):
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
    images_per_class: ImagesPerClass
    seed: int = Field(default=1000, ge=0)
    scaling: Literal["none", "width"] = "none"


class SensitivityGrid(RecipeSection):
    """The settings over which `sensitivity` looks at the spread.

    Attributes:
        lr: Rates.
        weight_decay: Decays.
    """

    lr: tuple[Rate, ...] = Field(min_length=2)
    weight_decay: tuple[Decay, ...] = Field(min_length=1)


class ScratchPlateau(RecipeSection):
    """Scratch is trained for twice, four times, ... its steps until that adds no more.

    Attributes:
        tolerance: Mean gain of a doubling, in validation accuracy as a share of 1, that counts as none.
        most: The largest multiple that is tried.
    """

    tolerance: float = Field(default=0.01, ge=0, lt=1)
    most: int = Field(default=8, ge=2)


class FamilyBudget(RecipeSection):
    """Scratch is also given the total that ancestor, gene and descendants cost together, at one condition.

    Attributes:
        counts: Numbers of descendants that share the cost of ancestor and gene.
        size: The one size it is done at.
        images_per_class: The one number of pictures.
    """

    counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 5, 10), min_length=1)
    size: str
    images_per_class: ImagesPerClass


class DataDescription(RecipeSection):
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


class Tasks(RecipeSection):
    """Each cell is the mean over a list of tasks drawn from the data's classes by its seed.

    Attributes:
        ways: Classes of a task.
        count: Tasks of a seed.
    """

    ways: int = Field(ge=2)
    count: int = Field(ge=1)
