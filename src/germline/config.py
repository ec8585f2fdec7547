"""Recipes: YAML with dotted overrides, checked before anything runs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from germline.anatomy import Size
from germline.errors import ArtefactError, GermlineError, SettingError, UnknownNameError
from germline.registry import METHODS
from germline.training import TrainSettings

LONGEST_VALUE = 60  # of a wrong value, as it is shown
ModelT = TypeVar("ModelT", bound=BaseModel)


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
    """

    method: str
    settings: dict[str, Any] = {}
    train: dict[str, Any] = {}
    tuned_as: str | None = None


class Tuning(_Strict):
    """The grid in which every arm is tuned on validation pictures.

    Attributes:
        lr: Rates to try.
        weight_decay: Decays to try.
        size: The one size it is done at.
        images_per_class: The one number of pictures.
        seed: The one seed, apart from those of the comparison.
    """

    lr: tuple[float, ...] = Field(min_length=1, max_length=4)
    weight_decay: tuple[float, ...] = Field(min_length=1, max_length=2)
    size: str
    images_per_class: int = Field(ge=1)
    seed: int = Field(default=1000, ge=0)


class Recipe(_Strict):
    """A comparison: arms x sizes x pictures a class x seeds.

    Attributes:
        title: What it asks, in a line.
        kind: `quick` proves that it runs; only `full` is evidence.
        minutes: Expected time on two cores.
        data: What descendants are trained on: train split, curves on val, last value on test.
        ancestor: Where genes come from.
        arms: The ways to start, by name; the control is called `scratch`.
        sizes: In the size language, such as `depth=6`.
        images_per_class: Training pictures a class.
        seeds: Of everything.
        one_gene: Whether one ancestor and one gene an arm serve all seeds.
        train: How descendants are trained.
        tune: The grid; None takes the settings as they are.
    """

    title: str
    kind: Literal["quick", "full"]
    minutes: float = Field(gt=0)
    data: str
    ancestor: AncestorRecipe
    arms: dict[str, Arm] = Field(min_length=1)
    sizes: tuple[str, ...] = Field(min_length=1)
    images_per_class: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    one_gene: bool = False
    train: TrainSettings
    tune: Tuning | None = None

    @field_validator("sizes", "images_per_class", "seeds")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError("a value stands twice")
        return values

    def model_post_init(self, _: Any) -> None:
        """Hold sizes, methods and arms against what there is."""
        for size in self.sizes:
            Size.parse(size)
        for name in self.arms:
            self._check_arm(name)
        if self.tune is not None:
            self._check_tuning(self.tune)

    def _check_arm(self, name: str) -> None:
        arm, other = self.arms[name], self.arms[name].tuned_as
        # It becomes part of file names.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]*", name):
            raise SettingError(f"arm '{name}'", "a name is of letters, digits, - and _", "choose another name")
        if arm.method not in METHODS:
            raise UnknownNameError.of(f"method at arms.{name}.method:", arm.method, METHODS)
        validated(METHODS[arm.method], arm.settings, f"arms.{name}.settings")
        self.train_settings(name)
        if other is not None and other not in self.arms:
            raise UnknownNameError.of(f"arm at arms.{name}.tuned_as:", other, self.arms)
        if other is not None and self.arms[other].tuned_as is not None:
            raise SettingError(f"arms.{name}.tuned_as={other}", "that arm is not tuned itself", "name one that is")

    def _check_tuning(self, tune: Tuning) -> None:
        Size.parse(tune.size)
        if tune.seed in self.seeds:
            raise SettingError(
                f"tune.seed={tune.seed}", "it is one of the comparison's own seeds", "tune on a seed apart from them"
            )
        for name in self.arms:
            for rate in tune.lr:
                for decay in tune.weight_decay:
                    self.train_settings(name, lr=rate, weight_decay=decay)

    def train_settings(self, arm: str, **more: Any) -> TrainSettings:
        """The training settings of one arm; `more` goes before all."""
        return validated(
            TrainSettings, {**self.train.model_dump(), **self.arms[arm].train, **more}, f"arms.{arm}.train"
        )


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key standing twice."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            line = node.value[index][0].start_mark.line + 1
            raise yaml.YAMLError(f"key '{key}' stands twice, again at line {line}")
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 reads 1e-3 as text; a number is meant.
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def packaged_recipes() -> dict[str, Path]:
    """Recipes that come with germline, by name."""
    root = Path(str(files("germline") / "recipes"))
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.yaml"))}


def recipe_text(name: str) -> str:
    """The text of a recipe, by path or packaged name.

    Raises:
        UnknownNameError: There is neither.
    """
    path = Path(name)
    known = packaged_recipes()
    if not path.is_file():
        if name not in known:
            raise UnknownNameError.of("recipe", name, known)
        path = known[name]
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"cannot read recipe '{path}'", str(error), "write it as UTF-8 text") from error


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and check a recipe.

    Raises:
        UnknownNameError: There is no such recipe, method or arm.
        SettingError: A key is unknown or a value is not allowed.
    """
    raw = parse_yaml(recipe_text(name), name)
    return validated(Recipe, overridden(raw, overrides), name)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        SettingError: It is not YAML, or no mapping, or a key stands twice.
    """
    raw = _read_yaml(text, f"'{where}'")
    if not isinstance(raw, dict):
        raise SettingError(
            f"'{where}' is no recipe",
            "a mapping of keys to values is expected",
            "begin with a copy: germline show demo",
        )
    return raw


def _read_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    # Dates and numbers that are none, and nesting without end, are not YAMLErrors to this reader.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        raise SettingError(f"{where} is not valid YAML", reason, "mend that line") from error


def overridden(raw: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of nested mappings with `a.b=value` put in; values are read as YAML.

    Raises:
        SettingError: An override is not key=value, or goes through something that is no mapping.
    """
    result: dict[str, Any] = _copy(raw)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingError(f"--set {text}", "it is not key=value", "write for example --set epochs=20")
        place = result
        *path, last = key.split(".")
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise SettingError(f"--set {text}", f"'{part}' is a value, not a group of keys", f"set {part} itself")
        place[last] = _read_yaml(value, f"--set {text}")
    return result


def _copy(value: Any) -> Any:
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def validated(model: type[ModelT], raw: Mapping[str, Any], where: str) -> ModelT:
    """Check raw settings against a model.

    Raises:
        SettingError: The first problem, in one line, with the nearest key where a key is unknown.
    """
    try:
        return model.model_validate(dict(raw))
    except GermlineError as error:  # a check of the model's own
        raise type(error)(f"{where}: {error.what}", error.why, error.fix) from error
    except ValidationError as error:
        # A key that is misspelt is also one that is missing; the first says more.
        found = error.errors()
        first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown_key(model, place, where) from error
        if first["type"] == "missing":
            raise SettingError(f"{where}: key '{place}' is missing", "it has no default", "add it") from error
        reason = first["msg"].removeprefix("Value error, ")
        given = repr(first.get("input"))
        short = given if len(given) <= LONGEST_VALUE else f"{given[:LONGEST_VALUE]}..."
        raise SettingError(f"{where}: {place}={short}", reason, "mend this key") from error


def _unknown_key(model: type[BaseModel], place: str, where: str) -> SettingError:
    known = sorted(_keys(model))
    near = difflib.get_close_matches(place.split(".")[-1], [key.split(".")[-1] for key in known], n=3, cutoff=0.5)
    fix = f"Did you mean {' or '.join(dict.fromkeys(near))}?" if near else f"Known: {', '.join(known)}"
    return SettingError(f"{where}: unknown key '{place}'", "", fix)


def _keys(model: type[BaseModel]) -> set[str]:
    keys = set(model.model_fields)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= {f"{name}.{key}" for key in _keys(field.annotation)}
    return keys
