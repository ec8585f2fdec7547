"""The setting `target` of methods that learn from an ancestor: its logits, its pooled features or its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch

from germline.architectures import Spec, TransformerSpec
from germline.errors import SettingError
from germline.network import Network
from germline.registry import architecture_of
from germline.training import FeatureDistillation
from germline.training.feature_distillation import FeatureKind, FeatureLoss, FeatureReader, measure_feature_width
from germline.training.stable_dump import StableDump


class TargetSettings(StableDump):
    """Settings of what is learnt from the ancestor.

    Attributes:
        target: What is learnt from the ancestor: its `logits`, its pooled `features`, or its patch `tokens`. The last
            two need no head of the ancestor.
        feature_loss: Loss of features and tokens: 1 - `cosine` similarity, or `mse` from features after a layer norm.
    """

    omitted: ClassVar[Mapping[str, Any]] = {"target": "logits", "feature_loss": "cosine"}

    target: Literal["logits", "features", "tokens"] = "logits"
    feature_loss: FeatureLoss = "cosine"

    def feature_kind(self) -> FeatureKind | None:
        """Return the kind of features that are learnt; None for logits."""
        return None if self.target == "logits" else self.target

    def check_target(self, method: str, ancestor: Network) -> None:
        """Refuse an ancestor that does not have the target.

        Raises:
            SettingError: The target is logits, and the ancestor has no head.
            ArtefactError: The ancestor's features cannot be read.
        """
        kind = self.feature_kind()
        if kind is not None:
            measure_feature_width(ancestor, kind)
        elif not ancestor.has_head:
            raise SettingError(
                "The ancestor has no head, so its outputs are features",
                f"Method '{method}' with target=logits learns from logits of classes",
                "Set target=features or target=tokens",
            )

    def feature_objective(
        self,
        teacher: Network,
        widths: Sequence[int],
        spec: Spec,
        source: torch.Generator,
        read: FeatureReader | None = None,
        **more: Any,
    ) -> FeatureDistillation:
        """Build the loss of features or tokens.

        Args:
            teacher: The ancestor.
            widths: Widths of the student's features.
            spec: Spec of the student, which gives the number of its tokens that are not of patches.
            source: Random generator of the maps.
            read: Function that reads the student; None for a student whose outputs are its features.
            more: Further arguments of `FeatureDistillation`.
        """
        kind = self.feature_kind()
        assert kind is not None  # noqa: S101 - callers ask only with features or tokens
        prefix = spec.prefix_tokens if isinstance(spec, TransformerSpec) else 0
        return FeatureDistillation(
            teacher, widths, kind=kind, loss=self.feature_loss, source=source, prefix=prefix, read=read, **more
        )


def find_token_module(spec: Spec) -> str:
    """Return the name of the module whose output is a network's last tokens, after the norm, or its last maps."""
    name: str = "norm" if isinstance(spec, TransformerSpec) else architecture_of(spec).feature_names(spec)[-1]
    return name
