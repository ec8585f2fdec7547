"""Auto-Learngene: the layers of an ancestor that a pseudo descendant leans on."""

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
from germline.methods.presets import Presets, PresetSettings
from germline.methods.provenance import make_provenance
from germline.methods.slicing import check_same_spec, parts_of, shapes_of, stage_depths
from germline.network import Network
from germline.randomness import generator
from germline.registry import architecture_of
from germline.training import Run, TrainSettings
from germline.traits import Sizes, Traits


class Auto(PresetSettings, Method, TrainSettings):
    """Auto-Learngene: the whole layers of an ancestor that help a pseudo descendant most, with fresh ones round them.

    A pseudo descendant learns a held-out task; a meta-network decides for every pair of layers, and picture by picture,
    how much its maps are drawn to the ancestor's. It is trained by the exact gradient of the held-out loss through a
    few virtual steps. The layers that it leans on are the gene.

    Source: arXiv 2305.02279 and its group's public code. Where we depart is in docs/methods/auto.md.

    Attributes:
        preset: Fills what is not given: for small CNNs (`lab`) and ViTs (`lab-vit`), the paper's search (`cnn`, `vit`),
            its fixed choices (`vgg9`, `resnet12`, `resnet18`, `vit6`, `deit-first6`, `deit-last3`), or tests.
        select: By the meta-network (`meta`); by the similarity of features with the labels, without training (`cka`);
            or at `random`, the control.
        layers: Indices of the blocks to keep, rising; given, nothing is selected.
        rule: The `keep` highest layers (`top`), all at or above the mean (`threshold`), or so many neighbours.
        keep: How many layers.
        taps: What a layer is: every block, a stage, or two blocks.
        pseudo_taps: Where the pseudo descendant is tapped; None is as the ancestor.
        pseudo: Size of the pseudo descendant, where it differs from the ancestor's, such as `depth=11,width=8`.
        meta: Form of the meta-network.
        inner_steps: Virtual steps on the matching loss, before the one on the labels.
        gamma: Weight of the matching loss in the real step.
        meta_lr: Rate of the meta-network.
        meta_weight_decay: Its weight decay.
        meta_batch: Pictures of a meta batch and of a held-out one; None is as many as in a batch.
        batches: New meta batches and held-out pictures (`separate`), or the literal form (`fixed`).
        held: Share of the task's training pictures that is held out for the outer loss.
        grid: Height and width to which larger maps are averaged before they are matched; None matches all places.
        frame: What a gene of a ViT or `resnet` holds besides its layers: nothing, the `stem`, or the last norm too.
        place: Where layers go in stages of another depth: relatively, or at the same indices.
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
        """Real and virtual passes of the pseudo descendant, and the ancestor's passes; `cka` needs one pass per image.

        A real step sees the batch, a meta batch and the held-out one: it is a forward and a backward pass of the batch
        and of the meta batch. Each virtual step is one more, and the gradient back through it counts as two; the outer
        loss is one. What matches the maps is left out. The tensors are known beforehand if the layers are given.
        """
        stored = None
        if self.layers is not None:
            shapes = shapes_of(spec)
            stored = {name: shapes[name].numel() for name in self._names(spec, self.layers)}
        if not self._trains:
            samples = min(images, MAX_IMAGES) if self.select == "cka" and self.layers is None else 0
            return GeneCost(samples, samples * teacher_flops, stored)
        pseudo = self._pseudo_spec(spec, spec.channels, spec.image_size, spec.classes)
        steps, meta = self.total_steps(images), self.meta_batch or self.batch_size
        aside = (1 if self.batches == "fixed" else 2) * meta
        outer = self.batch_size if self.batches == "fixed" else meta
        passes = 4 * self.batch_size + (1 + 3 * self.inner_steps) * meta + outer
        flops = steps * (passes * training_flops(pseudo) + meta * teacher_flops)
        return GeneCost(steps * (self.batch_size + aside), flops, stored)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """The ancestor's own.

        Raises:
            SettingError: There is no ancestor, it has not those layers, or the pseudo descendant cannot be built.
            ArtefactError: No architecture knows it.
            DataError: There are no labels to learn from.
        """
        _, spec = require_ancestor(self.name, ancestor)
        family, count = architecture_of(spec).name, sum(stage_depths(spec))
        if family not in self.architectures:
            raise SettingError(
                f"auto cannot take layers of a {family}",
                "its blocks are not of one network",
                "give it a plain ViT, a VGG, a ResNet12 or a ResNet18",
            )
        if self.layers is not None:
            if self.layers[-1] >= count:
                raise SettingError(
                    f"layers={self.layers}", f"the ancestor has {count} blocks", f"indices go from 0 to {count - 1}"
                )
            return spec
        layers = split_layers(stage_depths(spec), self.taps)
        if self.keep > len(layers):
            raise SettingError(f"keep={self.keep}", f"the ancestor has {len(layers)} layers", "keep fewer of them")
        task = self._task(data)
        if self.select != "random" and task.train.labels is None:
            raise DataError(
                f"'{task.name}' has no labels",
                "layers are chosen by how they help to learn them",
                "set layers, or use other data",
            )
        if self._trains:
            self._pseudo_spec(spec, task.train.channels, task.train.side, len(task.classes))
        return spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Score the layers, choose, and keep the chosen ones as they are in the ancestor.

        Raises:
            SettingError: There is no ancestor, it has not those layers, or the pseudo descendant cannot be built.
            ArtefactError: No architecture knows it.
            DataError: There are no labels to learn from.
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
        """A fresh network with the gene's layers in it."""
        wanted = target.spec
        names = find_sources(gene.spec, wanted, place_blocks(gene.spec, wanted, self._kept(gene), self.place))
        parts = parts_of(gene.spec)
        frame = {name: gene.tensors[name] for name in (*parts.stem, *parts.norm) if name in gene.tensors}
        return build_fresh_descendant(
            gene, target, stack_tensors(gene.tensors, gene.spec, wanted, names, generator), generator, frame
        )

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Depths, and for CNNs the widths of other layers."""
        kept = self.layers or () if gene is None else self._kept(gene)
        named = f"{len(kept)} of the ancestor's {sum(stage_depths(spec))} blocks, fresh ones round them"
        if isinstance(spec, TransformerSpec):
            fields = spec.model_dump()
            return Sizes(f"{named}, at width={fields['width']},heads={fields['heads']}")
        return Sizes(f"{named}; any depths and widths in which these fit")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse sizes in which the layers do not fit; before any is chosen, those in which one of them may not."""
        if isinstance(gene.spec, TransformerSpec):
            check_same_spec(self.name, gene.spec, spec, spare=frozenset({"depth"}))
        elif self.frame != "none":
            check_stem(gene.spec, spec)
        kept = self._kept(gene)
        several = [kept] if kept else [layer.blocks for layer in split_layers(stage_depths(gene.spec), self.taps)]
        for blocks in several:
            find_sources(gene.spec, spec, place_blocks(gene.spec, spec, blocks, self.place))

    def _task(self, data: DataSet) -> DataSet:
        """What the pseudo descendant learns."""
        return data.roles.get("held_out") or data

    def _pseudo_spec(self, spec: Spec, channels: int, side: int, classes: int) -> Spec:
        images = {"channels": channels, "image_size": side, "classes": classes}
        form = type(spec).model_validate({**spec.model_dump(), **images})
        sized: Spec = architecture_of(form).resize(form, Size.parse(self.pseudo))
        return sized

    def _names(self, spec: Spec, kept: tuple[int, ...]) -> list[str]:
        """Names of the tensors that a gene holds."""
        parts = parts_of(spec)
        frame = {"none": (), "stem": parts.stem, "whole": (*parts.stem, *parts.norm)}[self.frame]
        return [*frame, *(name for at in kept for name in parts.blocks[at].values())]

    def _kept(self, gene: Learngene) -> tuple[int, ...]:
        """The blocks that a gene holds; none for one that is only thought of."""
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
        elder = AncestorFeatures(network, side, self.grid)
        if self.select == "cka":
            found = score_label_similarity(elder, images)
        else:
            form = self._pseudo_spec(spec, images.channels, images.side, len(images.classes))
            names = architecture_of(form).feature_names(form)
            own = [names[one.tap] for one in split_layers(stage_depths(form), self.pseudo_taps or self.taps)]
            found = score_layers(elder, form, own, self._task(data), run, self, self._bilevel(form), self.held)
        model.cpu()
        return found

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
        """Indices of the chosen layers."""
        if scores is None:
            return draw_layers(len(layers), self.rule, self.keep, generator(seed, self.name, "random layers"))
        return choose_layers(scores.by_layer, self.rule, self.keep)

    def _record(
        self, spec: Spec, layers: tuple[Layer, ...], kept: tuple[int, ...], scores: LayerScores | None
    ) -> dict[str, Any]:
        """What a gene tells of how its layers were chosen."""
        found = scores.record() if scores else {"against": [], "matrix": [], "history": []}
        return {
            "select": "given" if self.layers is not None else self.select,
            "rule": "given" if self.layers is not None else self.rule,
            "stages": list(stage_depths(spec)),
            "layers": [list(one.blocks) for one in layers],
            "scores": [round(one, 5) for one in scores.by_layer] if scores else [],
            "kept": list(kept),
            **found,
        }
