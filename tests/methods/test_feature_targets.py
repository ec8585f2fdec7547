"""Ancestors without a head: every method with every target, refused settings, and genes of features."""

import pytest
import timm
import torch
from torch import nn

import germline as gl
from germline.api import build_gene_objective, build_start_network, train
from germline.architectures import RESNET, VGG, VIT, Preprocess, Size
from germline.data import DataSet, Images
from germline.errors import SettingError
from germline.methods.feature_targets import find_token_module
from germline.registry import METHODS
from germline.training import FeatureDistillation, Run, TrainSettings

SHORT = {"steps": 2, "batch_size": 20}
METHOD_SETTINGS = {
    "tleg": SHORT,
    "lets": {"preset": "tiny", "steps": 2},
    "pool": {"preset": "tiny"},
    "auto": {"preset": "tiny", "steps": 2},
    "distil": {},
}
KINDS = [(target, loss) for target in ("features", "tokens") for loss in ("cosine", "mse")]
NO_HEAD = r"The ancestor has no head, so its outputs are features\. .*logits.* (Set|Pass) "
SMALL_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 0}


def make_run():
    return Run(device="cpu", quiet=True)


def make_vit(**changes):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **{**SMALL_VIT, **changes}).eval()


def wrap_model(model, classes=(), side=32, channels=3):
    preprocess = Preprocess(channels=channels, image_size=side, mean=(0.5,) * channels, std=(0.5,) * channels)
    try:
        spec = VIT.describe(model)
    except gl.GermlineError:
        spec = None
    return gl.Network(model.eval(), preprocess, classes, spec=spec, licence="mit", source="a test")


def make_cnn(name, pico, classes=0):
    network = build_start_network(name, pico, TrainSettings(), seed=0, size=Size(width=4))
    architecture = VGG if name.startswith("vgg") else RESNET
    spec = network.spec.model_copy(update={"classes": classes})
    return gl.Network(architecture.build(spec).eval(), network.preprocess, (), spec=spec)


@pytest.fixture(scope="module")
def bare():
    return wrap_model(make_vit())


@pytest.fixture(scope="module")
def photos(pico):
    """Images without labels and class names. The data set has no other split."""
    images = Images(pico.train.images, None, ())

    def read(split):
        if split != "train":
            raise gl.GermlineError("no such split")
        return images

    return DataSet("photos", read, licence="cc0")


def make_method(name, **settings):
    return METHODS[name](**{**METHOD_SETTINGS[name], **settings})


@pytest.mark.parametrize("name", METHOD_SETTINGS)
@pytest.mark.parametrize(("target", "loss"), KINDS)
def test_every_method_condenses_every_target_without_labels(name, target, loss, bare, photos, pico, tmp_path):
    method = make_method(name, target=target, feature_loss=loss)
    before = {key: tensor.clone() for key, tensor in bare.model.state_dict().items()}
    gene = gl.condense(method, ancestor=bare, data=photos, run=make_run())
    assert all(torch.equal(tensor, before[key]) for key, tensor in bare.model.state_dict().items())
    gene.save(tmp_path / "gene")
    gene = gl.Learngene.load(tmp_path / "gene")
    assert gene.classes is None
    assert gene.bound_method() == method
    assert not [key for key in gene.tensors if "head" in key]
    assert not [key for key in gene.provenance.metrics if "accuracy" in key or "(val)" in key]
    child = gene.inherit(classes=pico.classes)
    assert child.network.logits(pico.val.images[:2].float() / 255).shape == (2, 10)
    assert child.ledger.entries["head.weight"]["fresh"] == child.model.head.weight.numel()
    result = train(
        child.network,
        pico,
        TrainSettings(**SHORT),
        objective=build_gene_objective(gene, child.network),
        run=make_run(),
    )
    assert 0 <= result.accuracy <= 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tleg", {}),
        ("tleg", {"distillation": "hard"}),
        ("tleg", {"alpha": 0.5}),
        ("tleg", {"model": "vit_pico"}),
        ("pool", {}),
        ("pool", {"losses": "logits", "init": "random"}),
        ("distil", {}),
        ("distil", {"alpha": 1.0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["network", "module", "named", "folder"])
def test_logits_of_an_ancestor_without_head_are_refused(name, settings, kind, bare, pico, tmp_path):
    ancestor = bare
    if kind == "module":
        ancestor = bare.model
    elif kind == "named":
        ancestor = wrap_model(bare.model, pico.classes)
    elif kind == "folder":
        bare.save(tmp_path / "bare")
        ancestor = str(tmp_path / "bare")
    with pytest.raises(gl.GermlineError, match=NO_HEAD) as caught:
        gl.condense(make_method(name, **settings), ancestor=ancestor, data=pico, run=Run(tmp_path / "run", quiet=True))
    assert caught.value.exit_code == 2
    assert [path.name for path in (tmp_path / "run").rglob("*")] in ([], ["run.json"])


def test_snnet_refuses_a_teacher_without_head(bare, pico):
    with pytest.raises(gl.GermlineError, match=r"has no head.*Set teach=0"):
        gl.condense(METHODS["snnet"](preset="tiny", model="vit_pico"), ancestor=bare, data=pico, run=make_run())


@pytest.mark.parametrize("name", METHOD_SETTINGS)
def test_images_without_labels_need_feature_targets(name, bare, photos):
    with pytest.raises(gl.GermlineError, match="target=features"):
        gl.condense(make_method(name), ancestor=bare, data=photos, run=make_run())


def test_auto_learns_labels_with_an_ancestor_without_head(bare, pico):
    # The ancestor's head is never used: the pseudo descendant has its own head.
    gene = gl.condense(make_method("auto"), ancestor=bare, data=pico, run=make_run())
    assert "pseudo descendant (val)" in gene.provenance.metrics


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("tleg", {"target": "features", "distillation": "none"}, "no labels are learnt"),
        ("tleg", {"target": "tokens", "alpha": 0.5}, "no labels are learnt"),
        ("tleg", {"target": "feature"}, "target"),
        ("tleg", {"target": None}, "target"),
        ("tleg", {"target": "features", "feature_loss": "l2"}, "feature_loss"),
        ("tleg", {"feature_loss": 1}, "feature_loss"),
        ("pool", {"target": "features", "alpha": 0.1}, "set alpha=0"),
        ("pool", {"target": "features", "teach": 0.5}, "set teach=1"),
        ("pool", {"target": "tokens", "teach": 0}, "set teach=1"),
        ("pool", {"target": "tokens", "instances": "scratch", "init": "random"}, "set instances=distilled"),
        ("pool", {"target": "features", "losses": "logits", "init": "pinv"}, "no matrices are trained"),
        ("auto", {"target": "features", "select": "cka"}, "set select=meta"),
        ("auto", {"target": ["features"]}, "target"),
        ("distil", {"target": "logit"}, "target"),
        ("snnet", {"target": "features"}, "target"),
        ("finetune", {"target": "features"}, "target"),
    ],
    ids=str,
)
def test_unsuitable_settings_are_refused(name, settings, message):
    with pytest.raises(SettingError, match=message):
        METHODS[name](**settings)


@pytest.mark.parametrize("target", ["features", "tokens"])
@pytest.mark.parametrize("name", ["vgg11", "resnet18_x025"])
def test_features_of_cnns_can_be_targets(name, target, pico, photos):
    ancestor = make_cnn(name, pico)
    with pytest.raises(gl.GermlineError, match="set model"):
        gl.condense(make_method("tleg", target=target), ancestor=ancestor, data=photos, run=make_run())
    with pytest.raises(gl.GermlineError, match="ViT"):
        gl.condense(make_method("pool", target=target), ancestor=ancestor, data=photos, run=make_run())
    # vit_pico has 4 x 4 patches and the last maps are 1 x 1, so the maps are resized.
    small = {"model": "vit_pico", "depth": 2, "width": 16, "heads": 2}
    gene = gl.condense(make_method("tleg", target=target, **small), ancestor=ancestor, data=photos, run=make_run())
    assert gene.architecture == "vit"
    gene = gl.condense(make_method("auto", target=target), ancestor=ancestor, data=photos, run=make_run())
    assert gene.inherit(classes=3).network.spec.classes == 3
    gene = gl.condense(make_method("distil", target=target), ancestor=ancestor, data=photos, run=make_run())
    child = gene.inherit(classes=pico.classes)
    result = train(
        child.network, pico, TrainSettings(**SHORT), objective=build_gene_objective(gene, child.network), run=make_run()
    )
    assert len(result.losses) == 1


@pytest.mark.parametrize("target", ["features", "tokens"])
@pytest.mark.parametrize(
    "changes",
    [
        {"img_size": 48},
        {"img_size": 24},
        {"in_chans": 1},
        {"reg_tokens": 2},
        {"class_token": False, "global_pool": "avg"},
        {"global_pool": "avg", "fc_norm": True},
        {"init_values": 1e-5},
        {"num_classes": 10},
        {"patch_size": 16},
    ],
    ids=str,
)
def test_features_of_vit_variants_can_be_targets(changes, target, photos, pico):
    classes = pico.classes if changes.get("num_classes") else ()
    ancestor = wrap_model(make_vit(**changes), classes, changes.get("img_size", 32), changes.get("in_chans", 3))
    gene = gl.condense(make_method("tleg", target=target, depth=2), ancestor=ancestor, data=photos, run=make_run())
    assert gene.classes is None
    small = {"model": "vit_pico", "depth": 2, "width": 16, "heads": 2}
    gene = gl.condense(make_method("tleg", target=target, **small), ancestor=ancestor, data=photos, run=make_run())
    assert gene.spec.classes == 0
    child = gene.inherit(Size(depth=4), classes=2, channels=3, image_size=64)
    assert child.network.logits(torch.rand(1, 3, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize("name", ["distil", "pool", "auto"])
def test_clip_backbone_can_only_be_a_teacher(name, photos):
    # No architecture rebuilds the norm before the blocks.
    clip = wrap_model(make_vit(pre_norm=True))
    assert clip.spec is None
    small = {"model": "vit_pico", "depth": 2, "width": 16, "heads": 2}
    gene = gl.condense(make_method("tleg", target="features", **small), ancestor=clip, data=photos, run=make_run())
    assert gene.classes is None
    with pytest.raises(gl.GermlineError):
        gl.condense(make_method(name, target="features"), ancestor=clip, data=photos, run=make_run())


class OwnBackbone(nn.Module):
    """A user's module with pooled features, without a head and without timm's methods."""

    num_classes = 0

    def __init__(self, is_broken=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, 8)
        self.is_broken = is_broken

    def forward(self, images):
        features = self.conv(images).mean((2, 3))
        return features * float("nan") if self.is_broken else features


def test_user_module_gives_only_pooled_features(photos):
    small = {"model": "vit_pico", "depth": 2, "width": 16, "heads": 2}
    ancestor = wrap_model(OwnBackbone())
    gene = gl.condense(make_method("tleg", target="features", **small), ancestor=ancestor, data=photos, run=make_run())
    assert gene.provenance.metrics["loss of features (train)"] < 2
    for model, target, message in (
        (OwnBackbone(), "tokens", "cannot be read"),
        (OwnBackbone(is_broken=True), "features", "not finite"),
    ):
        with pytest.raises(gl.GermlineError, match=message):
            gl.condense(
                make_method("tleg", target=target, **small), ancestor=wrap_model(model), data=photos, run=make_run()
            )


def test_gene_of_features_needs_classes(bare, photos):
    gene = gl.condense(make_method("tleg", target="features"), ancestor=bare, data=photos, run=make_run())
    with pytest.raises(gl.GermlineError, match="gene has no head"):
        gene.inherit()
    assert gene.inherit(classes=("cat", "dog")).network.classes == ("cat", "dog")


def test_pool_of_features_has_no_validated_path(bare, photos):
    gene = gl.condense(make_method("pool", target="features"), ancestor=bare, data=photos, run=make_run())
    assert "paths" not in gene.provenance.record
    with pytest.raises(gl.GermlineError, match="no path was validated"):
        gene.inherit(Size(max_params=10_000), classes=2)
    assert gene.inherit(Size(width=8), classes=2).network.spec.width == 8


def test_gene_has_no_maps_and_equals_a_resumed_one(bare, photos, tmp_path):
    method = make_method("tleg", target="tokens", steps=4, checkpoint_every=2)
    gene = gl.condense(method, ancestor=bare, data=photos, run=Run(tmp_path / "run", quiet=True))
    resumed = gl.condense(method, ancestor=bare, data=photos, run=Run(tmp_path / "run", quiet=True))
    uninterrupted = gl.condense(method, ancestor=bare, data=photos, run=make_run())
    for other in (resumed, uninterrupted):
        assert other.tensors.keys() == gene.tensors.keys()
        assert all(torch.equal(tensor, gene.tensors[key]) for key, tensor in other.tensors.items())
    assert not [key for key in gene.tensors if "maps" in key]


def test_dump_without_feature_target_has_no_feature_settings():
    for name, settings in METHOD_SETTINGS.items():
        assert not {"target", "feature_loss"} & METHODS[name](**settings).model_dump().keys()
        dump = METHODS[name](**settings, target="tokens", feature_loss="mse").model_dump(mode="json")
        assert (dump["target"], dump["feature_loss"]) == ("tokens", "mse")
        assert METHODS[name].model_validate(dump) == METHODS[name](**settings, target="tokens", feature_loss="mse")
    assert METHODS["tleg"](preset="tiny").model_dump()["preset"] == "tiny"
    assert "preset" not in METHODS["tleg"]().model_dump()


def test_distil_learns_labels_and_features(bare, pico):
    gene = gl.condense(make_method("distil", target="features"), ancestor=bare, data=pico, run=make_run())
    child = gene.inherit(classes=pico.classes)
    objective = build_gene_objective(gene, child.network)
    assert isinstance(objective, FeatureDistillation)
    assert (objective.with_labels, objective.alpha, list(objective.maps)) == (True, 0.5, ["16"])


def test_tokens_come_from_the_final_norm_or_the_last_maps(bare, pico):
    assert find_token_module(bare.spec) == "norm"
    spec = make_cnn("resnet18_x025", pico).spec
    assert find_token_module(spec) == RESNET.feature_names(spec)[-1]
