"""Names of methods, anatomies, models, data sets and recipes, resolved when they are needed and not before."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from germline.errors import ArtefactError, SettingError, UnknownNameError

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
        found = _installed(self._group) if self._group else {}
        twice = sorted(found.keys() & self._places.keys())
        if twice:
            raise SettingError(f"{self._kind} '{twice[0]}' is registered twice", f"{found[twice[0]]} takes our name")
        return {**self._places, **found}


@cache
def _installed(group: str) -> dict[str, str]:
    """What other packages register; asked for once, since the answer is gathered from every package's files."""
    return {point.name: point.value for point in entry_points(group=group)}


METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "tleg": "germline.methods.tleg:TLEG",
        "auto": "germline.methods.auto:Auto",
        "pool": "germline.methods.pool:Pool",
        "gtl": "germline.methods.gtl:GTL",
        "openworld": "germline.methods.openworld:OpenWorld",
        "finetune": "germline.methods.finetune:Finetune",
        "scratch": "germline.methods.scratch:Scratch",
        "xavier": "germline.methods.xavier:Xavier",
        "weight-selection": "germline.methods.weight_selection:WeightSelection",
        "layers": "germline.methods.layers:Layers",
        "random-gene": "germline.methods.random_gene:RandomGene",
        "stored": "germline.methods.stored:Stored",
        "distil": "germline.methods.distil:Distil",
        "snnet": "germline.methods.snnet:SNNet",
        "circuit": "germline.methods.cut:CutCircuit",
        "last-layers": "germline.methods.last_layers:LastLayers",
    },
    group="germline.methods",
)
ANATOMIES: Registry[Any] = Registry(
    "anatomy",
    {
        "vit": "germline.anatomy:VIT",
        "stitched": "germline.anatomy:STITCHED",
        "vgg": "germline.anatomy:VGG",
        "resnet12": "germline.anatomy:RESNET12",
        "resnet": "germline.anatomy:RESNET",
    },
    group="germline.anatomies",
)
DATA: Registry[Any] = Registry(
    "data set",
    {
        "glyphs": "germline.data.glyphs:read_glyphs",
        "fashion-mnist": "germline.data.fashion_mnist:read_fashion_mnist",
        "digits": "germline.data.digits:read_digits",
        "cifar10": "germline.data.cifar:read_cifar10",
        "cifar100": "germline.data.cifar:read_cifar100",
        "cifar-fs": "germline.data.cifar_fs:read_cifar_fs",
        "mini-imagenet": "germline.data.mini_imagenet:read_mini_imagenet",
        "folder": "germline.data.folder:read_folder",
    },
    group="germline.data",
)


class Preset(NamedTuple):
    """A form that has a name of its own.

    Attributes:
        anatomy: Its family.
        fields: What that family's spec needs besides pictures and labels.
    """

    anatomy: str
    fields: Mapping[str, Any]


def _vgg(*depths: int, width: int = 64) -> Preset:
    stages = zip(depths, (1, 2, 4, 8, 8), strict=True)
    return Preset("vgg", {"widths": tuple((width * factor,) * depth for depth, factor in stages)})


def _resnet12(*widths: int) -> Preset:
    return Preset("resnet12", {"depths": (1, 1, 1, 1), "widths": widths})


def _resnet(*depths: int, width: int = 64, **stem: Any) -> Preset:
    widths = tuple(width * factor for factor in (1, 2, 4, 8))
    return Preset("resnet", {"depths": depths, "widths": widths, **stem})


def _open_world(width: int, *stages: tuple[int, ...]) -> Preset:
    """A network with the two hidden layers of Open-World Learngene; widths in multiples of the first one's."""
    widths = tuple(tuple(width * factor for factor in stage) for stage in stages)
    return Preset("vgg", {"widths": widths, "hidden": (16 * width, 16 * width)})


def _collective(width: int = 64, *, grown: bool = False) -> Preset:
    """The network that a stream of tasks begins with, or the VGG16 that the published widening makes of it."""
    if grown:
        return _open_world(width, (1, 1), (2, 2), (4,) * 3, (8,) * 3, (8,) * 3)
    return _open_world(width, (1, 1), (1, 1), (2,) * 3, (4,) * 3, (4,) * 3)


def _individual(width: int = 64, *, large: bool = False) -> Preset:
    """Four fresh units and the collective's last three; pictures of 84 pixels take one pool more."""
    last = ((8,), (8,) * 3) if large else ((8,) * 4,)
    return _open_world(width, (1,), (2,), (4,), *last)


# Small networks for pictures of 28 to 84 pixels; the ViTs' patch keeps 16 tokens at 32; x025: a quarter of the width.
# The three with patch 16 are TLEG's for 224 pixels: mean of the tokens, no class token.
# These names go before timm's: vgg11 is ours, timm:vgg11 is timm's; resnet18 and resnet34 are timm's own form.
MODELS: dict[str, Preset] = {
    "vit_pico": Preset("vit", {"depth": 6, "width": 64, "heads": 2, "patch_size": 8}),
    "vit_mini": Preset("vit", {"depth": 12, "width": 96, "heads": 4, "patch_size": 8}),
    "vit_nano": Preset("vit", {"depth": 8, "width": 96, "heads": 3, "patch_size": 8}),
    "vit_micro": Preset("vit", {"depth": 12, "width": 192, "heads": 3, "patch_size": 4}),
    "vit_tiny16": Preset("vit", {"depth": 12, "width": 192, "heads": 3, "patch_size": 16}),
    "vit_small16": Preset("vit", {"depth": 12, "width": 384, "heads": 6, "patch_size": 16}),
    # DINOv2's: a scale of its own on every layer's output.
    "vit_small14": Preset("vit", {"depth": 12, "width": 384, "heads": 6, "patch_size": 14, "init_values": 1e-5}),
    "vit_base16": Preset("vit", {"depth": 12, "width": 768, "heads": 12, "patch_size": 16}),
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "vgg11_x025": _vgg(1, 1, 2, 2, 2, width=16),
    "vgg16_x025": _vgg(2, 2, 3, 3, 3, width=16),
    "collective": _collective(),
    "collective_x025": _collective(16),
    "collective_x0125": _collective(8),
    "collective_grown": _collective(grown=True),
    "collective_grown_x025": _collective(16, grown=True),
    "collective_grown_x0125": _collective(8, grown=True),
    "individual": _individual(),
    "individual_x025": _individual(16),
    "individual_x0125": _individual(8),
    "individual84": _individual(large=True),
    "resnet12": _resnet12(64, 128, 256, 512),
    "resnet12_wide": _resnet12(64, 160, 320, 640),
    "resnet12_x025": _resnet12(16, 32, 64, 128),
    "resnet18": _resnet(2, 2, 2, 2),
    "resnet34": _resnet(3, 4, 6, 3),
    "resnet18_x025": _resnet(2, 2, 2, 2, width=16, stem_type="deep", stem_width=8),
}


def anatomy_of(spec: Spec) -> Anatomy[Any]:
    """The anatomy whose spec this is."""
    for name in ANATOMIES:
        anatomy: Anatomy[Any] = ANATOMIES[name]
        if type(spec) is anatomy.spec_type:
            return anatomy
    raise UnknownNameError.of("anatomy", type(spec).__name__, ANATOMIES)


def model_spec(name: str, *, image_size: int, channels: int, classes: int) -> Spec:
    """The spec of a preset or of a timm ViT or ResNet, for given pictures and labels.

    A preset goes before a timm model of the same name.

    Raises:
        UnknownNameError: No preset and no timm model has that name.
        ArtefactError: timm's model is not of an anatomy that germline knows, or a path was meant and leads nowhere.
    """
    pictures = {"image_size": image_size, "channels": channels, "classes": classes}
    if name in MODELS:
        preset = MODELS[name]
        spec: Spec = ANATOMIES[preset.anatomy].spec_type(**preset.fields, **pictures)
        return spec
    form = _timm_form(name)
    return type(form).model_validate({**form.model_dump(), **pictures})


@cache
def _timm_form(name: str) -> Spec:
    """The spec of a timm ViT or ResNet as timm builds it; it is built for that once a process."""
    import timm

    from germline.anatomy import RESNET, VIT, hollow

    if "/" in name:
        raise ArtefactError(
            f"no model at '{name}'", "there is no such folder", "give a model folder, or a name of germline list models"
        )
    if not timm.is_model(name):
        raise UnknownNameError.of("model", name, [*MODELS, *timm.list_models("vit_*"), *timm.list_models("deit_*")])
    with hollow():
        model = timm.create_model(name)
        return (RESNET if isinstance(model, timm.models.ResNet) else VIT).describe(model)
