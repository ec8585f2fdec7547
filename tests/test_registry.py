"""Registered names and their objects."""

import pytest
import timm

from germline import registry
from germline.architectures import RESNET, Spec, VggSpec, on_meta_device
from germline.architectures.presets import MODELS
from germline.errors import ArtefactError, SettingError, UnknownNameError
from germline.methods.base import Method
from germline.registry import ARCHITECTURES, DATA, METHODS, Registry, architecture_of, model_spec


def test_every_registered_name_resolves():
    assert all(issubclass(METHODS[name], Method) and METHODS[name].name == name for name in METHODS)
    assert all(ARCHITECTURES[name].name == name for name in ARCHITECTURES)
    assert all(callable(DATA[name]) for name in DATA)


def test_unknown_name_error_names_the_nearest_method():
    with pytest.raises(UnknownNameError, match=r"Unknown method 'tlge'. Did you mean tleg"):
        METHODS["tlge"]
    assert "tlge" not in METHODS


def test_registered_module_is_imported_on_first_use():
    registry = Registry("thing", {"gone": "germline.no_such_module:THING"})
    assert list(registry) == ["gone"]
    with pytest.raises(ModuleNotFoundError):
        registry["gone"]


def test_name_can_be_registered_for_a_process_and_replaced():
    registry = Registry("method", {"old": "germline.methods.tleg.method:TLEG"})

    class Mine(Method):
        pass

    registry.register("mine", Mine)
    assert registry["mine"] is Mine
    assert list(registry) == ["old", "mine"]
    assert registry.place("mine").endswith("Mine")
    registry.register("mine", Method)
    assert registry["mine"] is Method
    with pytest.raises(SettingError, match=r"Method 'old' exists. Names are unique. Choose another name."):
        registry.register("old", Mine)


def test_the_object_of_an_architecture_can_be_registered():
    registry = Registry("architecture", {"old": "germline.architectures:VIT"})
    registry.register("mine", RESNET)
    assert (list(registry), registry["mine"]) == (["old", "mine"], RESNET)
    assert registry.place("mine") == "germline.architectures.resnet:ResNetArchitecture"


def test_entry_point_cannot_use_a_built_in_name(monkeypatch):
    monkeypatch.setattr("germline.registry._list_installed", lambda group: {"tleg": "elsewhere:TLEG"})
    with pytest.raises(SettingError, match="'tleg' is registered twice"):
        METHODS["tleg"]


def test_entry_points_are_searched_once(monkeypatch):
    groups = []

    class Point:
        name, value = "mine", "germline.methods.tleg.method:TLEG"

    monkeypatch.setattr("germline.registry.entry_points", lambda group: groups.append(group) or [Point])
    registry._list_installed.cache_clear()
    try:
        assert METHODS["mine"].name == METHODS["mine"].name == "tleg"
        assert groups == ["germline.methods"]
    finally:
        registry._list_installed.cache_clear()


def test_spec_without_an_architecture_is_refused():
    with pytest.raises(UnknownNameError, match="Unknown architecture 'Spec'"):
        architecture_of(Spec(image_size=8, channels=1, classes=2))


@pytest.mark.parametrize("name", list(MODELS))
def test_preset_has_the_given_images_and_classes(name):
    spec = model_spec(name, image_size=112, channels=1, classes=7)
    architecture, fields = MODELS[name]
    assert {**spec.model_dump(), **fields} == spec.model_dump()
    assert (spec.image_size, spec.channels, spec.classes) == (112, 1, 7)
    assert architecture_of(spec) is ARCHITECTURES[architecture]


def test_preset_is_preferred_to_a_timm_model():
    assert timm.is_model("vgg11")
    assert isinstance(model_spec("vgg11", image_size=32, channels=1, classes=7), VggSpec)


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_resnet_presets_equal_timm_models(name):
    with on_meta_device():
        assert RESNET.describe(timm.create_model(name)) == model_spec(name, image_size=224, channels=3, classes=1000)
    assert model_spec(f"{name}.a1_in1k", image_size=64, channels=1, classes=5) == model_spec(
        name, image_size=64, channels=1, classes=5
    )


def test_timm_name_gives_a_spec():
    spec = model_spec("deit_tiny_patch16_224", image_size=64, channels=1, classes=5)
    assert (spec.depth, spec.width, spec.heads, spec.patch_size, spec.class_token) == (12, 192, 3, 16, True)
    assert (spec.image_size, spec.channels, spec.classes, spec.global_pool) == (64, 1, 5, "token")


def test_unknown_and_foreign_models_are_refused():
    with pytest.raises(UnknownNameError, match="vit_pico"):
        model_spec("vit_pica", image_size=32, channels=1, classes=5)
    with pytest.raises(ArtefactError, match="A MobileNetV3 cannot be rebuilt"):
        model_spec("mobilenetv3_small_050", image_size=32, channels=1, classes=5)
    with pytest.raises(ArtefactError, match=r"the resnet architecture does not rebuild\. It has blocks of Bottleneck"):
        model_spec("resnet14t", image_size=32, channels=1, classes=5)
