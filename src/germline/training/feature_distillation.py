"""Distillation of features: a student's features are mapped linearly to those of a frozen teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate, layer_norm, mse_loss

from germline.data import Batch
from germline.errors import ArtefactError
from germline.network import Network
from germline.randomness import use_generator
from germline.training.objectives import Forward, TeacherObjective, compute_label_loss

FeatureKind = Literal["features", "tokens"]
FeatureLoss = Literal["cosine", "mse"]
# Maps a network and pixels [B, C, H, W] in [0, 1] to the network's outputs and its features.
FeatureReader = Callable[[Forward, Tensor], tuple[Tensor, Tensor]]


def read_features(network: Network, pixels: Tensor, kind: FeatureKind) -> Tensor:
    """Read what a network computes just before its head.

    Args:
        network: Network with timm's feature interface. `features` also takes any module without a head.
        pixels: Images [B, C, H, W] in [0, 1].
        kind: `features` for pooled features [B, width]; `tokens` for patch tokens or last maps [B, width, h, w].

    Raises:
        ArtefactError: The network has no such features.
    """
    model: Any = network.model
    images = network.preprocess(pixels)
    if not (hasattr(model, "forward_features") and hasattr(model, "forward_head")):
        outputs = None if kind == "tokens" or network.has_head else model(images)
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            raise ArtefactError(
                f"the {kind} of a {type(model).__name__} cannot be read",
                "it has no timm functions forward_features and forward_head",
                "use a model of timm, or set num_classes=0 on a module that returns features [images, width]",
            )
        return outputs
    inside = model.forward_features(images)
    if kind == "tokens":
        return arrange_tokens(inside, getattr(model, "num_prefix_tokens", 0), model)
    pooled: Tensor = model.forward_head(inside, pre_logits=True)
    return pooled


def arrange_tokens(tokens: Tensor, prefix: int, model: Any = None) -> Tensor:
    """Arrange tokens [B, tokens, width] as maps [B, width, h, w]; maps stay as they are.

    Args:
        tokens: Tokens, or the maps of a CNN.
        prefix: Number of class and register tokens, which are left out.
        model: Network that they are of, which may say that its maps have their channels last.

    Raises:
        ArtefactError: The tokens form no square grid.
    """
    if tokens.ndim == 4:
        is_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")
        return tokens.permute(0, 3, 1, 2) if is_last else tokens
    patches = tokens[:, prefix:] if tokens.ndim == 3 else tokens
    side = math.isqrt(patches.shape[1])
    if tokens.ndim != 3 or side == 0 or side * side != patches.shape[1]:
        raise ArtefactError(
            f"the tokens of shape {tuple(tokens.shape)} form no square grid",
            f"tokens of square images do, after {prefix} class and register tokens",
            "use target=features, which compares pooled features",
        )
    return patches.transpose(1, 2).reshape(len(tokens), -1, side, side)


@torch.no_grad()
def measure_feature_width(network: Network, kind: FeatureKind) -> int:
    """Measure the width of a network's features with one empty image.

    Raises:
        ArtefactError: The network has no such features, or they are not finite.
    """
    parameter = next(network.model.parameters(), torch.zeros(()))
    side, was_training = network.preprocess.image_size, network.model.training
    pixels = torch.zeros(1, network.preprocess.channels, side, side, device=parameter.device)
    network.model.eval()
    features = read_features(network, pixels, kind)
    network.model.train(was_training)
    if not features.is_meta and not bool(torch.isfinite(features).all()):
        raise ArtefactError(
            "the ancestor's features are not finite numbers", "nothing can be learnt from them", "use other weights"
        )
    return int(features.shape[1])


def compute_feature_loss(predicted: Tensor, wanted: Tensor, kind: FeatureLoss) -> Tensor:
    """Compute the mean difference of features over images and places.

    `cosine` is 1 - cosine similarity along the channels, as for the summary features of AM-RADIO (arXiv 2312.06709).
    `mse` is the mean squared difference from the teacher's features after a layer norm without weights. The layer norm
    is that of feature distillation (arXiv 2205.14141) and TinyMIM (arXiv 2301.01296), which take smooth L1. Without it,
    a few channels of large values dominate.

    Args:
        predicted: Mapped features of the student [B, width] or [B, width, h, w].
        wanted: Features of the teacher. Maps of another size are resized bilinearly, as in AM-RADIO.
        kind: Kind of loss.
    """
    predicted, wanted = predicted.float(), wanted.float()
    if predicted.shape[2:] != wanted.shape[2:]:
        size = predicted.shape[2:]
        wanted = interpolate(wanted, size=size, mode="bilinear", align_corners=False, antialias=True)
    if kind == "cosine":
        return 1 - cosine_similarity(predicted, wanted, dim=1).mean()
    last = wanted.movedim(1, -1)
    return mse_loss(predicted.movedim(1, -1), layer_norm(last, last.shape[-1:]))


class FeatureMap(nn.Linear):
    """Linear map of features [B, width] or maps [B, width, h, w] along their channels."""

    def forward(self, features: Tensor) -> Tensor:
        """Map features to the same shape with another width."""
        # Features of lower precision do not have the map's type.
        mapped = super().forward(features.movedim(1, -1).to(self.weight.dtype))
        return mapped.movedim(-1, 1)


class FeatureDistillation(TeacherObjective):
    """Distillation of a teacher's features, for teachers with or without a head.

    The student's features go through a linear map to the teacher's width, which is trained and thrown away. No softmax
    is taken, and no labels are needed unless the labels' loss is added.

    Source: maps and losses of normalised features are those of feature distillation (arXiv 2205.14141), TinyMIM (arXiv
    2301.01296) and AM-RADIO (arXiv 2312.06709). Departure: AM-RADIO's map is an MLP. DINOv2 (arXiv 2304.07193) distils
    by its own self-supervised losses instead, which need heads that are not published with the backbone.

    Attributes:
        maps: Linear maps by the width of the student's features.
    """

    described = ("kind", "feature_loss", "alpha", "with_labels", "label_smoothing")

    def __init__(
        self,
        teacher: Network,
        widths: Sequence[int],
        *,
        kind: FeatureKind,
        loss: FeatureLoss,
        source: torch.Generator,
        prefix: int = 0,
        read: FeatureReader | None = None,
        alpha: float = 1.0,
        with_labels: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        """Draw the maps.

        Args:
            teacher: Network whose features are learnt.
            widths: Widths of the student's features; several for a student of several networks.
            kind: Compared features: pooled ones, or patch tokens.
            loss: Kind of loss.
            source: Random generator of the maps.
            prefix: Number of the student's class and register tokens.
            read: Function that reads the student; None for a student whose outputs are its features.
            alpha: Weight of the features' loss.
            with_labels: Whether the cross entropy of the student's outputs with the labels is added.
            label_smoothing: Label smoothing of that cross entropy.

        Raises:
            ArtefactError: The teacher has no such features.
        """
        super().__init__(teacher)
        self.kind, self.feature_loss, self.alpha = kind, loss, alpha
        self.with_labels, self.label_smoothing = with_labels, label_smoothing
        self._prefix, self._read = prefix, read
        wanted = measure_feature_width(teacher, kind)
        with use_generator(source):
            self.maps = nn.ModuleDict({str(width): FeatureMap(width, wanted) for width in widths})

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Compute the weighted loss; the part of the labels is in nats."""
        wanted = self.recall_teacher(batch)
        if self._read is None:
            outputs = features = network(batch.pixels)
        else:
            outputs, features = self._read(network, batch.pixels)
        loss = self.alpha * self.loss(features, wanted, batch)
        return loss + compute_label_loss(outputs, batch, self.label_smoothing) if self.with_labels else loss

    def describe_outputs(self) -> str:
        """Return the kind of features."""
        return self.kind

    @torch.no_grad()
    def teacher_outputs(self, batch: Batch) -> Tensor:
        """Compute the teacher's features [B, width] or [B, width, h, w]."""
        return read_features(self.teacher, batch.pixels, self.kind)

    def loss(self, outputs: Tensor, teacher_outputs: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a student's features: [B, width], tokens [B, tokens, width] or [B, width, h, w]."""
        features = arrange_tokens(outputs, self._prefix) if self.kind == "tokens" else outputs
        mapped = self.maps[str(features.shape[1])](features)
        return compute_feature_loss(mapped, teacher_outputs, self.feature_loss)
