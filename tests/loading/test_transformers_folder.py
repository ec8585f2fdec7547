"""Folders of transformers: ViT and DINOv2 equal an independent forward pass; other networks are refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import conv2d, gelu, layer_norm, linear, softmax

from germline.errors import ArtefactError, GermlineError
from germline.loading import load_network

WIDTH, HEADS, DEPTH, HIDDEN, PATCH, SIDE = 16, 2, 2, 40, 8, 32


def make_tensors(kind, classes=3, registers=0, seed=0):
    """Tensors under the names of transformers; `kind` is its model type."""
    draw = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.randn(*shape, generator=draw) * 0.3

    tokens = (SIDE // PATCH) ** 2 + 1
    inner = {
        "embeddings.cls_token": rand(1, 1, WIDTH),
        "embeddings.position_embeddings": rand(1, tokens, WIDTH),
        "embeddings.patch_embeddings.projection.weight": rand(WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": rand(WIDTH),
        "layernorm.weight": 1 + rand(WIDTH),
        "layernorm.bias": rand(WIDTH),
    }
    if kind != "vit":
        inner["embeddings.mask_token"] = rand(1, WIDTH)
    if registers:
        inner["embeddings.register_tokens"] = rand(1, registers, WIDTH)
    norms = ("layernorm_before", "layernorm_after") if kind == "vit" else ("norm1", "norm2")
    mlp = ("intermediate.dense", "output.dense") if kind == "vit" else ("mlp.fc1", "mlp.fc2")
    for index in range(DEPTH):
        layer = f"encoder.layer.{index}."
        for norm in norms:
            inner |= {f"{layer}{norm}.weight": 1 + rand(WIDTH), f"{layer}{norm}.bias": rand(WIDTH)}
        for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
            inner |= {
                f"{layer}attention.{part}.weight": rand(WIDTH, WIDTH),
                f"{layer}attention.{part}.bias": rand(WIDTH),
            }
        for name, rows, columns in ((mlp[0], HIDDEN, WIDTH), (mlp[1], WIDTH, HIDDEN)):
            inner |= {f"{layer}{name}.weight": rand(rows, columns), f"{layer}{name}.bias": rand(rows)}
        if kind != "vit":
            inner |= {f"{layer}layer_scale{number}.lambda1": rand(WIDTH) for number in (1, 2)}
    if not classes:
        return inner
    prefix = "vit." if kind == "vit" else "dinov2."
    reads = WIDTH if kind == "vit" else 2 * WIDTH
    head = {"classifier.weight": rand(classes, reads), "classifier.bias": rand(classes)}
    return {**{prefix + name: tensor for name, tensor in inner.items()}, **head}


def compute_reference(tensors, images, kind, eps):
    """Return the class token after the last norm, or its logits, computed from the formulas."""
    prefix = "vit." if "vit.embeddings.cls_token" in tensors else ""
    prefix = "dinov2." if "dinov2.embeddings.cls_token" in tensors else prefix
    t = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    patches = conv2d(
        images,
        t["embeddings.patch_embeddings.projection.weight"],
        t["embeddings.patch_embeddings.projection.bias"],
        stride=PATCH,
    )
    x = torch.cat([t["embeddings.cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
    x = x + t["embeddings.position_embeddings"]
    if "embeddings.register_tokens" in t:
        x = torch.cat([x[:, :1], t["embeddings.register_tokens"].expand(len(images), -1, -1), x[:, 1:]], 1)
    norms = ("layernorm_before", "layernorm_after") if kind == "vit" else ("norm1", "norm2")
    mlp = ("intermediate.dense", "output.dense") if kind == "vit" else ("mlp.fc1", "mlp.fc2")
    for index in range(DEPTH):
        layer = f"encoder.layer.{index}."

        def dense(name, y, layer=layer):
            return linear(y, t[f"{layer}{name}.weight"], t[f"{layer}{name}.bias"])

        def norm(name, y, layer=layer):
            return layer_norm(y, (WIDTH,), t[f"{layer}{name}.weight"], t[f"{layer}{name}.bias"], eps)

        def split(y):
            return y.reshape(len(y), -1, HEADS, WIDTH // HEADS).transpose(1, 2)

        y = norm(norms[0], x)
        q, k, v = (split(dense(f"attention.attention.{part}", y)) for part in ("query", "key", "value"))
        weights = softmax(q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5, dim=-1)
        y = dense("attention.output.dense", (weights @ v).transpose(1, 2).flatten(2))
        x = x + y * t.get(f"{layer}layer_scale1.lambda1", torch.ones(1))
        y = dense(mlp[1], gelu(dense(mlp[0], norm(norms[1], x))))
        x = x + y * t.get(f"{layer}layer_scale2.lambda1", torch.ones(1))
    token = layer_norm(x, (WIDTH,), t["layernorm.weight"], t["layernorm.bias"], eps)[:, 0]
    has_head = "classifier.weight" in t and t["classifier.weight"].shape[1] == WIDTH
    return linear(token, t["classifier.weight"], t["classifier.bias"]) if has_head else token


def write_folder(folder, kind="vit", tensors=None, config=None, preprocessor=None):
    folder.mkdir(exist_ok=True)
    names = {"vit": "ViT", "dinov2": "Dinov2", "dinov2_with_registers": "Dinov2WithRegisters"}
    content = {
        "model_type": kind,
        "architectures": [f"{names.get(kind, kind)}ForImageClassification"],
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "patch_size": PATCH,
        "num_channels": 3,
        "image_size": SIDE,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12 if kind == "vit" else 1e-6,
        "id2label": {"0": "cat", "1": "dog", "2": "owl"},
        **(config or {}),
    }
    (folder / "config.json").write_text(json.dumps(content))
    save_file(make_tensors(kind) if tensors is None else tensors, folder / "model.safetensors")
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


@pytest.mark.parametrize(
    ("kind", "classes", "registers"),
    [("vit", 3, 0), ("vit", 0, 0), ("dinov2", 0, 0), ("dinov2", 3, 0), ("dinov2_with_registers", 0, 4)],
)
def test_outputs_equal_an_independent_forward_pass(kind, classes, registers, tmp_path):
    tensors = make_tensors(kind, classes, registers)
    network = load_network(write_folder(tmp_path / "m", kind, tensors))
    images = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = compute_reference(tensors, images, kind, 1e-12 if kind == "vit" else 1e-6)
        assert (network.model(images) - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))
    assert network.classes == (("cat", "dog", "owl") if kind == "vit" and classes else ())
    assert (network.spec.heads, network.spec.depth, network.spec.reg_tokens) == (HEADS, DEPTH, registers)


def test_mean_and_std_are_read_from_the_folder(tmp_path):
    given = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": {"height": 32, "width": 32}}
    network = load_network(write_folder(tmp_path / "m", preprocessor=given))
    assert (network.preprocess.mean, network.preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert network.assumed == frozenset()
    no_preprocessor = load_network(write_folder(tmp_path / "n"))
    assert no_preprocessor.assumed == {"statistics"}
    plain = load_network(write_folder(tmp_path / "o", preprocessor={"do_normalize": False}))
    assert (plain.preprocess.mean, plain.preprocess.std) == ((0.0,) * 3, (1.0,) * 3)


def test_generated_labels_are_not_class_names(tmp_path):
    labels = {str(index): f"LABEL_{index}" for index in range(3)}
    network = load_network(write_folder(tmp_path / "m", config={"id2label": labels}))
    assert network.classes == ("0", "1", "2")
    assert "classes" in network.assumed


def test_classes_of_one_name_get_their_indices(tmp_path):
    # ImageNet's classes 134 and 517 are both called crane in public configurations
    network = load_network(write_folder(tmp_path / "m", config={"id2label": {"0": "crane", "1": "owl", "2": "crane"}}))
    assert network.classes == ("crane (0)", "owl", "crane (2)")
    assert "class names that are given twice have their indices, such as crane (0) and crane (2)" in network.notes
    assert "classes" not in network.assumed


@pytest.mark.parametrize(
    "kind",
    ["swin", "beit", "deit", "convnext", "clip", "resnet", "vit_mae", "siglip", "dinov3_vit", "bert", None, 3, ""],
)
def test_other_network_is_refused_by_name(kind, tmp_path):
    folder = write_folder(tmp_path / "m", config={"model_type": kind, "architectures": [f"{kind}Model"]})
    with pytest.raises(ArtefactError, match=f"{kind}Model of transformers"):
        load_network(folder)


WRONG = {
    "act": ({"hidden_act": "gelu_new"}, "hidden_act=gelu_new"),
    "width": ({"hidden_size": 32}, "width=32 is expected"),
    "depth": ({"num_hidden_layers": 3}, "depth=3 is expected"),
    "patch": ({"patch_size": 16}, "patch_size=16 is expected"),
    "channels": ({"num_channels": 1}, "channels=1 is expected"),
    "heads": ({"num_attention_heads": 3}, "heads=3"),
    "heads-zero": ({"num_attention_heads": 0}, "num_attention_heads=0"),
    "heads-text": ({"num_attention_heads": "2"}, "num_attention_heads=2"),
    "heads-true": ({"num_attention_heads": True}, "num_attention_heads=True"),
    "width-huge": ({"hidden_size": 10**9}, "hidden_size=1000000000"),
    "labels-few": ({"id2label": {"0": "cat"}}, "id2label"),
    "labels-twice": ({"id2label": {"0": "cat", "1": "cat", "2": "cat (1)"}}, "'cat' is given twice"),
    "labels-gap": ({"id2label": {"0": "cat", "1": "dog", "7": "owl"}}, "id2label"),
    "labels-number": ({"id2label": {"0": 1, "1": 2, "2": 3}}, "id2label"),
}


@pytest.mark.parametrize("case", WRONG)
def test_configuration_that_contradicts_the_weights_is_refused(case, tmp_path):
    config, message = WRONG[case]
    with pytest.raises(GermlineError, match=message):
        load_network(write_folder(tmp_path / "m", config=config))


@pytest.mark.parametrize(
    "given",
    [
        {"image_mean": [0.5], "image_std": [0.5]},
        {"image_mean": [0.5] * 3, "image_std": [0.0] * 3},
        {"image_mean": "a", "image_std": "b"},
        {"rescale_factor": 1.0},
        {"rescale_factor": "x"},
    ],
    ids=str,
)
def test_wrong_preprocessor_is_refused(given, tmp_path):
    with pytest.raises(ArtefactError, match="preprocessor_config"):
        load_network(write_folder(tmp_path / "m", preprocessor=given))


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors.index.json", "tf_model.h5", "flax_model.msgpack", None]
)
def test_missing_weights_are_named(name, tmp_path):
    folder = write_folder(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    if name:
        (folder / name).write_text("{}")
    with pytest.raises(ArtefactError, match=f"weights are in {name}" if name else "weights are missing"):
        load_network(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vit.encoder.layer.1.output.dense.bias", None),
        ("vit.layernorm.weight", None),
        ("vit.embeddings.position_embeddings", torch.ones(1, 12, WIDTH)),
        ("vit.encoder.layer.0.intermediate.dense.weight", torch.ones(HIDDEN, WIDTH + 1)),
        ("vit.more.weight", torch.ones(2)),
        ("classifier.bias", torch.full((3,), float("nan"))),
    ],
    ids=str,
)
def test_weights_that_do_not_fit_are_refused(name, change, tmp_path):
    folder = write_folder(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors = {**{key: t for key, t in tensors.items() if key != name}, **({} if change is None else {name: change})}
    with pytest.raises(ArtefactError):
        load_network(write_folder(tmp_path / "m", tensors=tensors))


def test_large_eps_is_used_without_a_spec(tmp_path):
    tensors = make_tensors("vit")
    network = load_network(write_folder(tmp_path / "m", tensors=tensors, config={"layer_norm_eps": 0.1}))
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.allclose(network.model(images), compute_reference(tensors, images, "vit", 0.1), atol=1e-5)
    assert network.spec is None
    assert "norm eps 0.1" in network.reason
