"""Inspection of an ancestor before training: how modules are used, what is refused, and what is printed."""

import copy

import pytest
import timm
import torch
from torch import nn

import germline as gl
from germline.api import load_ancestor
from germline.architectures import Preprocess
from germline.errors import ArtefactError, DataError, GermlineError
from germline.loading import look_at, measure_ancestor, read_ancestor
from germline.network import Network
from germline.randomness import generator

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 10}


def make_vit(**changes):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **{**SMALL, **changes})


def make_resnet(**changes):
    torch.manual_seed(0)
    sizes = {"layers": [1] * 4, "channels": [4, 8, 8, 8], "num_classes": 10}
    return timm.create_model("resnet18", **{**sizes, **changes})


class Wrapped(nn.Module):
    """A network whose outputs are changed by a function."""

    def __init__(self, change, classes=10, channels=1):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3, 4), nn.Flatten(), nn.LazyLinear(classes))
        self.body(torch.zeros(1, channels, 32, 32))
        self.change = change

    def forward(self, x):
        return self.change(self.body(x))


class Output(dict):
    """Outputs as in transformers: keys are also attributes."""

    __getattr__ = dict.get


FORMS = {
    "tensor": lambda y: y,
    "logits": lambda y: Output(logits=y, loss=None),
    "mapping": lambda y: {"logits": y},
    "tuple-of-one": lambda y: (y,),
    "list": lambda y: [y],
    "with-maps": lambda y: (y, y[:, :, None, None]),
}


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_found_in_outputs(form, pico):
    module = Wrapped(FORMS[form])
    network = load_ancestor(module, pico)
    assert torch.equal(
        network.logits(torch.ones(2, 1, 32, 32)), module.body(network.preprocess(torch.ones(2, 1, 32, 32)))
    )
    assert network.classes == pico.classes


BAD_FORMS = {
    "two-flat": (lambda y: (y, y), r"2 values: a tensor \[2, 10\], a tensor \[2, 10\]"),
    "none": (lambda y: None, "a NoneType"),
    "number": (lambda y: 3.0, "a float"),
    "maps": (lambda y: y[:, :, None, None], r"a tensor \[2, 10, 1, 1\]"),
    "tokens": (lambda y: y[:, None], r"a tensor \[2, 1, 10\]"),
    "flat": (lambda y: y[:, 0], r"a tensor \[2\]"),
    "one-row": (lambda y: y[:1], r"a tensor \[1, 10\]"),
    "labels": (lambda y: y.argmax(1), r"a tensor \[2\]"),
    "whole-numbers": (lambda y: y.long(), r"a tensor \[2, 10\]"),
    "mapping": (lambda y: {"scores": y}, "with scores"),
    "hidden-state": (lambda y: Output(last_hidden_state=y), "an Output with last_hidden_state"),
    "nan": (lambda y: y * float("nan"), "not finite"),
    "infinite": (lambda y: y / 0, "not finite"),
}


@pytest.mark.parametrize("form", BAD_FORMS)
def test_outputs_other_than_logits_are_refused(form, pico):
    make, message = BAD_FORMS[form]
    with pytest.raises(ArtefactError, match=message):
        read_ancestor(Wrapped(make), pico)


BAD_MODULES = {
    "raises": (lambda: Wrapped(lambda y: 1 / 0), ArtefactError, "ZeroDivisionError"),
    "raises-quietly": (lambda: Wrapped(lambda y: [][0]), ArtefactError, "cannot read images"),
    "sizes": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 10)),
        ArtefactError,
        "cannot read images of 1 x 32 x 32",
    ),
    "outputs": (lambda: make_vit(num_classes=7, in_chans=1), DataError, "7 outputs, 'given in Python' has 10 classes"),
    "head-replaced": (lambda: replace_head(5), DataError, "5 outputs"),
    "not-square": (lambda: make_vit(img_size=(32, 48)), ArtefactError, "32 x 48 pixels.*square"),
    "meta": (lambda: make_vit().to("meta"), ArtefactError, "no values"),
    "complex": (lambda: replace_bias(torch.ones(10, dtype=torch.complex64)), ArtefactError, "complex64"),
    "nan": (lambda: replace_bias(torch.full((10,), float("nan"))), ArtefactError, "'head.bias'.*not finite"),
    "infinite": (lambda: replace_bias(torch.full((10,), float("inf"))), ArtefactError, "'head.bias'.*not finite"),
    "text-list": (lambda: ["a"], ArtefactError, r"ancestor=\['a'\] is a list"),
    "state-dict": (lambda: make_vit().state_dict(), ArtefactError, "ancestor= is an OrderedDict"),
    "class": (lambda: nn.Linear, ArtefactError, "ancestor= is the class torch.nn.*Linear"),
    "number": (lambda: 3, ArtefactError, "ancestor=3 is an int"),
    "nowhere": (lambda: "/no/such/place", ArtefactError, "No network at"),
}


def replace_head(count):
    model = make_vit(num_classes=1000)
    model.head = nn.Linear(16, count)
    return model


def replace_bias(bias):
    model = make_vit()
    model.head.bias = nn.Parameter(bias)
    return model


@pytest.mark.parametrize("case", BAD_MODULES)
def test_invalid_ancestor_is_refused(case, pico):
    make, kind, message = BAD_MODULES[case]
    with pytest.raises(kind, match=message):
        gl.condense(gl.Finetune(), ancestor=make(), data=pico)


SIZES = {
    "vit-32": (lambda: make_vit(), (3, 32)),
    "vit-48": (lambda: make_vit(img_size=48), (3, 48)),
    "vit-grey": (lambda: make_vit(in_chans=1), (1, 32)),
    "resnet-grey": (lambda: make_resnet(in_chans=1), (1, 224)),
    "head-replaced": (lambda: replace_head(10), (3, 32)),
    "plain": (lambda: Wrapped(lambda y: y), (1, 32)),
    "plain-colour": (lambda: Wrapped(lambda y: y, channels=3), (3, 32)),
}


@pytest.mark.parametrize("case", SIZES)
def test_module_s_own_size_and_channels_are_used(case, pico):
    make, (channels, size) = SIZES[case]
    network = read_ancestor(make(), pico)
    assert (network.preprocess.channels, network.preprocess.image_size) == (channels, size)
    assert network.classes == pico.classes
    assert [note for note in network.notes if note.startswith("assumed preprocessing")]


def test_explicit_preprocess_is_never_changed(pico):
    seen = Preprocess(channels=3, image_size=32, mean=(0.9,) * 3, std=(0.01,) * 3)
    network = load_ancestor(Network(make_resnet().eval(), seen, pico.classes), pico)
    assert network.preprocess == seen


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_are_cast_in_a_copy_of_the_module(dtype, pico):
    model = make_vit().to(dtype)
    network = read_ancestor(model, pico)
    assert {parameter.dtype for parameter in network.model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert any("cast to float32" in note for note in network.notes)
    assert network.spec.width == 16


WRAPPERS = {
    "parallel": nn.DataParallel,
    "average": torch.optim.swa_utils.AveragedModel,
    "twice": lambda model: nn.DataParallel(torch.optim.swa_utils.AveragedModel(model)),
}


@pytest.mark.parametrize("case", WRAPPERS)
def test_wrappers_are_removed(case, pico):
    network = read_ancestor(WRAPPERS[case](make_vit()), pico)
    assert network.spec.depth == 2
    assert "is taken out of its" in network.notes[0]


def test_inspection_changes_nothing(pico):
    model = make_resnet().train()
    model.layer1.eval()
    state, modes = copy.deepcopy(model.state_dict()), [part.training for part in model.modules()]
    before = torch.get_rng_state()
    load_ancestor(model, pico)
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_more_or_fewer_names_than_outputs_are_refused(make_network, pico):
    for count in (1, 9, 11):
        network = make_network()
        wrong = Network(network.model, network.preprocess, tuple(map(str, range(100, 100 + count))), spec=network.spec)
        with pytest.raises(ArtefactError, match=f"10 outputs and {count} class names"):
            look_at(wrong, pico)


def test_accuracy_is_measured_where_classes_agree(ancestor, pico, make_network):
    with torch.no_grad():
        right = (ancestor.logits(pico.val.images / 255).argmax(1) == pico.val.labels).float().mean().item()
    measured = measure_ancestor(ancestor, pico)
    assert measured.accuracy == pytest.approx(right)
    assert measured.network is ancestor
    assert measured.warnings == ()
    assert f"{right:.2%} on 50 validation images" in measured.lines[0]
    # Class names are compared, not their order.
    reversed_classes = tuple(reversed(ancestor.classes))
    assert measure_ancestor(Network(ancestor.model, ancestor.preprocess, reversed_classes), pico).accuracy < 0.3
    other = measure_ancestor(make_network(classes="abcdefghij"), pico)
    assert other.accuracy is None
    assert other.lines == (f"the ancestor was not measured: it has no class '0' of '{pico.name}'",)


def test_accuracy_near_chance_warns_with_a_better_preprocessing(ancestor, pico):
    wrong = ancestor.preprocess.model_copy(update={"mean": (40.0,), "std": (0.1,)})
    measured = measure_ancestor(Network(ancestor.model, wrong, ancestor.classes, spec=ancestor.spec), pico)
    assert measured.network.preprocess == wrong
    assert "near chance" in measured.warnings[-1]
    good = measure_ancestor(ancestor, pico).accuracy
    assert good > 0.2
    assert f"it is {good:.1%} with 1 x 32 x 32, mean 0.3" in measured.warnings[0]


def test_preprocessing_of_a_module_is_chosen_by_accuracy(ancestor, pico):
    module = copy.deepcopy(ancestor.model)
    module.pretrained_cfg = {"input_size": (1, 224, 224), "mean": (30.0,), "std": (0.02,)}
    network = load_ancestor(module, pico)
    assert network.preprocess.image_size == 32
    assert network.preprocess.mean[0] < 1
    assert measure_ancestor(network, pico).accuracy == measure_ancestor(ancestor, pico).accuracy


def test_unlabelled_data_give_no_accuracy(ancestor, pico):
    unlabelled = gl.load_data(pico.train.images)
    assert measure_ancestor(ancestor, unlabelled).accuracy is None
    assert read_ancestor(make_vit(in_chans=1), unlabelled).classes == tuple("0123456789")


REASONS = {
    "unequal-mlps": (lambda: make_pruned(), r"blocks.1.mlp.fc1.weight 48 x 16 instead of 64 x 16"),
    "distilled": (
        lambda: timm.create_model(
            "deit_tiny_distilled_patch16_224", embed_dim=16, depth=1, num_heads=2, num_classes=10
        ),
        "VisionTransformerDistilled",
    ),
    "pre-norm": (lambda: make_vit(pre_norm=True), "norm_pre"),
    "bottlenecks": (lambda: timm.create_model("resnet26", num_classes=10), "Bottleneck"),
    "convnext": (lambda: timm.create_model("convnext_atto", num_classes=10), "ConvNeXt"),
    "relu": (lambda: make_vit(act_layer=nn.ReLU), "mlp.act ReLU"),
    "swiglu": (lambda: make_vit(mlp_layer=timm.layers.SwiGLU), "mlp SwiGLU"),
    "map-pool": (lambda: make_vit(global_pool="map", class_token=False), "pooling 'map'"),
    "plain": (lambda: Wrapped(lambda y: y), "a Wrapped|A Wrapped"),
    "deep-head": (lambda: make_deep_head(), "head"),
    "averaging": (lambda: make_resnet(avg_down=True), "downsample"),
    "no-blocks": (lambda: make_vit(depth=0), "IndexError|depth"),
}


def make_pruned():
    model = make_vit()
    model.blocks[1].mlp.fc1, model.blocks[1].mlp.fc2 = nn.Linear(16, 48), nn.Linear(48, 16)
    return model


def make_deep_head():
    model = make_vit()
    model.head = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 10))
    return model


@pytest.mark.parametrize("case", REASONS)
def test_refusal_gives_the_architecture_s_own_reason(case):
    make, message = REASONS[case]
    images = torch.randint(0, 255, (20, 3, 32, 32), dtype=torch.uint8)
    data = gl.load_data((images, torch.arange(20) % 10))
    with pytest.raises(GermlineError, match=message):
        gl.condense(gl.Finetune(), ancestor=make(), data=data)


def test_few_images_give_no_accuracy_warning(make_network, pico):
    few = gl.load_data(
        pico.train.draw_per_class(2, generator(0, "few")),
        val=pico.val.draw_per_class(1, generator(0, "few")),
        classes=pico.classes,
    )
    assert measure_ancestor(make_network(), few).warnings == ()
