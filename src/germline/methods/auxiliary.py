"""Base class of methods whose gene is the learnt tensors of one auxiliary network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from germline.architectures import Preprocess, Size, Spec, count_elements, on_meta_device
from germline.data import DataSet
from germline.errors import DataError, SettingError
from germline.learngene import Learngene
from germline.methods.base import GeneCost, Method, training_flops
from germline.methods.checks import label_mismatch_error
from germline.methods.feature_targets import TargetSettings, find_token_module
from germline.methods.generated_network import GeneratedNetwork
from germline.methods.presets import PresetSettings
from germline.methods.provenance import make_provenance
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.registry import architecture_of, model_spec
from germline.training import CrossEntropy, Distillation, FitResult, Objective, Run, TrainSettings
from germline.training.objectives import Forward
from germline.traits import AncestorUse


class AuxiliaryMethod(PresetSettings, TargetSettings, Method, TrainSettings):
    """A method that trains one auxiliary network, whose tensors are functions of the gene.

    The auxiliary network is distilled from the ancestor, or trained from labels. With features or tokens as target, it
    has no head. Subclasses say how its tensors are generated, and how descendants are built.

    Attributes:
        model: Preset or timm name that gives the auxiliary network's spec; None uses the ancestor's.
        depth: Number of blocks of the auxiliary network; None uses the model's.
        width: Token length; None uses the model's.
        heads: Attention heads; None uses the model's.
        distillation: Target: the teacher's distribution (`soft`), its first choice (`hard`), or labels alone (`none`).
        alpha: Weight of the teacher against the labels; 1 needs no labels.
        temperature: Temperature of the `soft` target.
        reduction: `batchmean`, or `legacy_numel` as in the public code.
        uniform_reason: Why other architectures are refused, for a message.
    """

    ancestor: ClassVar[AncestorUse] = "optional"
    uniform_reason: ClassVar[str] = "its gene needs blocks of one shape"

    model: str | None = None
    depth: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    heads: int | None = Field(default=None, ge=1)
    distillation: Literal["soft", "hard", "none"] = "soft"
    alpha: float = Field(default=1.0, ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    reduction: Literal["batchmean", "legacy_numel"] = "batchmean"

    @model_validator(mode="after")
    def _features_have_no_labels(self) -> Self:
        if self.target != "logits" and (self.distillation == "none" or self.alpha < 1):
            odd = "distillation=none" if self.distillation == "none" else f"alpha={self.alpha}"
            raise ValueError(f"target={self.target} with {odd}: without a head no labels are learnt, remove it")
        return self

    def build_auxiliary(self, spec: Spec) -> GeneratedNetwork:
        """Build the auxiliary network, freshly initialised by the global generator."""
        raise NotImplementedError

    def check_auxiliary(self, spec: Spec) -> None:
        """Refuse a spec of the auxiliary network that the settings do not fit.

        Raises:
            SettingError: Names the setting.
        """

    def auxiliary_size(self) -> Size:
        """Return the size of the auxiliary network, as far as it is set."""
        sizes = {"depth": self.depth, "width": self.width, "heads": self.heads}
        return Size(**{key: size for key, size in sizes.items() if size is not None})

    def weight_decays(self) -> Mapping[str, float]:
        """Return the weight decay by prefix of parameter name, if different from the settings."""
        return {}

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the spec of the auxiliary network.

        Raises:
            SettingError: Distillation without an ancestor, or a model that cannot be built.
            DataError: The ancestor's label space is not the data's, or labels are needed and missing.
        """
        teacher = self._check_ancestor(ancestor, data)
        spec = self._auxiliary_spec(ancestor, data, self._classes(teacher, data))
        self.check_auxiliary(spec)
        return spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Train the auxiliary network and keep its learnt tensors.

        Raises:
            SettingError: Distillation without an ancestor, or a model that cannot be built.
            DataError: The ancestor's label space is not the data's, or labels are needed and missing.
        """
        spec = self.condense_spec(ancestor, data)
        teacher = self._check_ancestor(ancestor, data)
        classes = self._classes(teacher, data)
        with use_generator(generator(run.seed, self.name, "auxiliary")):
            auxiliary = self.build_auxiliary(spec)
        preprocess = Preprocess.from_images(data.train.sample()).adapt(spec.channels, spec.image_size)
        network = Network(auxiliary, preprocess, classes)
        result = run.fit(
            "auxiliary",
            network,
            self._objective(teacher, spec, auxiliary, run.seed),
            data.train,
            self,
            # Images of other classes can be distilled, but this head cannot be scored with their labels.
            val=data.val if data.train.labels is not None and classes and data.classes == classes else None,
            augmentation=data.augmentation,
            decays=self.weight_decays(),
        )
        return Learngene(
            method=self.name,
            settings=self.model_dump(mode="json"),
            architecture=architecture_of(spec).name,
            spec=spec,
            tensors=auxiliary.gene_tensors(),
            preprocess=network.preprocess,
            classes=classes or None,
            provenance=make_provenance(ancestor, data, run, [result], self._metrics(result)),
        )

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Count one training; the learnt tensors of the auxiliary network are stored."""
        samples = self.total_samples(images)
        flops = training_flops(spec) + (teacher_flops if self._is_distilled else 0)
        return GeneCost(samples, samples * flops, _count_stored(self, spec))

    @property
    def _is_distilled(self) -> bool:
        return self.distillation != "none" and self.alpha > 0

    def _check_ancestor(self, ancestor: Network | None, data: DataSet) -> Network | None:
        if data.train.labels is None and (self.distillation == "none" or self.alpha < 1):
            raise DataError(
                f"'{data.name}' has no labels", "there is nothing to learn from", "set alpha=1 to distil without labels"
            )
        if not self._is_distilled:
            return None
        if ancestor is None:
            raise SettingError(
                f"distillation={self.distillation} without an ancestor",
                "distillation needs a teacher",
                "pass --ancestor, or set distillation=none to learn from labels",
            )
        self.check_target(self.name, ancestor)
        if data.train.labels is not None and ancestor.classes != data.classes and self.alpha < 1:
            raise label_mismatch_error(ancestor, data)
        return ancestor

    def _auxiliary_spec(self, ancestor: Network | None, data: DataSet, classes: tuple[str, ...]) -> Spec:
        channels, side = data.train.channels, data.train.side
        if self.model is not None:
            spec = model_spec(self.model, image_size=side, channels=channels, classes=len(classes))
        elif ancestor is None or ancestor.spec is None:
            raise SettingError(
                "the auxiliary network's spec is unknown",
                "there is no ancestor of a known architecture to take it from",
                "set model, for example --set model=vit_pico",
            )
        else:
            spec = ancestor.spec
        family = architecture_of(spec).name
        if family not in self.architectures:
            raise SettingError(
                f"the method {self.name} cannot condense in a {family}",
                self.uniform_reason,
                "set model, for example --set model=vit_pico; any classifier can be the ancestor then",
            )
        spec = architecture_of(spec).resize(spec, self.auxiliary_size())
        form: Spec = spec.model_copy(update={"classes": len(classes), "drop_path": self.drop_path})
        return form

    def _classes(self, teacher: Network | None, data: DataSet) -> tuple[str, ...]:
        """Return the classes of the auxiliary network's head; none without a head."""
        if self.target != "logits":
            return ()
        return data.classes if teacher is None else teacher.classes

    def _metrics(self, result: FitResult) -> dict[str, float]:
        if self.target != "logits":
            return {f"loss of {self.target} (train)": result.losses[-1][1]} if result.losses else {}
        return {"auxiliary accuracy (val)": result.accuracy} if result.scores else {}

    def _objective(self, teacher: Network | None, spec: Spec, auxiliary: GeneratedNetwork, seed: int) -> Objective:
        if teacher is None or self.distillation == "none":
            return CrossEntropy(self.label_smoothing)
        if self.target != "logits":
            read = None
            if self.target == "tokens":

                def read(network: Forward, pixels: Tensor) -> tuple[Tensor, Tensor]:
                    return auxiliary.extract(network, pixels, find_token_module(spec))

            width = spec.model_dump()["width"]
            return self.feature_objective(teacher, [width], spec, generator(seed, self.name, "feature map"), read)
        return Distillation(
            teacher,
            kind=self.distillation,
            alpha=self.alpha,
            temperature=self.temperature,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


@lru_cache(maxsize=64)  # a comparison asks for the same few specs again and again
def _count_stored(method: AuxiliaryMethod, spec: Spec) -> dict[str, int]:
    """Count the elements of each learnt tensor of the auxiliary network."""
    with on_meta_device():
        return count_elements(method.build_auxiliary(spec))
