"""Effects of memory format, recomputed activations, compilation and fused optimisers."""

import copy
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from germline.architectures import ResNetSpec, VggSpec
from germline.errors import SettingError
from germline.methods.pool.path_sampling import SampledPathLoss
from germline.training import CrossEntropy, Distillation, Member, Run, TrainSettings, network_options
from germline.training.device import ReplicatedStrategy
from germline.training.network_options import is_convolutional, uses_channels_last
from germline.training.optimizer import make_optimizer

SHORT = {"steps": 3, "batch_size": 16, "lr": 5e-3, "log_every": 1, "checkpoint_every": 2}
CUDA = torch.device("cuda")


@pytest.fixture
def fit(pico):
    """Function that trains a copy of a network; returns the copy and the losses."""

    def run(network, folder=None, objective=None, **settings):
        network = copy.deepcopy(network)
        result = Run(folder, device="cpu", quiet=True).fit(
            "phase",
            network,
            objective or CrossEntropy(),
            pico.train,
            TrainSettings(**{**SHORT, **settings}),
            val=pico.val,
        )
        return network, [loss for _, loss in result.losses]

    return run


@pytest.fixture(scope="module")
def networks(make_network, make_convolutional):
    """A ViT, and two CNNs with BatchNorm: one of germline's and one of timm's."""
    return {
        "vit": make_network(depth=3),
        "vgg": make_convolutional(VggSpec, widths=((4,), (6, 8))),
        "resnet": make_convolutional(
            ResNetSpec, depths=(1, 1, 1, 1), widths=(4, 4, 4, 8), stem_type="small", stem_width=4
        ),
    }


def is_same(first, second):
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


NAMES = {"vit_tiny_patch16_224": False, "swin_tiny_patch4_window7_224": False, "resnet18": True, "convnext_atto": True}


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_cnns_and_vits_are_distinguished(name, expected):
    with torch.device("meta"):
        assert is_convolutional(timm.create_model(name)) is expected


def test_channels_last_is_for_cnns_on_cuda(networks):
    settings, other = TrainSettings(), TrainSettings(channels_last=False)
    assert [uses_channels_last(networks[name].model, settings, CUDA) for name in networks] == [False, True, True]
    assert not uses_channels_last(networks["vgg"].model, other, CUDA)
    assert not uses_channels_last(networks["vgg"].model, settings, torch.device("cpu"))


@pytest.mark.parametrize("family", ["vgg", "resnet"])
def test_channels_last_gives_equal_results_and_is_undone(family, networks, fit, monkeypatch, tmp_path):
    plain, losses = fit(networks[family])
    formats = set()

    def is_last(model, settings, device):
        return settings.channels_last

    for module in ("network_options", "trainer"):
        monkeypatch.setattr(f"germline.training.{module}.uses_channels_last", is_last)
    network = copy.deepcopy(networks[family])
    last_conv = [module for module in network.model.modules() if isinstance(module, nn.Conv2d)][-1]
    handle = last_conv.register_forward_pre_hook(
        lambda layer, inputs: formats.add(
            (layer.weight.is_contiguous(memory_format=torch.channels_last), inputs[0].is_contiguous())
        )
    )
    trained, last_losses = fit(network, tmp_path)
    handle.remove()
    assert formats == {(True, False)}
    assert last_losses == pytest.approx(losses, abs=1e-4)
    for name, tensor in trained.model.state_dict().items():
        assert tensor.is_contiguous()
        assert torch.allclose(tensor, plain.model.state_dict()[name], atol=1e-3)


@pytest.mark.parametrize("family", ["vit", "vgg", "resnet"])
def test_recomputed_activations_change_nothing(family, networks, fit):
    """Gradients, running statistics and random draws are equal, so all weights are."""
    calls = []
    network = copy.deepcopy(networks[family])
    block = {"vit": lambda m: m.blocks[1], "vgg": lambda m: m.stages[1].blocks[0], "resnet": lambda m: m.layer1[0]}
    block[family](network.model).register_forward_pre_hook(lambda layer, _: calls.append(layer.training))
    trained, losses = fit(network, grad_checkpointing=True, eval_at=(0,), drop_path=0.0)
    assert calls.count(True) == 2 * SHORT["steps"]
    plain, plain_losses = fit(networks[family])
    assert losses == plain_losses
    assert is_same(plain, trained)
    assert not any(getattr(module, "grad_checkpointing", False) for module in trained.model.modules())


@pytest.mark.parametrize("built", [0.0, 0.3])
def test_paths_are_dropped_at_the_rate_of_the_settings(built, make_network, fit):
    """A descendant can be built with another rate, that of its gene. It keeps it after the training."""
    network = make_network(depth=3, drop_path=built)
    for rate in (0.0, 0.6):
        trained, losses = fit(network, drop_path=rate)
        expected, expected_losses = fit(make_network(depth=3, drop_path=rate), drop_path=rate)
        assert losses == expected_losses
        assert is_same(trained, expected)
        assert [getattr(block.drop_path1, "drop_prob", 0.0) for block in trained.model.blocks] == pytest.approx(
            [0, built / 2, built]
        )
    assert losses != fit(network, drop_path=0.0)[1]


def test_networks_without_paths_to_drop_are_refused(networks, fit, pico):
    with pytest.raises(SettingError, match=r"drop_path=0.1. A vgg has no paths to drop. Remove drop_path"):
        fit(networks["vgg"], drop_path=0.1)
    foreign = replace(networks["resnet"], spec=None, reason="it has bottlenecks")
    with pytest.raises(SettingError, match="A ResNet has no paths to drop"):
        fit(foreign, drop_path=0.1)
    members = [Member("one", networks["vgg"], pico.train, 0)]
    with pytest.raises(SettingError, match="A vgg has no paths to drop"):
        Run(device="cpu", quiet=True).fit_population("all", members, TrainSettings(steps=1, drop_path=0.1))


class Plain(nn.Sequential):
    """Network of a hidden layer. torch 2.8 does not compile torch's own classes, such as a bare `nn.Sequential`."""

    def __init__(self, width):
        super().__init__(nn.Flatten(), nn.Linear(1024, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, images):
        return super().forward(images)


@pytest.fixture
def make_plain(networks):
    """Function that makes a network of a hidden layer, without timm's functions."""

    def make(width=4, seed=0):
        torch.manual_seed(seed)
        return replace(networks["vit"], model=Plain(width), spec=None)

    return make


def test_networks_and_losses_without_recomputation_are_refused(make_plain, networks, fit, tmp_path):
    with pytest.raises(SettingError, match="grad_checkpointing=true cannot train a Plain"):
        fit(make_plain(), tmp_path / "run", grad_checkpointing=True)
    assert not (tmp_path / "run" / "phase").exists()

    class Virtual(CrossEntropy):
        calls_with_other_weights = True

    with pytest.raises(SettingError, match="Virtual calls it with other weights"):
        fit(networks["vit"], objective=Virtual(), grad_checkpointing=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_another_type_are_refused_in_float32(dtype, make_network, pico, tmp_path):
    network, short = make_network(), TrainSettings(steps=1, batch_size=4)
    other = replace(network, model=copy.deepcopy(network.model).to(dtype))
    run = Run(tmp_path / "run", device="cpu", quiet=True)
    name = str(dtype).removeprefix("torch.")
    for call in (
        lambda: run.fit("phase", other, CrossEntropy(), pico.train, short),
        lambda: run.fit("phase", network, Distillation(other), pico.train, short),
        lambda: run.evaluate(other, pico.val),
    ):
        with pytest.raises(
            SettingError, match=rf"weights are {name}\. A run .* float32\. Use `network.in_float32\(\)`"
        ):
            call()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]
    assert run.fit("phase", other.in_float32(), CrossEntropy(), pico.train, short).steps == 1
    assert {tensor.dtype for tensor in other.model.parameters()} == {dtype}


def test_fits_of_equal_shape_compile_once(make_plain, fit, monkeypatch):
    counter = CompileCounter()
    monkeypatch.setattr(network_options, "COMPILE_BACKEND", counter)
    torch._dynamo.reset()
    # The test lowers torch's limit of 8 shapes, to be short.
    with torch._dynamo.config.patch(recompile_limit=2):
        first, losses = fit(make_plain(), compile=True)
        compiled = counter.frame_count
        assert compiled == 2  # for training and for evaluation
        for seed in (1, 2):
            fit(make_plain(seed=seed), compile=True)
        assert counter.frame_count == compiled
        for width in (5, 6):
            fit(make_plain(width), compile=True)
        assert counter.frame_count == 3 * compiled
    torch._dynamo.reset()
    assert first.model._compiled_call_impl is None
    assert losses == fit(make_plain())[1]


@pytest.mark.parametrize(
    ("settings", "device", "fused"),
    [
        ({"optimizer": "sgd"}, CUDA, True),
        ({"optimizer": "sgd"}, None, None),
        ({"optimizer": "sgd"}, torch.device("cpu"), None),
        ({"optimizer": "sgd", "fused": False}, CUDA, None),
        ({}, torch.device("cpu"), True),
        ({"fused": False}, CUDA, False),
    ],
    ids=str,
)
def test_optimisers_are_fused(settings, device, fused, make_network):
    optimizer = make_optimizer(make_network().model, CrossEntropy(), TrainSettings(**settings), {}, device=device)
    assert optimizer.defaults["fused"] is fused


def test_unused_parameters_are_searched_only_for_losses_that_skip_some(monkeypatch):
    built = []
    replicate = "lightning_fabric.strategies.ddp.DistributedDataParallel"
    monkeypatch.setattr(replicate, lambda **given: built.append(given) or given["module"])
    strategy = ReplicatedStrategy(parallel_devices=[torch.device("cpu")])
    for objective in (CrossEntropy, SampledPathLoss):
        strategy.may_skip_parameters = objective.may_skip_parameters
        strategy.setup_module(nn.Linear(1, 1))
    assert [given["find_unused_parameters"] for given in built] == [False, True]
