"""TLEG: a Transformer of any depth as the linear expansion of two blocks."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from germline.architectures import Preprocess, Size, Spec, Target, count_elements, on_meta_device
from germline.data import DataSet
from germline.errors import DataError, SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Origin
from germline.methods.assembly import build_descendant
from germline.methods.base import GeneCost, Method, training_flops
from germline.methods.checks import label_mismatch_error
from germline.methods.feature_targets import TargetSettings, find_token_module
from germline.methods.presets import Presets, PresetSettings
from germline.methods.provenance import make_provenance
from germline.methods.tleg.expansion import CoefficientGrid, ExpandedNetwork, block_positions, expand_blocks
from germline.methods.tleg.presets import PRESETS
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.registry import architecture_of, model_spec
from germline.training import CrossEntropy, Distillation, FitResult, Objective, Run, TrainSettings
from germline.training.objectives import Forward
from germline.traits import AncestorUse, Sizes


class TLEG(PresetSettings, TargetSettings, Method, TrainSettings):
    """TLEG (arXiv 2312.05614): block l of L is offset + (l/L) x slope.

    All blocks of an auxiliary network lie on that line. It is distilled from the ancestor. Its two blocks, stem,
    positions, norm and head are the gene. A descendant of any depth evaluates the line at its own blocks. It is then
    trained without the constraint. With features or tokens as target, the auxiliary network has no head.

    Source: Xia et al., "Transformer as Linear Expansion of Learngene", AAAI 2024, arXiv 2312.05614. There are
    three departures from its public code. The loss is divided by the batch, not by batch x classes (`reduction`). The
    final norm is before pooling in auxiliary network and descendant alike. So a descendant of the auxiliary depth
    computes the same function. All norms have eps 1e-6. `segments` and `slopes` give the stage-wise sharing of arXiv
    2404.16897.

    Attributes:
        preset: Values of settings that are not given: `paper`, `lab` (small networks) or `tiny` (tests); None is the
            default of each setting.
        model: Preset or timm name that gives the auxiliary network's spec; None uses the ancestor's.
        depth: Number of blocks of the auxiliary network; None uses the model's.
        width: Token length; None uses the model's.
        heads: Attention heads; None uses the model's.
        grid: Coefficient of block l of L: l/L (`zero`, the public code), (l+1)/L (`one`), l/(L-1) (`closed`).
        segments: Blocks of each straight piece, adding up to the depth; None is one piece, as in the paper.
        slopes: Whether blocks have slopes; without them the blocks of a segment are shared.
        distillation: Target: the teacher's distribution (`soft`), its first choice (`hard`), or labels alone (`none`).
        alpha: Weight of the teacher against the labels; 1 needs no labels.
        temperature: Temperature of the `soft` target.
        reduction: `batchmean`, or `legacy_numel` as in the public code.
        slope_weight_decay: Weight decay of the slopes; None uses `weight_decay`.
    """

    name: ClassVar[str] = "tleg"
    paper: ClassVar[str] = "arXiv 2312.05614"
    ancestor: ClassVar[AncestorUse] = "optional"
    presets: ClassVar[Presets] = PRESETS

    preset: Literal["paper", "lab", "tiny"] | None = None
    model: str | None = None
    depth: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    heads: int | None = Field(default=None, ge=1)
    grid: CoefficientGrid = "zero"
    segments: tuple[int, ...] | None = None
    slopes: bool = True
    distillation: Literal["soft", "hard", "none"] = "soft"
    alpha: float = Field(default=1.0, ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    reduction: Literal["batchmean", "legacy_numel"] = "batchmean"
    slope_weight_decay: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _features_have_no_labels(self) -> Self:
        if self.target != "logits" and (self.distillation == "none" or self.alpha < 1):
            odd = "distillation=none" if self.distillation == "none" else f"alpha={self.alpha}"
            raise ValueError(f"target={self.target} with {odd}: without a head no labels are learnt, remove it")
        return self

    @property
    def _is_distilled(self) -> bool:
        return self.distillation != "none" and self.alpha > 0

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the spec of the auxiliary network.

        Raises:
            SettingError: Distillation without an ancestor, or a model that cannot be built.
            DataError: The ancestor's label space is not the data's, or labels are needed and missing.
        """
        teacher = self._check_ancestor(ancestor, data)
        spec = self._auxiliary_spec(ancestor, data, self._classes(teacher, data))
        self._segments(spec)
        return spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Train the auxiliary network and keep its two blocks and frame.

        Raises:
            SettingError: Distillation without an ancestor, or a model that cannot be built.
            DataError: The ancestor's label space is not the data's, or labels are needed and missing.
        """
        spec = self.condense_spec(ancestor, data)
        teacher = self._check_ancestor(ancestor, data)
        classes = self._classes(teacher, data)
        architecture = architecture_of(spec)
        segments = self._segments(spec)
        with use_generator(generator(run.seed, "tleg", "auxiliary")):
            auxiliary = ExpandedNetwork(architecture, spec, segments, self.grid, slopes=self.slopes)
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
            decays={} if self.slope_weight_decay is None else {"slope": self.slope_weight_decay},
        )
        return Learngene(
            method=self.name,
            settings=self.model_dump(mode="json"),
            architecture=architecture.name,
            spec=spec,
            tensors=_gene_tensors(auxiliary),
            preprocess=network.preprocess,
            classes=classes or None,
            provenance=make_provenance(ancestor, data, run, [result], self._metrics(result)),
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Evaluate the lines at the target's blocks.

        The frame is copied, resized or adapted. The head is copied or initialised.
        """
        parts = architecture_of(target.spec).parts(target.spec)
        places = block_positions(len(parts.blocks), self._segments(gene.spec), self.grid)
        grown = expand_blocks(gene.tensors, parts.blocks, places)
        frame = {name.removeprefix("frame."): tensor for name, tensor in gene.tensors.items()}
        # A block without a slope equals its segment's block to the bit.
        origin: Origin = "expanded" if self.slopes else "copied"
        blocks = {name: (tensor, origin) for name, tensor in grown.items()}
        return build_descendant(gene, target, frame=frame, blocks=blocks, generator=generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Describe the sizes: any depth from the number of segments."""
        fields = spec.model_dump()
        least = len(self._segments(spec))
        return Sizes(f"depth={least} or more, at width={fields['width']},heads={fields['heads']}")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse another width or other heads, and a depth below the number of segments."""
        own, wanted = gene.spec.model_dump(), spec.model_dump()
        for key in ("width", "heads"):
            if own[key] != wanted[key]:
                raise SettingError(
                    f"this gene cannot grow {key}={wanted[key]}",
                    f"linear expansion changes the depth alone, its {key} is {own[key]}",
                    f"remove {key} from the size",
                )
        least = len(self._segments(gene.spec))
        if wanted["depth"] < least:
            raise SettingError(
                f"this gene cannot grow depth={wanted['depth']}",
                f"it has {least} segments, each with at least one block",
                f"choose depth={least} or more",
            )

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Count one training; two blocks per segment (one without slopes) and the frame are stored."""
        samples = self.total_samples(images)
        flops = training_flops(spec) + (teacher_flops if self._is_distilled else 0)
        stored = _count_stored(spec, tuple(self._segments(spec)), self.slopes)
        return GeneCost(samples, samples * flops, stored)

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
                "linear expansion needs blocks of one shape",
                "set model, for example --set model=vit_pico; any classifier can be the ancestor then",
            )
        sizes = {"depth": self.depth, "width": self.width, "heads": self.heads}
        spec = architecture_of(spec).resize(
            spec, Size(**{key: size for key, size in sizes.items() if size is not None})
        )
        form: Spec = spec.model_copy(update={"classes": len(classes), "drop_path": self.drop_path})
        return form

    def _segments(self, spec: Spec) -> tuple[int, ...]:
        depth = spec.model_dump()["depth"]
        segments = self.segments or (depth,)
        if sum(segments) != depth or min(segments) < 1:
            reason = f"their blocks add up to {sum(segments)}, not to depth={depth}"
            if self.presets.get(str(self.preset), {}).get("segments") == segments:
                reason += f", and the preset {self.preset} sets them"
            raise SettingError(f"segments={segments}", reason, "give the blocks of each segment, at least one")
        return segments

    def _classes(self, teacher: Network | None, data: DataSet) -> tuple[str, ...]:
        """Return the classes of the auxiliary network's head; none without a head."""
        if self.target != "logits":
            return ()
        return data.classes if teacher is None else teacher.classes

    def _metrics(self, result: FitResult) -> dict[str, float]:
        if self.target != "logits":
            return {f"loss of {self.target} (train)": result.losses[-1][1]} if result.losses else {}
        return {"auxiliary accuracy (val)": result.accuracy} if result.scores else {}

    def _objective(self, teacher: Network | None, spec: Spec, auxiliary: ExpandedNetwork, seed: int) -> Objective:
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


def _gene_tensors(auxiliary: ExpandedNetwork) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in auxiliary.state_dict().items()}


@lru_cache(maxsize=64)  # a comparison asks for the same few specs again and again
def _count_stored(spec: Spec, segments: tuple[int, ...], slopes: bool) -> dict[str, int]:
    """Count the elements of each tensor of the auxiliary network. The grid of coefficients changes no tensor."""
    with on_meta_device():
        return count_elements(ExpandedNetwork(architecture_of(spec), spec, segments, slopes=slopes))
