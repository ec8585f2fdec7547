"""SN-Net: independently trained anchors, stitched into a family of sizes."""

from __future__ import annotations

from typing import ClassVar, Literal

from germline.architectures import Preprocess, Spec, VitSpec
from germline.data import DataSet
from germline.errors import SettingError
from germline.methods.checks import label_mismatch_error
from germline.methods.pool.base import Pooled
from germline.methods.pool.build import Instances, create_auxiliary_models
from germline.methods.pool.presets import SNNET_PRESETS
from germline.methods.pool.sizes import PathSpecs
from germline.methods.presets import Presets
from germline.network import Network
from germline.registry import model_spec
from germline.training import CrossEntropy, Run, TrainSettings
from germline.traits import AncestorUse


class SNNet(Pooled):
    """SN-Net (arXiv 2302.06586): independently trained anchors and stitches between neighbouring widths.

    Each anchor is trained from labels, by itself. Least squares on a few images initialises the stitches. Then the
    pool is trained, one path per step. The ancestor gives the spec if no `model` is given. It is also the teacher of
    that last training.

    Source: Pan, Cai and Zhuang, "Stitchable Neural Networks", CVPR 2023, arXiv 2302.06586. There are two departures.
    The final norm is applied on every path; the public code leaves it out on stitched paths. The window rule, path
    sampling, stitches with bias and least squares are those of `pool`. So the two methods differ only in their
    instances.

    Attributes:
        preset: Values of settings that are not given: SN-Net's three models of 12 blocks (`paper`, 71 paths), or
            values that match the presets of `pool`.
        model: Preset or timm name of the ViT that gives the anchors' spec except their size; None uses the ancestor.
        init: Initialisation of the stitches.
        anchor: Training of each anchor.
    """

    name: ClassVar[str] = "snnet"
    paper: ClassVar[str] = "arXiv 2302.06586"
    ancestor: ClassVar[AncestorUse] = "optional"
    presets: ClassVar[Presets] = SNNET_PRESETS

    preset: Literal["paper", "paper6", "paper9", "lab", "tiny"] = "lab"
    model: str | None = None
    init: Literal["least-squares", "random"] = "least-squares"
    anchor: TrainSettings = TrainSettings()

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the spec of the widest anchor.

        Raises:
            SettingError: The teacher or spec is missing, the spec is no plain ViT, or heads do not divide a width.
            DataError: The data have no labels, or the teacher has other classes.
        """
        self._check_labels(data)
        if self.teach:
            self._check_teacher(ancestor, data)
        if self.model is not None:
            images = data.train
            size = {"image_size": images.side, "channels": images.channels, "classes": len(data.classes)}
            spec: Spec | None = model_spec(self.model, **size)
        else:
            spec = None if ancestor is None else ancestor.spec
        if not isinstance(spec, VitSpec):
            raise self._no_vit(spec, "set model, for example --set model=vit_pico")
        return self._widest(spec, data)

    def _check_teacher(self, ancestor: Network | None, data: DataSet) -> None:
        if ancestor is None:
            raise SettingError(
                f"teach={self.teach} without an ancestor",
                "fine-tuning has no teacher",
                "pass --ancestor, or set teach=0 to learn from labels",
            )
        if not ancestor.has_head:
            raise SettingError(
                "The ancestor has no head, so its outputs are features",
                f"Fine-tuning with teach={self.teach} learns from logits of classes",
                "Set teach=0, or give an ancestor with a head",
            )
        if ancestor.classes != data.classes:
            raise label_mismatch_error(ancestor, data)

    def _instances(
        self, ancestor: Network | None, data: DataSet, run: Run, forms: PathSpecs, preprocess: Preprocess
    ) -> Instances:
        models, results = create_auxiliary_models(self.name, forms, self.anchor, run.seed), []
        for width, model in models.items():
            results.append(
                run.fit(
                    f"anchor-{width}",
                    Network(model, preprocess, data.classes),
                    CrossEntropy(self.anchor.label_smoothing),
                    data.train,
                    self.anchor,
                    val=data.val,
                    augmentation=data.augmentation,
                )
            )
        metrics = {f"anchor {width} (val)": one.accuracy for width, one in zip(models, results, strict=True)}
        return Instances(models, results, metrics, {})

    def _instance_samples(self, images: int) -> int:
        """Count the samples of all anchors."""
        return len(self.widths) * self.anchor.total_samples(images)

    def _instance_flops(self, forms: PathSpecs, images: int, teacher_flops: int) -> int:
        return self.anchor.total_samples(images) * 3 * sum(forms.model_flops().values())
