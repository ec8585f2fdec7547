"""Auto-Learngene: the layers of an ancestor that help a pseudo descendant most."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator

from germline.architectures import Size, Spec, Target, TransformerSpec
from germline.data import DataSet
from germline.errors import DataError, SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.assembly import build_fresh_descendant
from germline.methods.auto.layer_selection import (
    MAX_IMAGES,
    Layer,
    LayerScores,
    LayerUnit,
    SelectionRule,
    choose_layers,
    draw_layers,
    score_label_similarity,
    split_layers,
)
from germline.methods.auto.meta_network import AncestorFeatures, FeatureSpec, MetaForm
from germline.methods.auto.presets import PRESETS
from germline.methods.auto.pseudo_descendant import BilevelSettings, score_layers
from germline.methods.auto.stacking import Placement, check_stem, find_sources, place_blocks, stack_tensors
from germline.methods.base import GeneCost, Method, training_flops
from germline.methods.checks import require_ancestor
from germline.methods.feature_targets import TargetSettings
from germline.methods.presets import Presets, PresetSettings
from germline.methods.provenance import make_provenance
from germline.methods.slicing import check_same_spec, parts_of, shapes_of, stage_depths
from germline.network import Network
from germline.randomness import generator
from germline.registry import architecture_of
from germline.training import Run, TrainSettings
from germline.traits import Sizes, Traits


class Auto(PresetSettings, TargetSettings, Method, TrainSettings):
    """Auto-Learngene (arXiv 2305.02279): the ancestor's layers that help a pseudo descendant most.

    A pseudo descendant learns a held-out task. A meta-network weighs every pair of layers for every image. The weight
    says how strongly the pseudo descendant's maps are pulled to the ancestor's. The meta-network is trained by the
    exact gradient of the held-out loss through a few virtual steps. The layers of the highest weights are the gene. A
    descendant has new layers around them.

    With features or tokens as target, the pseudo descendant learns the ancestor's features in place of labels. An
    ancestor without a head serves every target, since its head is not read.

    Source: arXiv 2305.02279 and its group's public code. docs/methods/auto.md lists the departures.

    Attributes:
        preset: Values of settings that are not given. `lab` is for small CNNs and `lab-vit` for small ViTs. `cnn` and
            `vit` are the paper's search. `vgg9`, `resnet12`, `resnet18`, `vit6`, `deit-first6` and `deit-last3` are its
            fixed choices. `tiny` is for tests.
        target: What the pseudo descendant learns: labels (`logits`), or the ancestor's pooled `features` or patch
            `tokens`, which need no labels.
        select: Selection of layers: by the meta-network (`meta`), by the similarity of features with the labels,
            without training (`cka`), or at `random`, the control.
        layers: Indices of the blocks to keep, in rising order; None selects them.
        rule: Rule of selection: the `keep` highest layers (`top`), all at or above the mean (`threshold`), or `keep`
            neighbours.
        keep: Number of layers to keep.
        taps: Unit of a layer: every block, a stage, or two blocks.
        pseudo_taps: Unit of a layer in the pseudo descendant; None uses `taps`.
        pseudo: Size of the pseudo descendant, where it differs from the ancestor's, such as `depth=11,width=8`.
        meta: Kind of the meta-network.
        inner_steps: Virtual steps on the matching loss, before the one on the labels.
        gamma: Weight of the matching loss in the real step.
        meta_lr: Learning rate of the meta-network.
        meta_weight_decay: Weight decay of the meta-network.
        meta_batch: Number of images in a meta batch and in a held-out batch; None uses `batch_size`.
        batches: Source of meta batches: new ones and held-out images (`separate`), or the literal algorithm (`fixed`).
        held: Share of the task's training images that is held out for the outer loss.
        grid: Height and width to which larger maps are averaged before they are matched; None matches all places.
        frame: Other tensors in a gene of a ViT or `resnet`: none, the `stem`, or the last norm too.
        place: Place of the layers in stages of another depth: relative, or at the same indices.
    """

    name: ClassVar[str] = "auto"
    paper: ClassVar[str] = "arXiv 2305.02279"
    architectures: ClassVar[tuple[str, ...]] = ("vit", "vgg", "resnet12", "resnet")
    traits: ClassVar[Traits] = Traits(roles=("train", "val", "held_out"), inherits_head=False)
    presets: ClassVar[Presets] = PRESETS
    reports: ClassVar[Mapping[str, str]] = {"layers": "germline.methods.auto.report"}

    preset: Literal[
        "lab", "lab-vit", "cnn", "vit", "vgg9", "resnet12", "resnet18", "vit6", "deit-first6", "deit-last3", "tiny"
    ] = "lab"
    select: Literal["meta", "cka", "random"] = "meta"
    layers: tuple[int, ...] | None = None
    rule: SelectionRule = "top"
    keep: int = Field(default=2, ge=1)
    taps: LayerUnit = "blocks"
    pseudo_taps: LayerUnit | None = None
    pseudo: str = ""
    meta: MetaForm = "relu6"
    inner_steps: int = Field(default=5, ge=0)
    gamma: float = Field(default=1.0, ge=0)
    meta_lr: float = Field(default=1e-4, gt=0)
    meta_weight_decay: float = Field(default=1e-4, ge=0)
    meta_batch: int | None = Field(default=None, ge=1)
    batches: Literal["separate", "fixed"] = "separate"
    held: float = Field(default=0.2, gt=0, lt=1)
    grid: int | None = Field(default=None, ge=1)
    frame: Literal["none", "stem", "whole"] = "stem"
    place: Placement = "relative"

    @field_validator("layers")
    @classmethod
    def _rising(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or value[0] < 0 or any(one >= other for one, other in pairwise(value))):
            raise ValueError("block indices are counted from 0 and rise")
        return value

    @model_validator(mode="after")
    def _cka_reads_labels(self) -> Self:
        if self.target != "logits" and self.select == "cka":
            raise ValueError(f"target={self.target} with select=cka: it compares layers with labels, set select=meta")
        return self

    @model_validator(mode="after")
    def _virtual_steps_are_the_loop_s(self) -> Self:
        odd = {"optimizer=adamw": self.optimizer != "sgd", "accumulate": self.accumulate > 1, "clip": self.clip}
        odd |= {"compile": self.compile, "drop_path": self.drop_path}
        if refused := [name for name, there in odd.items() if there]:
            raise ValueError(f"{refused[0]}: the virtual steps are those of plain SGD, on whole batches")
        return self

    @property
    def _trains(self) -> bool:
        return self.select == "meta" and self.layers is None

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Count the passes of the pseudo descendant and of the ancestor.

        A real step uses the batch, a meta batch and the held-out batch. It is a forward and a backward pass of the
        batch and of the meta batch. Each virtual step is one more pass; the gradient back through it counts as two.
        The outer loss is one pass. The matching of maps is not counted. `cka` needs one pass per image. The tensors are
        known before condensing if the layers are given.
        """
        stored = None
        if self.layers is not None:
            shapes = shapes_of(spec)
            stored = {name: shapes[name].numel() for name in self._names(spec, self.layers)}
        if not self._trains:
            samples = min(images, MAX_IMAGES) if self.select == "cka" and self.layers is None else 0
            return GeneCost(samples, samples * teacher_flops, stored)
        pseudo = self._pseudo_spec(spec, spec.channels, spec.image_size, self._outputs(spec.classes))
        steps, meta = self.total_steps(images), self.meta_batch or self.batch_size
        aside = (1 if self.batches == "fixed" else 2) * meta
        outer = self.batch_size if self.batches == "fixed" else meta
        passes = 4 * self.batch_size + (1 + 3 * self.inner_steps) * meta + outer
        flops = steps * (passes * training_flops(pseudo) + meta * teacher_flops)
        return GeneCost(steps * (self.batch_size + aside), flops, stored)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec.

        Raises:
            SettingError: The ancestor is missing or lacks the layers, or the pseudo descendant cannot be built.
            ArtefactError: The architecture of the ancestor is unknown.
            DataError: The data have no labels.
        """
        network, spec = require_ancestor(self.name, ancestor)
        family, count = architecture_of(spec).name, sum(stage_depths(spec))
        if family not in self.architectures:
            raise SettingError(
                f"the method {self.name} cannot take layers of a {family}",
                "its blocks are not of one network",
                "give a plain ViT, a VGG, a ResNet12 or a ResNet18",
            )
        if self.layers is not None:
            if self.layers[-1] >= count:
                raise SettingError(
                    f"layers={self.layers}", f"the ancestor has {count} blocks", f"choose indices from 0 to {count - 1}"
                )
            return spec
        layers = split_layers(stage_depths(spec), self.taps)
        if self.keep > len(layers):
            raise SettingError(f"keep={self.keep}", f"the ancestor has {len(layers)} layers", "set a smaller `keep`")
        task = self._task(data)
        if self.select != "random" and self.target == "logits" and task.train.labels is None:
            raise DataError(
                f"'{task.name}' has no labels",
                "layers are chosen by how they help to learn them",
                "set target=features, set layers, or use other data",
            )
        if self._trains:
            if self.target != "logits":
                self.check_target(self.name, network)
            self._pseudo_spec(spec, task.train.channels, task.train.side, self._outputs(len(task.classes)))
        return spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Score the layers of the ancestor, choose some, and copy them.

        Raises:
            SettingError: The ancestor is missing or lacks the layers, or the pseudo descendant cannot be built.
            ArtefactError: The architecture of the ancestor is unknown.
            DataError: The data have no labels.
        """
        spec = self.condense_spec(ancestor, data)
        network, _ = require_ancestor(self.name, ancestor)
        layers = split_layers(stage_depths(spec), self.taps)
        scores = self._scores(network, spec, layers, data, run)
        kept = self.layers or tuple(at for one in self._chosen(scores, layers, run.seed) for at in layers[one].blocks)
        tensors = network.model.state_dict()
        return Learngene(
            method=self.name,
            settings=self.model_dump(mode="json"),
            architecture=architecture_of(spec).name,
            spec=spec,
            tensors={name: tensors[name].detach().cpu().clone() for name in self._names(spec, kept)},
            preprocess=network.preprocess,
            provenance=make_provenance(
                network,
                data,
                run,
                scores.results if scores else [],
                scores.metrics if scores else {},
                {"layers": self._record(spec, layers, kept, scores)},
            ),
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Put the gene's layers into a newly initialised network."""
        wanted = target.spec
        names = find_sources(gene.spec, wanted, place_blocks(gene.spec, wanted, self._kept(gene), self.place))
        parts = parts_of(gene.spec)
        frame = {name: gene.tensors[name] for name in (*parts.stem, *parts.norm) if name in gene.tensors}
        return build_fresh_descendant(
            gene, target, stack_tensors(gene.tensors, gene.spec, wanted, names, generator), generator, frame
        )

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Describe the depths, and for CNNs the widths of other layers."""
        kept = self.layers or () if gene is None else self._kept(gene)
        named = f"{len(kept)} of the ancestor's {sum(stage_depths(spec))} blocks, with fresh ones around them"
        if isinstance(spec, TransformerSpec):
            fields = spec.model_dump()
            return Sizes(f"{named}, at width={fields['width']},heads={fields['heads']}")
        return Sizes(f"{named}; any depths and widths in which these fit")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse sizes in which the layers do not fit.

        Before layers are chosen, it refuses sizes in which any of the layers may not fit.
        """
        if isinstance(gene.spec, TransformerSpec):
            check_same_spec(self.name, gene.spec, spec, spare=frozenset({"depth"}))
        elif self.frame != "none":
            check_stem(gene.spec, spec)
        kept = self._kept(gene)
        several = [kept] if kept else [layer.blocks for layer in split_layers(stage_depths(gene.spec), self.taps)]
        for blocks in several:
            find_sources(gene.spec, spec, place_blocks(gene.spec, spec, blocks, self.place))

    def _task(self, data: DataSet) -> DataSet:
        """Return the data that the pseudo descendant learns."""
        return data.roles.get("held_out") or data

    def _pseudo_spec(self, spec: Spec, channels: int, side: int, classes: int) -> Spec:
        images = {"channels": channels, "image_size": side, "classes": classes}
        form = type(spec).model_validate({**spec.model_dump(), **images})
        sized: Spec = architecture_of(form).resize(form, Size.parse(self.pseudo))
        return sized

    def _outputs(self, classes: int) -> int:
        """Return the number of outputs of the pseudo descendant: no head is needed to learn features."""
        return classes if self.target == "logits" else 0

    def _names(self, spec: Spec, kept: tuple[int, ...]) -> list[str]:
        """Return the names of the tensors that a gene holds."""
        parts = parts_of(spec)
        frame = {"none": (), "stem": parts.stem, "whole": (*parts.stem, *parts.norm)}[self.frame]
        return [*frame, *(name for at in kept for name in parts.blocks[at].values())]

    def _kept(self, gene: Learngene) -> tuple[int, ...]:
        """Return the blocks that a gene holds; none before layers are chosen."""
        if not gene.tensors:
            return self.layers or ()
        blocks = parts_of(gene.spec).blocks
        return tuple(at for at, block in enumerate(blocks) if set(block.values()) <= gene.tensors.keys())

    def _scores(
        self, network: Network, spec: Spec, layers: tuple[Layer, ...], data: DataSet, run: Run
    ) -> LayerScores | None:
        if self.layers is not None or self.select == "random":
            return None
        taps, images = architecture_of(spec).feature_names(spec), self._task(data).train
        model = network.model.to(run.fabric.device).eval()
        side = FeatureSpec.of(model, spec, [taps[one.tap] for one in layers], network.preprocess)
        features = AncestorFeatures(network, side, self.grid)
        if self.select == "cka":
            scores = score_label_similarity(features, images)
        else:
            form = self._pseudo_spec(spec, images.channels, images.side, self._outputs(len(images.classes)))
            names = architecture_of(form).feature_names(form)
            own = [names[one.tap] for one in split_layers(stage_depths(form), self.pseudo_taps or self.taps)]
            scores = score_layers(
                features, form, own, self._task(data), run, self, self._bilevel(form), self.held, self
            )
        model.cpu()
        return scores

    def _bilevel(self, form: Spec) -> BilevelSettings:
        return BilevelSettings(
            form=self.meta,
            inner=self.inner_steps,
            gamma=self.gamma,
            lr=self.meta_lr,
            weight_decay=self.meta_weight_decay,
            batches=self.batches,
            absolute=isinstance(form, TransformerSpec),
            batch_size=self.meta_batch or self.batch_size,
            label_smoothing=self.label_smoothing,
        )

    def _chosen(self, scores: LayerScores | None, layers: tuple[Layer, ...], seed: int) -> tuple[int, ...]:
        """Choose layers and return their indices."""
        if scores is None:
            return draw_layers(len(layers), self.rule, self.keep, generator(seed, self.name, "random layers"))
        return choose_layers(scores.by_layer, self.rule, self.keep)

    def _record(
        self, spec: Spec, layers: tuple[Layer, ...], kept: tuple[int, ...], scores: LayerScores | None
    ) -> dict[str, Any]:
        """Build the record of how the layers were chosen."""
        details = scores.record() if scores else {"against": [], "matrix": [], "history": []}
        return {
            "select": "given" if self.layers is not None else self.select,
            "rule": "given" if self.layers is not None else self.rule,
            "stages": list(stage_depths(spec)),
            "layers": [list(one.blocks) for one in layers],
            "scores": [round(one, 5) for one in scores.by_layer] if scores else [],
            "kept": list(kept),
            **details,
        }
