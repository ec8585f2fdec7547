"""Ancestors without a head: every method with every target, what is refused, and what a gene of features can do."""

import pytest
import timm
import torch
from torch import nn

import germline as gl
from germline.api import build_gene_objective, build_start_network, train
from germline.architectures import RESNET, VGG, VIT, Preprocess, Size
from germline.data import DataSet, Images
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


def quiet():
    return Run(device="cpu", quiet=True)


def vit(**changes):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **{**SMALL_VIT, **changes}).eval()


def backbone(model, classes=(), side=32, channels=3):
    see = Preprocess(channels=channels, image_size=side, mean=(0.5,) * channels, std=(0.5,) * channels)
    try:
        spec = VIT.describe(model)
    except gl.GermlineError:
        spec = None
    return gl.Network(model.eval(), see, classes, spec=spec, licence="mit", source="a test")


def convolutional(name, pico, classes=0):
    network = build_start_network(name, pico, TrainSettings(), seed=0, size=Size(width=4))
    architecture = VGG if name.startswith("vgg") else RESNET
    spec = network.spec.model_copy(update={"classes": classes})
    return gl.Network(architecture.build(spec).eval(), network.preprocess, (), spec=spec)


@pytest.fixture(scope="module")
def bare():
    return backbone(vit())


@pytest.fixture(scope="module")
def photos(pico):
    """Images without labels and class names, of a set whose other splits do not exist."""
    images = Images(pico.train.images, None, ())

    def read(split):
        if split != "train":
            raise gl.GermlineError("no such split")
        return images

    return DataSet("photos", read, licence="cc0")


def method_of(name, **settings):
    return METHODS[name](**{**METHOD_SETTINGS[name], **settings})


@pytest.mark.parametrize("name", METHOD_SETTINGS)
@pytest.mark.parametrize(("target", "loss"), KINDS)
def test_every_method_condenses_every_target_without_labels(name, target, loss, bare, photos, pico, tmp_path):
    method = method_of(name, target=target, feature_loss=loss)
    before = {key: tensor.clone() for key, tensor in bare.model.state_dict().items()}
    gene = gl.condense(method, ancestor=bare, data=photos, run=quiet())
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
        run=quiet(),
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
@pytest.mark.parametrize("form", ["network", "module", "named", "folder"])
def test_logits_of_no_head_are_refused(name, settings, form, bare, pico, tmp_path):
    ancestor = bare
    if form == "module":
        ancestor = bare.model
    elif form == "named":
        ancestor = backbone(bare.model, pico.classes)
    elif form == "folder":
        bare.save(tmp_path / "bare")
        ancestor = str(tmp_path / "bare")
    with pytest.raises(gl.GermlineError, match=NO_HEAD) as caught:
        gl.condense(method_of(name, **settings), ancestor=ancestor, data=pico, run=Run(tmp_path / "run", quiet=True))
    assert caught.value.exit_code == 2
    assert [path.name for path in (tmp_path / "run").rglob("*")] in ([], ["run.json"])


def test_snnet_refuses_to_be_taught_by_no_head(bare, pico):
    with pytest.raises(gl.GermlineError, match=r"has no head.*Set teach=0"):
        gl.condense(METHODS["snnet"](preset="tiny", model="vit_pico"), ancestor=bare, data=pico, run=quiet())


@pytest.mark.parametrize("name", METHOD_SETTINGS)
def test_photos_without_labels_need_features(name, bare, photos):
    with pytest.raises(gl.GermlineError, match="target=features"):
        gl.condense(method_of(name), ancestor=bare, data=photos, run=quiet())


def test_auto_learns_labels_beside_an_ancestor_without_a_head(bare, pico):
    # Its head is never read: the pseudo descendant has its own.
    gene = gl.condense(method_of("auto"), ancestor=bare, data=pico, run=quiet())
    assert "pseudo descendant (val)" in gene.provenance.metrics


@pytest.mark.parametrize(
    ("name", "settings", "said"),
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
def test_settings_that_do_not_fit_are_refused(name, settings, said):
    with pytest.raises(ValueError, match=said):
        METHODS[name](**settings)


@pytest.mark.parametrize("target", ["features", "tokens"])
@pytest.mark.parametrize("name", ["vgg11", "resnet18_x025"])
def test_ancestors_that_are_cnns(name, target, pico, photos):
    ancestor = convolutional(name, pico)
    with pytest.raises(gl.GermlineError, match="set model"):
        gl.condense(method_of("tleg", target=target), ancestor=ancestor, data=photos, run=quiet())
    with pytest.raises(gl.GermlineError, match="ViT"):
        gl.condense(method_of("pool", target=target), ancestor=ancestor, data=photos, run=quiet())
    # A pico has 4 x 4 patches, and the last maps have one place: they are resized.
    small = {"model": "vit_pico", "depth": 2, "width": 16, "heads": 2}
    gene = gl.condense(method_of("tleg", target=target, **small), ancestor=ancestor, data=photos, run=quiet())
    assert gene.architecture == "vit"
    gene = gl.condense(method_of("auto", target=target), ancestor=ancestor, data=photos, run=quiet())
    assert gene.inherit(classes=3).network.spec.classes == 3
    gene = gl.condense(method_of("distil", target=target), ancestor=ancestor, data=photos, run=quiet())
    child = gene.inherit(classes=pico.classes)
    result = train(
        child.network, pico, TrainSettings(**SHORT), objective=build_gene_objective(gene, child.network), run=quiet()
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
def test_forms_of_vits(changes, target, photos, pico):
    classes = pico.classes if changes.get("num_classes") else ()
    ancestor = backbone(vit(**changes), classes, changes.get("img_size", 32), changes.get("in_chans", 3))
    gene = gl.condense(method_of("tleg", target=target, depth=2), ancestor=ancestor, data=photos, run=quiet())
    assert gene.classes is None
    small = {"model": "vit_pico", "depth": 2, "width": 16, "heads": 2}
    gene = gl.condense(method_of("tleg", target=target, **small), ancestor=ancestor, data=photos, run=quiet())
    assert gene.spec.classes == 0
    child = gene.inherit(Size(depth=4), classes=2, channels=3, image_size=64)
    assert child.network.logits(torch.rand(1, 3, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize("name", ["distil", "pool", "auto"])
def test_a_clip_backbone_is_a_teacher_alone(name, photos):
    # Its norm before the blocks is a part that no architecture rebuilds.
    clip = backbone(vit(pre_norm=True))
    assert clip.spec is None
    small = {"model": "vit_pico", "depth": 2, "width": 16, "heads": 2}
    gene = gl.condense(method_of("tleg", target="features", **small), ancestor=clip, data=photos, run=quiet())
    assert gene.classes is None
    with pytest.raises(gl.GermlineError):
        gl.condense(method_of(name, target="features"), ancestor=clip, data=photos, run=quiet())


class OwnBackbone(nn.Module):
    """A user's module: pooled features, no head, no function of timm."""

    num_classes = 0

    def __init__(self, bad=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, 8)
        self.bad = bad

    def forward(self, images):
        features = self.conv(images).mean((2, 3))
        return features * float("nan") if self.bad else features


def test_a_module_of_ones_own_gives_pooled_features(photos):
    small = {"model": "vit_pico", "depth": 2, "width": 16, "heads": 2}
    ancestor = backbone(OwnBackbone())
    gene = gl.condense(method_of("tleg", target="features", **small), ancestor=ancestor, data=photos, run=quiet())
    assert gene.provenance.metrics["loss of features (train)"] < 2
    for model, target, said in (
        (OwnBackbone(), "tokens", "cannot be read"),
        (OwnBackbone(bad=True), "features", "not finite"),
    ):
        with pytest.raises(gl.GermlineError, match=said):
            gl.condense(method_of("tleg", target=target, **small), ancestor=backbone(model), data=photos, run=quiet())


def test_a_gene_of_features_says_that_it_needs_classes(bare, photos):
    gene = gl.condense(method_of("tleg", target="features"), ancestor=bare, data=photos, run=quiet())
    with pytest.raises(gl.GermlineError, match="gene has no head"):
        gene.inherit()
    assert gene.inherit(classes=("cat", "dog")).network.classes == ("cat", "dog")


def test_a_pool_of_features_has_no_best_path_below_a_cap(bare, photos):
    gene = gl.condense(method_of("pool", target="features"), ancestor=bare, data=photos, run=quiet())
    assert "paths" not in gene.provenance.record
    with pytest.raises(gl.GermlineError, match="no path was validated"):
        gene.inherit(Size(max_params=10_000), classes=2)
    assert gene.inherit(Size(width=8), classes=2).network.spec.width == 8


def test_the_maps_are_thrown_away_and_training_resumes(bare, photos, tmp_path):
    method = method_of("tleg", target="tokens", steps=4, checkpoint_every=2)
    whole = gl.condense(method, ancestor=bare, data=photos, run=Run(tmp_path / "run", quiet=True))
    again = gl.condense(method, ancestor=bare, data=photos, run=Run(tmp_path / "run", quiet=True))
    plain = gl.condense(method, ancestor=bare, data=photos, run=quiet())
    for other in (again, plain):
        assert other.tensors.keys() == whole.tensors.keys()
        assert all(torch.equal(tensor, whole.tensors[key]) for key, tensor in other.tensors.items())
    assert not [key for key in whole.tensors if "maps" in key]


def test_a_dump_without_features_is_as_before():
    for name, settings in METHOD_SETTINGS.items():
        assert not {"target", "feature_loss"} & METHODS[name](**settings).model_dump().keys()
        dump = METHODS[name](**settings, target="tokens", feature_loss="mse").model_dump(mode="json")
        assert (dump["target"], dump["feature_loss"]) == ("tokens", "mse")
        assert METHODS[name].model_validate(dump) == METHODS[name](**settings, target="tokens", feature_loss="mse")
    assert METHODS["tleg"](preset="tiny").model_dump()["preset"] == "tiny"
    assert "preset" not in METHODS["tleg"]().model_dump()


def test_the_loss_of_distil_is_labels_and_features(bare, pico):
    gene = gl.condense(method_of("distil", target="features"), ancestor=bare, data=pico, run=quiet())
    child = gene.inherit(classes=pico.classes)
    objective = build_gene_objective(gene, child.network)
    assert isinstance(objective, FeatureDistillation)
    assert (objective.with_labels, objective.alpha, list(objective.maps)) == (True, 0.5, ["16"])


def test_tokens_are_read_after_the_norm_or_from_the_last_maps(bare, pico):
    assert find_token_module(bare.spec) == "norm"
    spec = convolutional("resnet18_x025", pico).spec
    assert find_token_module(spec) == RESNET.feature_names(spec)[-1]
