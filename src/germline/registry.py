"""Names of methods, anatomies, models, data sets and recipes, resolved when they are needed and not before."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from germline.errors import SettingError, UnknownNameError

if TYPE_CHECKING:
    from germline.anatomy import Anatomy, Spec
    from germline.methods.base import Method

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names to `module:attribute` places; a place is imported when its name is first asked for."""

    def __init__(self, kind: str, places: Mapping[str, str], group: str | None = None) -> None:
        self._kind, self._places, self._group = kind, dict(places), group

    def __getitem__(self, name: str) -> T:
        """The thing of that name.

        Raises:
            UnknownNameError: Nobody registered it; the message names the nearest.
        """
        places = self._all()
        if name not in places:
            raise UnknownNameError.of(self._kind, name, places)
        module, _, attribute = places[name].partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def _all(self) -> dict[str, str]:
        found = {point.name: point.value for point in entry_points(group=self._group)} if self._group else {}
        twice = sorted(found.keys() & self._places.keys())
        if twice:
            raise SettingError(f"{self._kind} '{twice[0]}' is registered twice", f"{found[twice[0]]} takes our name")
        return {**self._places, **found}


METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "tleg": "germline.methods.tleg:TLEG",
        "finetune": "germline.methods.finetune:Finetune",
        "scratch": "germline.methods.scratch:Scratch",
        "weight-selection": "germline.methods.weight_selection:WeightSelection",
        "layers": "germline.methods.layers:Layers",
        "random-gene": "germline.methods.random_gene:RandomGene",
        "distil": "germline.methods.distil:Distil",
    },
    group="germline.methods",
)
ANATOMIES: Registry[Any] = Registry("anatomy", {"vit": "germline.anatomy:VIT"}, group="germline.anatomies")
DATA: Registry[Any] = Registry(
    "data set",
    {
        "glyphs": "germline.data.glyphs:read_glyphs",
        "fashion-mnist": "germline.data.fashion_mnist:read_fashion_mnist",
        "digits": "germline.data.digits:read_digits",
        "cifar10": "germline.data.cifar:read_cifar10",
        "cifar100": "germline.data.cifar:read_cifar100",
        "folder": "germline.data.folder:read_folder",
    },
    group="germline.data",
)
# Small networks for pictures of 28 to 64 pixels; the patch keeps 16 tokens at 32.
MODELS: dict[str, dict[str, int]] = {
    "vit_pico": {"depth": 6, "width": 64, "heads": 2, "patch_size": 8},
    "vit_nano": {"depth": 8, "width": 96, "heads": 3, "patch_size": 8},
    "vit_micro": {"depth": 12, "width": 192, "heads": 3, "patch_size": 4},
}


def anatomy_of(spec: Spec) -> Anatomy[Any]:
    """The anatomy whose spec this is."""
    for name in ANATOMIES:
        anatomy: Anatomy[Any] = ANATOMIES[name]
        if type(spec) is anatomy.spec_type:
            return anatomy
    raise UnknownNameError.of("anatomy", type(spec).__name__, ANATOMIES)


def model_spec(name: str, *, image_size: int, channels: int, classes: int) -> Spec:
    """The spec of a preset or of a timm ViT, for given pictures and labels.

    Raises:
        UnknownNameError: No preset and no timm model has that name.
        ArtefactError: timm's model is not of an anatomy that germline knows.
    """
    from germline.anatomy.vit import Vit, VitSpec

    pictures = {"image_size": image_size, "channels": channels, "classes": classes}
    if name in MODELS:
        return VitSpec(**MODELS[name], **pictures)
    import timm
    import torch

    if not timm.is_model(name):
        raise UnknownNameError.of("model", name, [*MODELS, *timm.list_models("vit_*"), *timm.list_models("deit_*")])
    with torch.device("meta"):
        spec = Vit().describe(timm.create_model(name))
    return VitSpec(**{**spec.model_dump(), **pictures})
