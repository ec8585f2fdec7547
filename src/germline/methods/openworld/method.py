"""Open-World Learngene: layers of a growing network that stay steady over a stream of tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from germline.architectures import VGG, Preprocess, Size, Spec, Target, VggSpec, on_meta_device
from germline.data import DataSet, draw_disjoint_tasks, draw_task, draw_task_list, select_classes
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.assembly import build_fresh_descendant, copy_tensors
from germline.methods.base import DerivedMethod, GeneCost, training_flops
from germline.methods.checks import check_resume_settings
from germline.methods.openworld.collective import Collective, CollectiveState
from germline.methods.openworld.ewc import EpochEwcObjective, EwcObjective, EwcPenalty, normalise_importance
from germline.methods.openworld.extract import detect_new_classes, extract_learngene
from germline.methods.openworld.presets import PRESETS
from germline.methods.openworld.settings import OpenWorldSettings
from germline.methods.openworld.task_stream import Growth, Heads, published_growth, specs_by_task
from germline.methods.openworld.tuning import TunedCollective, list_points, tune_collective
from germline.methods.openworld.windows import (
    IMPORTANCE_PREFIX,
    UNIT_PREFIX,
    extract_window,
    find_window_starts,
    inherited_tensors,
)
from germline.methods.presets import Presets, PresetSettings
from germline.methods.slicing import parts_of, shapes_of
from germline.network import Network
from germline.randomness import derive
from germline.registry import ARCHITECTURES, architecture_of, model_spec
from germline.training import Objective, Run, TrainSettings
from germline.traits import AncestorUse, Sizes, Traits

# Settings of the descendants alone; the collective does not depend on them.
_INHERIT_SETTINGS = ("window", "anchor", "strength", "anchor_every")


class OpenWorld(PresetSettings, OpenWorldSettings, DerivedMethod):
    """Open-World Learngene: a collective CNN grows over a stream of tasks; its steadiest layers are the gene.

    A network is trained on one small task after another, and becomes wider between them. Its gradients show which
    layers change least over the tasks. A window of these layers is the learngene. An individual network learns a novel
    task from few images. It has fresh units before the gene and a fresh head behind it. A proximal anchor pulls the
    gene's weights towards their inherited values.

    Source: Wang et al., AAAI 2022, arXiv 2106.06788, and its public code. docs/methods/openworld.md lists our
    departures. Widening keeps BatchNorm whole, each task has its own head, the gradient criterion has no scale, and the
    anchor is at the inherited weights.
    """

    name: ClassVar[str] = "openworld"
    paper: ClassVar[str] = "arXiv 2106.06788"
    ancestor: ClassVar[AncestorUse] = "none"
    architectures: ClassVar[tuple[str, ...]] = ("vgg",)
    traits: ClassVar[Traits] = Traits(roles=("train", "val", "stream"), inherits_head=False)
    presets: ClassVar[Presets] = PRESETS
    reports: ClassVar[Mapping[str, str]] = {"collective": "germline.methods.openworld.report"}

    def derived_from(self) -> OpenWorld | None:
        """Return the method with default settings of individuals; None if this one has them."""
        fields = type(self).model_fields
        plain: dict[str, Any] = {key: fields[key].default for key in _INHERIT_SETTINGS}
        if all(getattr(self, key) == value for key, value in plain.items()):
            return None
        return self.model_copy(update={**plain, "whole": self.whole or self.window != "auto"})

    def derive(self, gene: Learngene, generator: torch.Generator) -> Learngene:
        """Make a gene of another window or anchor from a gene of the same collective.

        Raises:
            SettingError: That window cannot be taken.
        """
        settings = self.model_dump(mode="json")
        if self.window == gene.settings["window"]:
            return replace(gene, settings=settings)
        record = gene.provenance.record["collective"]
        start = record["window"][0] if self.window == "auto" else self.window - 1
        if start not in record["fitting"]:
            raise SettingError(
                f"window={self.window} does not fit",
                "Some of its units are dead or have the wrong width",
                f"Use one of {', '.join(str(at + 1) for at in record['fitting'])}",
            )
        if not any(name.startswith(UNIT_PREFIX) for name in gene.tensors):
            raise SettingError(
                f"window={self.window} cannot be cut from this gene",
                "The gene keeps no units but its own window's",
                "Use a gene that was condensed with whole=true",
            )
        assert isinstance(gene.spec, VggSpec)  # noqa: S101 - it grows nothing else
        tensors = extract_window(gene.tensors, gene.spec, start, self.units, keeps_place=self.individual == "own")
        kept = {name: value for name, value in gene.tensors.items() if name.startswith(UNIT_PREFIX) and self.whole}
        return replace(gene, settings=settings, tensors={**tensors, **kept})

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> VggSpec:
        """Return the spec of the individual.

        Raises:
            UnknownNameError: There is no such model.
            SettingError: The model is no `vgg`, the growth does not fit, or no window fits into the individual.
            DataError: Too few classes, or no labels.
        """
        self._check_tasks(data)
        channels, side = data.train.channels, data.train.side
        last = self._specs_by_task(channels, side, self.ways)[-1]
        spec = last if self.individual == "own" else self._vgg_spec(self.individual, channels, side, self.ways)
        fitting = find_window_starts(last, spec, self.units, keeps_place=self.individual == "own")
        if not fitting or (self.window != "auto" and self.window - 1 not in fitting):
            raise SettingError(
                f"No window of {self.units} units fits into '{self.individual}'"
                if not fitting
                else f"window={self.window} does not fit into '{self.individual}'",
                "The collective's units have other widths than the individual's last ones",
                f"Use one of {', '.join(str(at + 1) for at in fitting)}" if fitting else "Use individual=own",
            )
        return spec

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """All tasks, those of unknown classes included if they may follow, each in the network of its time."""
        specs = self._specs_by_task(spec.channels, spec.image_size, self.ways)
        specs = specs[-1:] * self.tasks if self.stream == "joint" else specs + specs[-1:] * self.open_tasks
        points, samples = len(list_points(self)), self.training.total_samples(0)
        # The stream continues from the chosen point, and a joint training starts again.
        tried = [*specs[: self.tune_tasks]] * (points if self.stream == "joint" else max(0, points - 1))
        flops = (sum(map(training_flops, specs)) + sum(map(training_flops, tried))) * samples
        # The earlier network's forward pass, after the first task. A joint training has no earlier network.
        if self.stream == "tasks" and (self.distillation or self.tune_distillation):
            flops += sum(training_flops(one) // 3 for one in (*specs[1:], *tried)) * samples
        return GeneCost((len(specs) + len(tried)) * samples, flops, self._count_stored(spec))

    def _count_stored(self, spec: Spec) -> Mapping[str, int] | None:
        """The units of the window and their importance; not known for a window in a place of its own, or all units."""
        if self.whole or (self.individual == "own" and self.window == "auto"):
            return None
        assert isinstance(spec, VggSpec)  # noqa: S101 - it grows nothing else
        with on_meta_device():
            model = VGG.build(spec)
        blocks = VGG.parts(spec).blocks
        first = self.window - 1 if self.individual == "own" and self.window != "auto" else len(blocks) - self.units
        sizes = {name: value.numel() for name, value in model.state_dict().items()}
        trained = dict(model.named_parameters())
        names = [full for block in blocks[first : first + self.units] for full in block.values()]
        return {n: sizes[n] for n in names} | {f"{IMPORTANCE_PREFIX}{n}": sizes[n] for n in names if n in trained}

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Train the collective and extract its gene. Every task is saved, so a killed run continues.

        Raises:
            SettingError: Settings do not fit, the run was started with others, or no window can be taken.
            DataError: Too few classes, or no labels.
        """
        inner = self.derived_from()
        if inner is not None:
            self.condense_spec(None, data)
            return self.derive(inner.condense(None, data, run), torch.Generator())
        check_resume_settings(self, data, run)
        tuned = tune_collective(self.build_collective(data, run))
        collective, unknown = tuned.collective, data.roles.get("stream")
        known = run.find_phase("met") if unknown is not None else None
        state = None if known else collective.train_all_tasks(tuned.start)
        if unknown is None:
            assert state is not None  # noqa: S101 - it was trained just now
            return self._extract(tuned, collective, state, data, None)
        met = known or run.keep("met", partial(detect_new_classes, collective, state, data, unknown))
        further = self._draw_open_tasks(unknown, met[1]["flagged"], run)
        longer = replace(self.build_collective(data, run, further), rules=collective.rules)
        return self._extract(tuned, longer, longer.train_all_tasks(state or tuned.start), data, met[1])

    def _extract(
        self,
        tuned: TunedCollective,
        collective: Collective,
        state: CollectiveState,
        data: DataSet,
        detection: dict[str, Any] | None,
    ) -> Learngene:
        """Extract the gene; its record also has the tuning, the tasks, and a joint training's accuracy on them."""
        additions: dict[str, Any] = {} if tuned.record is None else {"tuning": tuned.record}
        tasks = collective.tasks
        if self.stream == "joint":
            tasks = self._draw_tasks(data, derive(collective.run.seed, "openworld", "tasks"))
            heads = replace(collective.heads, tasks=tuple(task.classes for task in tasks))
            additions["joint"] = collective.measure_tasks(state, heads, tasks, self.head == "class-incremental")
        additions["classes"] = [list(task.classes) for task in tasks]
        spec = self.condense_spec(None, data)
        gene = extract_learngene(collective, state, data, spec, detection, additions=additions, spent=tuned.spent)
        # The collective's rules have the chosen strengths, or the steps of all tasks of a joint training.
        return replace(gene, settings=self.model_dump(mode="json"))

    def build_collective(self, data: DataSet, run: Run, further: tuple[DataSet, ...] = ()) -> Collective:
        """Build the collective with its tasks, before any training.

        Args:
            data: Base classes.
            run: Run that gives the device and the seed of every draw.
            further: Tasks of unknown classes that follow.
        """
        self.condense_spec(None, data)
        is_joint, unknown = self.stream == "joint", data.roles.get("stream")
        tasks = (data,) if is_joint else (*self._draw_tasks(data, derive(run.seed, "openworld", "tasks")), *further)
        heads = Heads(
            kind="class-incremental" if is_joint else self.head,
            tasks=tuple(task.classes for task in tasks),
            classes=(*data.classes, *(unknown.classes if unknown is not None and self.open_tasks else ())),
            ways=self.ways,
            max_tasks=self.tasks + (self.open_tasks if unknown is not None else 0),
        )
        train = data.train
        specs = self._specs_by_task(train.channels, train.side, heads.outputs)
        rules = self.model_copy(update={"training": self._joint_training()}) if is_joint else self
        return Collective(
            rules=rules,
            run=run,
            spec=specs[-1] if is_joint else specs[0],
            # Tasks of unknown classes meet the last spec, which is the gene's.
            growth=() if is_joint else self._growth(specs[0])[: self.tasks - 1],
            preprocess=Preprocess.from_images(train.sample()),
            heads=heads,
            tasks=tasks,
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Build a fresh network with the gene's units in it."""
        return build_fresh_descendant(gene, target, copy_tensors(inherited_tensors(gene.tensors)), generator)

    def objective(self, gene: Learngene, descendant: Descendant) -> Objective | None:
        """Return cross entropy with the anchor to the descendant's present weights."""
        if self.anchor == "none" or self.strength == 0:
            return None
        state, parameters = descendant.model.state_dict(), dict(descendant.model.named_parameters())
        values = {name: state[name] for name in inherited_tensors(gene.tensors)}
        strength = math.inf if self.strength == "inf" else float(self.strength)
        if self.anchor == "epoch":
            names = [name for name in values if name in parameters]
            return EpochEwcObjective(descendant.model, names, strength, self.anchor_every)
        importance = {name: self._importance_of(gene, name, values[name]) for name in values if name in parameters}
        return EwcObjective(EwcPenalty(values, normalise_importance(importance), strength))

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """All sizes that keep the gene's units."""
        return Sizes(f"any width and depth of the units around its {self.units}, which keep their widths and places")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse networks into which the gene's units do not fit.

        Raises:
            SettingError: A tensor of the gene does not fit.
        """
        shapes = {name: tuple(shape) for name, shape in shapes_of(spec).items()}
        images = parts_of(spec).image_kernels
        for name, tensor in inherited_tensors(gene.tensors).items():
            shape, gene_shape = shapes.get(name), tuple(tensor.shape)
            if name in images and shape is not None:
                shape, gene_shape = (shape[0], *shape[2:]), (gene_shape[0], *gene_shape[2:])
            if shape != gene_shape:
                raise SettingError(
                    f"the method {self.name} cannot grow '{name}' of shape {shapes.get(name)}",
                    f"The gene's tensor has shape {tuple(tensor.shape)}",
                    "Use a size that keeps the widths of the gene's units",
                )

    def _importance_of(self, gene: Learngene, name: str, value: Tensor) -> Tensor:
        """Return the importance of a tensor; ones if it was adapted to other images."""
        known = gene.tensors.get(f"{IMPORTANCE_PREFIX}{name}")
        return torch.ones_like(value) if known is None or known.shape != value.shape else known

    def _vgg_spec(self, model: str, channels: int, side: int, classes: int) -> VggSpec:
        spec = model_spec(model, image_size=side, channels=channels, classes=classes)
        if not isinstance(spec, VggSpec):
            raise SettingError(
                f"the method openworld cannot grow a {architecture_of(spec).name}",
                "Its units are a VGG's",
                "Set model=collective_x0125",
            )
        return spec

    def _specs_by_task(self, channels: int, side: int, outputs: int) -> list[VggSpec]:
        """List the collective's spec at each task."""
        spec: VggSpec = ARCHITECTURES["vgg"].resize(
            self._vgg_spec(self.model, channels, side, outputs), Size.parse(self.size)
        )
        return specs_by_task(spec, self._growth(spec), self.tasks)

    def _growth(self, spec: VggSpec) -> Growth:
        if isinstance(self.growth, str):
            return published_growth(spec) if self.growth == "published" else ()
        return self.growth

    def _joint_training(self) -> TrainSettings:
        return self.training.model_copy(update={"steps": self.tasks * (self.training.steps or 0)})

    def _check_tasks(self, data: DataSet) -> None:
        if self.overlap:
            draw_task(data, self.ways, None, 0, 0)
        else:
            draw_disjoint_tasks(data, self.ways, self.tasks, 0)

    def _draw_tasks(self, data: DataSet, seed: int) -> tuple[DataSet, ...]:
        drawn = draw_task_list(data, self.ways, None, self.tasks, seed) if self.overlap else None
        return drawn or draw_disjoint_tasks(data, self.ways, self.tasks, seed)

    def _draw_open_tasks(self, unknown: DataSet, flagged: list[str], run: Run) -> tuple[DataSet, ...]:
        """Draw tasks of the new classes; none if they are too few."""
        if self.stream == "joint" or not self.open_tasks or len(flagged) < self.ways:
            return ()
        seed = derive(run.seed, "openworld", "open tasks")
        return draw_task_list(select_classes(unknown, tuple(flagged)), self.ways, None, self.open_tasks, seed)
