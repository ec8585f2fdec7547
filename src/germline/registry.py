"""Registries of methods, architectures and data sets, whose modules are imported when they are first used."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from germline.errors import ArtefactError, SettingError, UnknownNameError

if TYPE_CHECKING:
    from torch import nn

    from germline.architectures import Architecture, Spec

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to objects, given as `module:attribute` and imported when first used."""

    def __init__(self, kind: str, places: Mapping[str, str], group: str | None = None) -> None:
        self._kind, self._places, self._group = kind, dict(places), group
        self._session: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        """Return the object of that name.

        Raises:
            UnknownNameError: The name is not registered; the message lists the nearest names.
        """
        if name in self._session:
            return self._session[name]
        module, _, attribute = self.place(name).partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))

    def register(self, name: str, value: T) -> None:
        """Add an object for this process only, such as a method that a notebook defines; a second call replaces it.

        Commands and the worker processes of a comparison see only what packages register by an entry point.

        Args:
            name: Name of the object.
            value: The object; of a method, its class.

        Raises:
            SettingError: germline or an installed package has the name.
        """
        if name in self._all() and name not in self._session:
            raise SettingError(f"{self._kind} '{name}' exists", "Names are unique", "Choose another name")
        self._session[name] = value

    def check_name(self, name: str) -> None:
        """Refuse a name that is not registered, without importing anything.

        Raises:
            UnknownNameError: The name is not registered; the message lists the nearest names.
        """
        places = self._all()
        if name not in places:
            raise UnknownNameError.with_nearest(self._kind, name, places)

    def place(self, name: str) -> str:
        """Return where the object of that name is, as `module:attribute`.

        Raises:
            UnknownNameError: The name is not registered; the message lists the nearest names.
        """
        self.check_name(name)
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def _all(self) -> dict[str, str]:
        installed = _list_installed(self._group) if self._group else {}
        duplicates = sorted(installed.keys() & self._places.keys())
        if duplicates:
            raise SettingError(
                f"{self._kind} '{duplicates[0]}' is registered twice",
                f"germline has that name, and another package gives it to {installed[duplicates[0]]}",
                "remove that package, or give its entry point another name",
            )
        session = {name: _name_place(value) for name, value in self._session.items()}
        return {**self._places, **installed, **session}


def _name_place(value: Any) -> str:
    """Return where an object is defined, as `module:attribute`; the object of an architecture has its class's name."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"


@cache
def _list_installed(group: str) -> dict[str, str]:
    """List what other packages register; cached, since it reads files of every installed package."""
    return {point.name: point.value for point in sorted(entry_points(group=group), key=lambda point: point.name)}


# The classes themselves import this module: `methods.base.find_method` gives them with their type.
METHODS: Registry[Any] = Registry(
    "method",
    {
        "tleg": "germline.methods.tleg:TLEG",
        "sws": "germline.methods.tleg.sws:SWS",
        "lets": "germline.methods.lets:LeTs",
        "auto": "germline.methods.auto:Auto",
        "pool": "germline.methods.pool:Pool",
        "gtl": "germline.methods.gtl:GTL",
        "openworld": "germline.methods.openworld:OpenWorld",
        "front": "germline.methods.front:FRONT",
        "grow": "germline.methods.grow:Grow",
        "finetune": "germline.baselines.finetune:Finetune",
        "scratch": "germline.baselines.scratch:Scratch",
        "xavier": "germline.baselines.scratch:Xavier",
        "weight-selection": "germline.baselines.weight_selection:WeightSelection",
        "layers": "germline.baselines.layers:Layers",
        "random-layers": "germline.baselines.random_layers:RandomLayers",
        "frame": "germline.baselines.frame:Frame",
        "random-gene": "germline.baselines.random_gene:RandomGene",
        "stored": "germline.baselines.stored:Stored",
        "distil": "germline.baselines.distillation:Distil",
        "snnet": "germline.methods.pool.snnet:SNNet",
        "circuit": "germline.baselines.circuit:CircuitBaseline",
        "last-layers": "germline.baselines.last_layers:LastLayers",
    },
    group="germline.methods",
)
ARCHITECTURES: Registry[Any] = Registry(
    "architecture",
    {
        "vit": "germline.architectures:VIT",
        "stitched": "germline.architectures:STITCHED",
        "vgg": "germline.architectures:VGG",
        "resnet12": "germline.architectures:RESNET12",
        "resnet": "germline.architectures:RESNET",
    },
    group="germline.anatomies",
)
DATA: Registry[Any] = Registry(
    "data set",
    {
        "glyphs": "germline.data.sets.glyphs:read_glyphs",
        "fashion-mnist": "germline.data.sets.fashion_mnist:read_fashion_mnist",
        "digits": "germline.data.sets.digits:read_digits",
        "cifar10": "germline.data.sets.cifar:read_cifar10",
        "cifar100": "germline.data.sets.cifar:read_cifar100",
        "cifar-fs": "germline.data.sets.cifar_fs:read_cifar_fs",
        "mini-imagenet": "germline.data.sets.mini_imagenet:read_mini_imagenet",
        "folder": "germline.data.sets.folder:read_folder",
    },
    group="germline.data",
)


def architecture_of(spec: Spec) -> Architecture[Any]:
    """Return the architecture that a spec belongs to.

    Raises:
        UnknownNameError: No architecture has specs of that class.
    """
    for name in ARCHITECTURES:
        architecture: Architecture[Any] = ARCHITECTURES[name]
        if type(spec) is architecture.spec_type:
            return architecture
    raise UnknownNameError.with_nearest("architecture", type(spec).__name__, ARCHITECTURES)


NO_LISTS = "It is a file, and germline reads no lists of images and labels"
FOLDERS = "Use folder:/path/to/images with one folder per class, or give gl.load_data a Dataset in Python"


def make_unknown_data_error(name: str) -> UnknownNameError:
    """Build the error for a name that is no data set's; a folder of that name needs a prefix."""
    path = Path(re.sub(r"@[0-9]+$", "", name)).expanduser()
    if name and path.is_dir():
        return UnknownNameError(f"unknown data set '{name}'", "There is a folder of that name", f"Use folder:{name}")
    if name and path.is_file():
        return UnknownNameError(f"unknown data set '{name}'", NO_LISTS, FOLDERS)
    return UnknownNameError.with_nearest("data set", name, DATA)


def architecture_of_model(model: nn.Module) -> Architecture[Any]:
    """Return the architecture that a network belongs to by its class.

    Raises:
        ArtefactError: No architecture has networks of that class.
    """
    for name in ARCHITECTURES:
        architecture: Architecture[Any] = ARCHITECTURES[name]
        if type(model) is architecture.timm_class:
            return architecture
    raise ArtefactError(
        f"a {type(model).__name__} cannot be rebuilt",
        f"germline knows the architectures {', '.join(ARCHITECTURES)}",
        "choose a name from `germline list models`, or use this network only as a teacher",
    )


def model_spec(name: str, *, image_size: int, channels: int, classes: int) -> Spec:
    """Return the spec of a preset or of a timm model, for given images and classes.

    A preset has priority over a timm model of the same name.

    Raises:
        UnknownNameError: No preset and no timm model has that name.
        ArtefactError: germline does not know the architecture of timm's model, or there is no folder of that name.
    """
    from germline.architectures.presets import MODELS

    images = {"image_size": image_size, "channels": channels, "classes": classes}
    if name in MODELS:
        preset = MODELS[name]
        spec: Spec = ARCHITECTURES[preset.architecture].spec_type(**preset.fields, **images)
        return spec
    timm_spec = read_timm_spec(name)
    return type(timm_spec).model_validate({**timm_spec.model_dump(), **images})


@cache
def read_timm_spec(name: str) -> Spec:
    """Read the spec of a model as timm builds it; it is built for that once per process.

    Args:
        name: Name of a model of timm.

    Raises:
        ArtefactError: The name is a path, or no architecture describes the model.
        UnknownNameError: timm has no such model.
    """
    import timm

    from germline.architectures import on_meta_device
    from germline.architectures.presets import MODELS

    if "/" in name:
        raise ArtefactError(
            f"no model at '{name}'",
            "there is no such folder",
            "give a model folder, or a name from `germline list models`",
        )
    if not timm.is_model(name):
        known = [*MODELS, *timm.list_models("vit_*"), *timm.list_models("deit_*")]
        raise UnknownNameError.with_nearest("model", name, known)
    with on_meta_device():
        model = timm.create_model(name)
        spec: Spec = architecture_of_model(model).describe(model)
    return spec
