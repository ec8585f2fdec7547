"""Learngene Pool: small models distilled from one ancestor, stitched into a family of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from germline.architectures import Preprocess, Spec, VitSpec
from germline.data import DataSet
from germline.errors import SettingError
from germline.methods.checks import label_mismatch_error
from germline.methods.feature_targets import TargetSettings
from germline.methods.pool.auxiliary_models import (
    LAST_TOKENS,
    AuxiliaryDistillation,
    AuxiliaryModels,
    LabelLoss,
    Losses,
    MatchedFeatures,
    Positions,
)
from germline.methods.pool.base import Pooled
from germline.methods.pool.build import Instances, create_auxiliary_models, measure_accuracy
from germline.methods.pool.presets import POOL_PRESETS
from germline.methods.pool.sizes import PathSpecs
from germline.methods.pool.stitching import StitchInit, copy_affine
from germline.methods.presets import Presets
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.training import Objective, Run, TrainSettings

_DENSE: Positions = "front,mid,end"
_SPARSE: Positions = "end"


class Pool(TargetSettings, Pooled):
    """Learngene Pool (arXiv 2312.05743): blocks of distilled auxiliary models, and stitches between them.

    All auxiliary models are distilled in one pass over the images; the ancestor sees each image once. Matrices that
    map its hidden maps to theirs are trained together with the models. Their transposes initialise the stitches.
    Then the pool is trained, one path per step. With features or tokens as target, their loss replaces those of labels
    and logits in both trainings, and the models have no heads.

    Source: "Learngene Pool", AAAI 2024, arXiv 2312.05743. There are five departures from its public code. The matrices
    are trained, which the PyTorch code forgets. The final norm is applied on every path. Stitches begin with bias 0.
    Losses are divided by the batch (`reduction`). All auxiliary models are trained in one pass.

    Attributes:
        preset: Values of settings that are not given. `paper6` and `paper9` are the paper's with 6 or 9 blocks. `lab`
            is for small images, `tiny` for tests.
        init: Initialisation of the stitches: from the trained matrices by `transpose` (the paper) or `pinv`; by
            `least-squares`, or `random`.
        instances: Training of the auxiliary models: `distilled`, or from labels alone (`scratch`, an ablation of the
            paper).
        losses: Distilled outputs: `logits` or the `target`, hidden maps too (`logits+rep`), and attention outputs
            (`all`).
        positions: Blocks of each auxiliary model whose hidden maps and attention outputs match the ancestor's; None is
            `end` for the widest and `front,mid,end` for others.
        alpha: Weight of the labels against the teacher in distillation. The paper has 0.1 with `all` and 0.5 with the
            other two. The choice of `losses` does not change it. It is 0 with features or tokens, and `teach` is 1.
        rates: Learning rate of each auxiliary model in distillation, as a multiple of `distil.lr`; None is 1 for all.
        distil: Training of the auxiliary models, without evaluation during training.
    """

    name: ClassVar[str] = "pool"
    paper: ClassVar[str] = "arXiv 2312.05743"
    presets: ClassVar[Presets] = POOL_PRESETS

    preset: Literal["paper6", "paper9", "lab", "tiny"] = "lab"
    init: StitchInit = "transpose"
    instances: Literal["distilled", "scratch"] = "distilled"
    losses: Losses = "all"
    positions: tuple[Positions, ...] | None = None
    alpha: float = Field(default=0.1, ge=0, le=1)
    rates: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    distil: TrainSettings = TrainSettings()

    @model_validator(mode="before")
    @classmethod
    def _leave_out_labels(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("target", "logits") != "logits":
            return {"alpha": 0.0, "teach": 1.0, **given}
        return given

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        needed = {"alpha": (self.alpha, 0), "teach": (self.teach, 1), "instances": (self.instances, "distilled")}
        for name, (value, only) in needed.items() if self.target != "logits" else ():
            if value != only:
                raise ValueError(f"target={self.target} with {name}={value}: no labels are learnt, set {name}={only}")
        for name, given in (("positions", self.positions), ("rates", self.rates)):
            if given is not None and len(given) != len(self.widths):
                raise ValueError(f"{name}={list(given)}: give as many as widths")
        if self.init in ("transpose", "pinv") and (self.instances == "scratch" or self.losses == "logits"):
            odd = "instances=scratch" if self.instances == "scratch" else "losses=logits"
            raise ValueError(f"init={self.init} with {odd}: no matrices are trained, set init=least-squares or random")
        if self.distil.cache_teacher and self.losses != "logits":
            raise ValueError(
                f"distil.cache_teacher with losses={self.losses}: hidden maps are not saved, set losses=logits"
            )
        return self

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec with the size of the widest auxiliary model.

        Raises:
            SettingError: The ancestor is missing or no plain ViT, or heads do not divide a width.
            DataError: The data have no labels, or other classes than the ancestor.
        """
        if ancestor is None:
            raise SettingError(
                f"the method {self.name} without an ancestor",
                "its auxiliary models are distilled from it",
                "pass --ancestor",
            )
        if not isinstance(ancestor.spec, VitSpec):
            raise self._no_vit(ancestor.spec, "give a plain timm ViT as ancestor")
        self.check_target(self.name, ancestor)
        if self.target != "logits":
            return self._widest(ancestor.spec, data)
        self._check_labels(data)
        if ancestor.classes != data.classes:
            raise label_mismatch_error(ancestor, data)
        return self._widest(ancestor.spec, data)

    def _head_classes(self, data: DataSet) -> tuple[str, ...]:
        return data.classes if self.target == "logits" else ()

    def _instances(
        self, ancestor: Network | None, data: DataSet, run: Run, forms: PathSpecs, preprocess: Preprocess
    ) -> Instances:
        follows = {} if self.instances == "scratch" or ancestor is None else self._follows(forms, ancestor)
        objective = self._objective(ancestor, follows, forms, run)
        models = create_auxiliary_models(self.name, forms, self.distil, run.seed)
        more = (LAST_TOKENS,) if self.target == "tokens" else ()
        together = AuxiliaryModels(models, {width: (*one.taps, *more) for width, one in follows.items()})
        classes = self._head_classes(data)
        result = run.fit(
            "auxiliaries",
            Network(together, preprocess, classes),
            objective,
            data.train,
            self.distil,
            augmentation=data.augmentation,
            decays={"matrices.": 0.0},
            rates=self._factors(),
        )
        distillation = objective if isinstance(objective, AuxiliaryDistillation) else None
        matrices: Any = distillation.matrices if distillation else {}
        return Instances(
            models,
            [result],
            {
                f"auxiliary model {width} (val)": measure_accuracy(Network(model, preprocess, classes), data.val, run)
                for width, model in models.items()
                if classes
            },
            {width: [copy_affine(layer) for layer in matrices[str(width)]["hidden"]] for width in follows},
            distillation.last if distillation else None,
        )

    def _factors(self) -> dict[str, float]:
        """Return the factor of the learning rate by name prefix; a model and its matrices share it."""
        given = dict(zip(self.widths, self.rates or (), strict=self.rates is not None))
        return {f"{kind}.{width}.": rate for width, rate in given.items() for kind in ("students", "matrices")}

    def _follows(self, forms: PathSpecs, ancestor: Network) -> dict[int, MatchedFeatures]:
        where, ancestor_spec = self.positions or (*(_DENSE for _ in self.widths[1:]), _SPARSE), ancestor.spec
        assert isinstance(ancestor_spec, VitSpec)  # noqa: S101 - `condense_spec` refuses all other specs
        return {
            width: MatchedFeatures.at(which, self.losses, forms.models[width], ancestor_spec)
            for width, which in zip(self.widths, where, strict=True)
        }

    def _objective(
        self, ancestor: Network | None, follows: Mapping[int, MatchedFeatures], forms: PathSpecs, run: Run
    ) -> Objective:
        if ancestor is None or not follows:
            return LabelLoss(self.distil.label_smoothing)
        ancestor_spec: Any = ancestor.spec
        matrices = {}
        for width, one in follows.items():
            with use_generator(generator(run.seed, self.name, "matrices", width)):
                matrices[width] = one.matrices(width, ancestor_spec.width)
        last = None
        if self.target != "logits":
            source = generator(run.seed, self.name, "feature maps")
            last = self.feature_objective(ancestor, self.widths, forms.models[self.widths[-1]], source)
        return AuxiliaryDistillation(
            ancestor,
            follows,
            matrices,
            alpha=self.alpha,
            temperature=self.temperature,
            reduction=self.reduction,
            label_smoothing=self.distil.label_smoothing,
            last=last,
        )

    def _instance_samples(self, images: int) -> int:
        """Count the samples of the one pass for all models."""
        return self.distil.total_samples(images)

    def _instance_flops(self, forms: PathSpecs, images: int, teacher_flops: int) -> int:
        teacher = teacher_flops if self.instances == "distilled" else 0
        return self._instance_samples(images) * (3 * sum(forms.model_flops().values()) + teacher)
