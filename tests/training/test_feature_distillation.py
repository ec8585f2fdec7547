"""Feature losses: values computed by hand, features read from a teacher, and refused cases."""

import pytest
import timm
import torch
from torch import nn

from germline.architectures import Preprocess
from germline.data import Batch
from germline.errors import ArtefactError, DataError
from germline.network import Network
from germline.training import Distillation, FeatureDistillation
from germline.training.feature_distillation import (
    FeatureMap,
    arrange_tokens,
    compute_feature_loss,
    measure_feature_width,
    read_features,
)

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 0}


def network(model, side=32, channels=3):
    preprocess = Preprocess(channels=channels, image_size=side, mean=(0.0,) * channels, std=(1.0,) * channels)
    return Network(model.eval(), preprocess, ())


def vit(**changes):
    return network(timm.create_model("vit_tiny_patch16_224", **{**VIT, **changes}))


class Plain(nn.Module):
    """A user's module, without timm's functions."""

    def __init__(self, form="flat", classes=0):
        super().__init__()
        self.form, self.conv = form, nn.Conv2d(3, 5, 8, 8)
        if classes is not None:
            self.num_classes = classes

    def forward(self, images):
        maps = self.conv(images)
        return {"flat": maps.mean((2, 3)), "maps": maps, "pair": (maps, maps)}[self.form]


class Inside(nn.Module):
    """A module whose forward_features returns a given tensor."""

    num_classes, num_prefix_tokens = 0, 1

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward_features(self, images):
        return self.inside

    def forward_head(self, inside, pre_logits=False):
        return inside.flatten(1)

    def forward(self, images):
        return self.forward_head(self.inside)


def test_cosine_is_one_minus_the_mean_cosine():
    predicted, expected = torch.tensor([[1.0, 0.0], [3.0, 3.0]]), torch.tensor([[0.0, 2.0], [5.0, 5.0]])
    assert float(compute_feature_loss(predicted, expected, "cosine")) == pytest.approx(0.5, abs=1e-6)
    assert float(compute_feature_loss(10 * predicted, expected, "cosine")) == pytest.approx(0.5, abs=1e-6)


def test_mse_compares_with_normalised_features():
    # A layer norm turns (2, 6) and (20, 60) into (-1, 1).
    predicted = torch.tensor([[0.0, 1.0]])
    for factor in (1.0, 10.0):
        loss = compute_feature_loss(predicted, factor * torch.tensor([[2.0, 6.0]]), "mse")
        assert float(loss) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_losses_of_maps_are_means_over_places(kind):
    torch.manual_seed(0)
    predicted, expected = torch.randn(3, 5, 2, 2), torch.randn(3, 5, 2, 2)
    flat = [one.movedim(1, -1).reshape(-1, 5) for one in (predicted, expected)]
    assert float(compute_feature_loss(predicted, expected, kind)) == pytest.approx(
        float(compute_feature_loss(*flat, kind)), abs=1e-5
    )


@pytest.mark.parametrize(("own", "other"), [(4, 8), (4, 2), (3, 5), (1, 7)])
def test_maps_of_another_size_are_resized(own, other):
    expected = torch.ones(2, 5, other, other) * torch.arange(5.0)[:, None, None]
    predicted = torch.ones(2, 5, own, own) * torch.arange(5.0)[:, None, None]
    assert float(compute_feature_loss(predicted, expected, "cosine")) == pytest.approx(0, abs=1e-5)


def test_map_is_linear_along_the_channels():
    one = FeatureMap(3, 2)
    maps = torch.randn(4, 3, 2, 5)
    mapped = one(maps)
    assert mapped.shape == (4, 2, 2, 5)
    assert torch.allclose(mapped[:, :, 1, 3], one(maps[:, :, 1, 3]), atol=1e-6)


def test_map_computes_low_precision_in_float32():
    assert FeatureMap(3, 2)(torch.randn(4, 3, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({}, 16),
        ({"class_token": False, "global_pool": "avg"}, 16),
        ({"reg_tokens": 4}, 16),
        ({"global_pool": "avg"}, 16),
        ({"global_pool": "avg", "fc_norm": True}, 16),
        ({"img_size": 48}, 36),
        ({"num_classes": 7}, 16),
        ({"pre_norm": True}, 16),
    ],
    ids=str,
)
def test_features_and_tokens_of_vits(changes, tokens):
    teacher = vit(**changes)
    teacher = network(teacher.model, side=changes.get("img_size", 32))
    pixels = torch.rand(2, 3, teacher.preprocess.image_size, teacher.preprocess.image_size)
    with torch.no_grad():
        pooled, maps = (read_features(teacher, pixels, kind) for kind in ("features", "tokens"))
        assert pooled.shape == (2, 16)
        assert maps.shape[:2] == (2, 16)
        assert maps.shape[2] * maps.shape[3] == tokens
        if not changes.get("num_classes"):
            assert torch.equal(pooled, teacher.model(pixels))
        inside = teacher.model.forward_features(pixels)
        assert torch.equal(maps[:, :, 0, 1], inside[:, teacher.model.num_prefix_tokens + 1])


@pytest.mark.parametrize(("name", "width"), [("resnet10t", 512), ("swin_tiny_patch4_window7_224", 32)])
def test_last_maps_of_other_families(name, width):
    small = {"img_size": 32, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}
    teacher = network(timm.create_model(name, num_classes=0, **(small if "swin" in name else {})))
    assert measure_feature_width(teacher, "features") == measure_feature_width(teacher, "tokens") == width


def test_features_of_a_plain_module_are_its_outputs():
    teacher = network(Plain())
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(read_features(teacher, pixels, "features"), teacher.model(pixels))
    assert measure_feature_width(teacher, "features") == 5


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (Plain(), "tokens", "tokens of a Plain cannot be read"),
        (Plain("maps"), "features", "features of a Plain cannot be read"),
        (Plain("pair"), "features", "features of a Plain cannot be read"),
        (Plain(classes=3), "features", "features of a Plain cannot be read"),
        (Plain(classes=None), "features", "set num_classes=0"),
        (Inside(torch.zeros(1, 8, 4)), "tokens", "no square grid"),
        (Inside(torch.zeros(1, 1, 4)), "tokens", "no square grid"),
        (Inside(torch.zeros(1, 4)), "tokens", "no square grid"),
        (Inside(torch.full((1, 5, 4), float("nan"))), "tokens", "not finite"),
        (Inside(torch.full((1, 5, 4), float("inf"))), "features", "not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_unreadable_features_are_refused(model, kind, message):
    with pytest.raises(ArtefactError, match=message):
        measure_feature_width(network(model), kind)


def test_tokens_are_arranged_row_by_row():
    tokens = torch.arange(5.0)[None, :, None].expand(2, 5, 3)
    assert arrange_tokens(tokens, 1)[0, 0].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    maps = torch.zeros(2, 3, 4, 4)
    assert arrange_tokens(maps, 0) is maps


@pytest.mark.parametrize("kind", ["features", "tokens"])
@pytest.mark.parametrize("loss", ["cosine", "mse"])
def test_student_learns_features_without_labels(kind, loss):
    teacher, student = vit(), vit(embed_dim=8).model.train()
    objective = FeatureDistillation(
        teacher,
        [8],
        kind=kind,
        loss=loss,
        source=torch.Generator().manual_seed(0),
        prefix=1,
        read=lambda call, pixels: (None, call(pixels)),
    )
    batch = Batch(torch.rand(8, 3, 32, 32), None)
    call = student.forward_features if kind == "tokens" else student
    before = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    optimizer = torch.optim.Adam([*student.parameters(), *objective.parameters()], 0.01)
    values = []
    for _ in range(25):
        optimizer.zero_grad()
        value = objective(call, batch)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.7 * values[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.model.state_dict().items())
    assert list(objective.state_dict()) == ["maps.8.weight", "maps.8.bias"]
    assert not teacher.model.training


def test_labels_are_used_only_with_labels_option():
    teacher = vit()
    options = {"kind": "features", "loss": "cosine", "source": torch.Generator().manual_seed(0), "with_labels": True}
    logits = torch.zeros(2, 4)
    objective = FeatureDistillation(
        teacher, [8], read=lambda _, pixels: (logits, torch.ones(2, 8)), alpha=0.0, **options
    )
    batch = Batch(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    assert float(objective(lambda pixels: pixels, batch).detach()) == pytest.approx(torch.tensor(4.0).log().item())
    with pytest.raises(DataError, match="no labels"):
        objective(lambda pixels: pixels, Batch(batch.pixels, None))


def test_distillation_refuses_features_as_logits():
    teacher = vit()
    for kind in ("soft", "hard"):
        with pytest.raises(DataError, match="no head"):
            Distillation(teacher, kind=kind)(lambda pixels: torch.zeros(2, 16), Batch(torch.rand(2, 3, 32, 32), None))
