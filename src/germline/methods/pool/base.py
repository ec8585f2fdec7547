"""Base class of `pool` and `snnet`: auxiliary models, stitches between them, and paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from germline.architectures import (
    VIT,
    Preprocess,
    Size,
    Spec,
    StitchedSpec,
    Target,
    VitSpec,
    count_elements,
    on_meta_device,
)
from germline.data import DataSet
from germline.errors import DataError, SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.assembly import build_descendant
from germline.methods.base import GeneCost, Method
from germline.methods.pool.build import Instances, Stitching, build_pool, summarise_paths, validate_paths
from germline.methods.pool.path_sampling import SampledPathLoss
from germline.methods.pool.paths import Pairs, PoolLayout, PoolPath
from germline.methods.pool.sizes import PathSpecs, take_path_tensors
from germline.methods.pool.stitching import StitchInit
from germline.methods.pool.supernet import PoolNetwork
from germline.methods.presets import PresetSettings
from germline.methods.provenance import make_provenance
from germline.network import Network
from germline.registry import architecture_of
from germline.size_choice import has_caps
from germline.training import Distillation, Run, TrainSettings
from germline.traits import Sizes, Traits


class Pooled(PresetSettings, Method):
    """Pool of auxiliary models with stitches between them.

    Every path through the pool is a descendant.

    Attributes:
        widths: Widths of the auxiliary models, in rising order.
        heads: Attention heads of each auxiliary model.
        depth: Number of blocks of each auxiliary model.
        pairs: Stitches between neighbouring widths (`nearest`), or between all.
        segments: Largest number of models on a path.
        init: Initialisation of the stitches.
        init_images: Number of training images for least squares.
        ridge: Ridge of least squares, as a share of the mean square of the tokens.
        finetune: Training of the pool, one path per step, without evaluation during training.
        teach: Weight of the teacher against the labels in that training; 0 uses no teacher.
        teaching: Target from the teacher: its distribution (`soft`) or its first choice (`hard`).
        temperature: Temperature of the `soft` target.
        reduction: `batchmean`, or `legacy_numel` as in the public code, which divides by batch x classes.
        sandwich: Whether each step also trains the smallest and the largest path.
    """

    architectures: ClassVar[tuple[str, ...]] = ("vit",)
    traits: ClassVar[Traits] = Traits(has_named_sizes=True)
    reports: ClassVar[Mapping[str, str]] = {"paths": "germline.methods.pool.report"}

    preset: str
    widths: tuple[int, ...] = (24, 96)
    heads: tuple[int, ...] = (1, 4)
    depth: int = Field(default=6, ge=1)
    pairs: Pairs = "nearest"
    segments: Literal[2, 3] = 2
    init: StitchInit
    init_images: int = Field(default=100, ge=1)
    ridge: float = Field(default=1e-9, gt=0)
    finetune: TrainSettings = TrainSettings()
    teach: float = Field(default=0.5, ge=0, le=1)
    teaching: Literal["soft", "hard"] = "soft"
    temperature: float = Field(default=1.0, gt=0)
    reduction: Literal["batchmean", "legacy_numel"] = "batchmean"
    sandwich: bool = False

    @model_validator(mode="after")
    def _matched(self) -> Self:
        if len(self.widths) < 2 or sorted(set(self.widths)) != list(self.widths) or self.widths[0] < 1:
            raise ValueError(f"widths={list(self.widths)}: give two or more, rising, each once")
        if len(self.heads) != len(self.widths):
            raise ValueError(f"heads={list(self.heads)} for widths={list(self.widths)}: give as many heads as widths")
        return self

    @property
    def layout(self) -> PoolLayout:
        """Layout that lists the paths."""
        return _layout(self.widths, self.depth, self.pairs, self.segments)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the spec of the widest auxiliary model."""
        raise NotImplementedError

    def _widest(self, own: VitSpec, data: DataSet) -> VitSpec:
        more = {"classes": len(self._head_classes(data)), "drop_path": self.finetune.drop_path}
        return self.forms(own.model_copy(update=more)).models[self.widths[-1]]

    def _head_classes(self, data: DataSet) -> tuple[str, ...]:
        """Return the classes of the models' heads; none if they have no heads."""
        return data.classes

    def _check_labels(self, data: DataSet) -> None:
        if data.train.labels is None or data.val.labels is None:
            raise DataError(f"'{data.name}' has no labels", "paths are validated with them", "use labelled images")

    def _no_vit(self, spec: Spec | None, fix: str) -> SettingError:
        what = "network of unknown spec" if spec is None else architecture_of(spec).name
        return SettingError(
            f"the method {self.name} cannot condense in a {what}", "its paths are plain or stitched ViTs", fix
        )

    def forms(self, form: Spec) -> PathSpecs:
        """Derive the specs of all models and paths from one ViT.

        Raises:
            SettingError: The spec is no ViT, or a width is not divisible by its heads.
        """
        if not isinstance(form, VitSpec | StitchedSpec):
            raise self._no_vit(form, "use a plain timm ViT")
        return PathSpecs.of(self.layout, form, self.heads)

    def descendant_spec(self, spec: Spec, size: Size, gene: Learngene | None = None) -> Spec:
        """Return the spec of a path, or of the widest auxiliary model if no size is given.

        Raises:
            SettingError: The path does not exist, no path fits the cap, or a cap is given without a gene.
        """
        forms = self.forms(spec)
        return forms.spec(self._path(forms, size, gene))

    def _path(self, forms: PathSpecs, size: Size, gene: Learngene | None) -> PoolPath:
        if not size:
            return self.layout.widest
        if not has_caps(size):
            return self.layout.path(size)
        record = {} if gene is None else gene.provenance.record
        if "paths" not in record:
            raise SettingError(
                f"this gene cannot grow {size}",
                "under a cap the path of the best validated accuracy is chosen, and here no path was validated",
                f"choose a path, such as {self.layout.paths[-1]}",
            )
        return forms.best_below(size, record["paths"]["paths"])

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse a spec that no path has.

        Raises:
            SettingError: No path has the spec; the message says what can be grown.
        """
        self._path_of(spec)

    def _path_of(self, spec: Spec) -> PoolPath:
        """Return the first path with this spec; with three models there may be several."""
        forms, paths = self.forms(spec), self.layout.paths
        for path in paths:
            if forms.spec(path) == spec:
                return path
        raise SettingError(
            f"this gene cannot grow {spec!r}",
            "no path of its pool has that spec",
            f"choose one of its {len(paths)} paths, such as {paths[-1]}",
        )

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Describe the paths by the keys that name them, whole models first."""
        paths = self.layout.paths
        whole = ", ".join(f"width={width}" for width in self.widths)
        text = f"{len(paths)} paths: {whole}, and stitched ones such as {paths[-1]}"
        is_unranked = gene is not None and gene.classes is None  # without a head no path has an accuracy
        return Sizes(text if is_unranked else f"{text}; or the best under a cap", tuple(map(str, paths)))

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Count the training of the auxiliary models and of the pool.

        A step of the pool counts the mean of the paths that can be drawn. Validation is not counted.
        """
        forms = self.forms(spec)
        always = self._always(forms)
        flops = {path: forms.count(path).flops for path in self.layout.paths}
        drawn = [flops[path] for path in flops if path not in always]
        each = 3 * (sum(flops[path] for path in always) + sum(drawn) / max(len(drawn), 1))
        samples = self.finetune.total_samples(images)
        tuning = round(samples * (each + (teacher_flops if self.teach else 0)))
        return GeneCost(
            self._instance_samples(images) + samples,
            self._instance_flops(forms, images, teacher_flops) + tuning,
            _count_stored(self.layout, tuple(forms.models.values())),
        )

    def _always(self, forms: PathSpecs) -> tuple[PoolPath, ...]:
        """Return the paths that every step trains."""
        if not self.sandwich:
            return ()
        order = sorted(self.layout.paths, key=forms.count)
        return order[0], order[-1]

    def _instance_samples(self, images: int) -> int:
        raise NotImplementedError

    def _instance_flops(self, forms: PathSpecs, images: int, teacher_flops: int) -> int:
        raise NotImplementedError

    def _instances(
        self, ancestor: Network | None, data: DataSet, run: Run, forms: PathSpecs, preprocess: Preprocess
    ) -> Instances:
        """Train the auxiliary models."""
        raise NotImplementedError

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Train auxiliary models, stitch them, train the pool and validate every path.

        Raises:
            SettingError: The ancestor does not fit the settings.
            DataError: The data have no labels, or other classes than the ancestor.
        """
        spec = self.condense_spec(ancestor, data)
        forms = self.forms(spec)
        preprocess = Preprocess.from_images(data.train.sample()).adapt(spec.channels, spec.image_size)
        instances = self._instances(ancestor, data, run, forms, preprocess)
        how = Stitching(self.init, self.init_images, self.ridge)
        pool = build_pool(instances, forms, how, data.train, preprocess, run)
        classes = self._head_classes(data)
        network = Network(pool, preprocess, classes)
        taught_by = instances.last or self._taught_by(ancestor)
        pool.gives_tokens = instances.last is not None and instances.last.kind == "tokens"
        objective = SampledPathLoss(pool, taught_by, self.finetune.label_smoothing, self._always(forms))
        last = run.fit("pool", network, objective, data.train, self.finetune, augmentation=data.augmentation)
        metrics, record = dict(instances.metrics), {}
        if classes:  # without a head there is no accuracy
            paths = validate_paths(network, forms, data.val, run)
            metrics |= summarise_paths(paths)
            record = {"paths": {"data": data.name, "split": "val", "paths": paths}}
        return Learngene(
            method=self.name,
            settings=self.model_dump(mode="json"),
            architecture=VIT.name,
            spec=spec,
            tensors={name: tensor.detach().cpu().clone() for name, tensor in pool.state_dict().items()},
            preprocess=preprocess,
            classes=classes or None,
            provenance=make_provenance(ancestor, data, run, [*instances.results, last], metrics, record),
        )

    def _taught_by(self, ancestor: Network | None) -> Distillation | None:
        if ancestor is None or not self.teach:
            return None
        return Distillation(
            ancestor,
            kind=self.teaching,
            alpha=self.teach,
            temperature=self.temperature,
            reduction=self.reduction,
            label_smoothing=self.finetune.label_smoothing,
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Copy the blocks and stitches of a path.

        The stem comes from its first model; norm and head come from its last model.
        """
        size, own = target.size, self.forms(gene.spec)
        path = self._path(self.forms(target.spec), size, gene) if size else self._path_of(target.spec)
        frame, blocks = take_path_tensors(own, path, gene.tensors)
        # `build_descendant` expects a gene with the spec of the path.
        return build_descendant(
            replace(gene, spec=own.spec(path)), target, frame=frame, blocks=blocks, generator=generator
        )


@lru_cache(maxsize=16)
def _count_stored(layout: PoolLayout, models: tuple[VitSpec, ...]) -> dict[str, int]:
    """Count the elements of each tensor of a pool's auxiliary models and stitches."""
    with on_meta_device():
        built = {spec.width: VIT.build(spec) for spec in models}
        return count_elements(PoolNetwork(built, layout))


@lru_cache(maxsize=16)
def _layout(widths: tuple[int, ...], depth: int, pairs: Pairs, segments: Literal[2, 3]) -> PoolLayout:
    return PoolLayout(widths, depth, pairs, segments)
