"""Store of ancestors and genes; each is made once, under a hash of everything that it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from germline.api import build_start_network, fit_classifier
from germline.architectures import Size, Spec, read_width
from germline.baselines.fresh_start import START_LABELS
from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.sections import DataDescription
from germline.compare.run.cells import Cell
from germline.compare.run.data_cache import (
    PACKAGED,
    load_data_once,
    load_data_or_placeholder_once,
    make_placeholder_once,
    missing_data_message,
)
from germline.compare.run.part_keys import explain_damage, find_part, make_ancestor_path, make_gene_path
from germline.compare.run.remote_store import RemoteStore
from germline.data import AnyImages, DataSet, draw_task_list, log_final_reading, read_final_glyphs
from germline.files import file_lock, read_json
from germline.learngene import Learngene, read_version
from germline.loading import load_network
from germline.methods.base import DerivedMethod, Method, find_method, find_source
from germline.network import Network
from germline.randomness import derive, generator
from germline.registry import model_spec
from germline.setting_problems import validate_settings
from germline.training import Run, TrainSettings

FINAL_DATA = "glyphs/final"
READINGS_FILE = "final-readings.jsonl"  # log in the output folder
TUNED_SETTINGS = ("lr", "weight_decay")


@dataclass(frozen=True)
class ArtifactStore:
    """Store that makes the ancestors and genes of a comparison, or finds finished ones.

    Attributes:
        recipe: Recipe of the comparison.
        out: Output folder of the comparison.
        folder: Folder of the parts; several comparisons can share it. With a remote store, its local copies.
        tuned: Tuned learning rate, weight decay and initial values by arm; empty before tuning.
        quiet: Whether to show no progress.
        is_estimate: Whether only costs are estimated. Known numbers then replace missing data and weights.
        remote: Remote store that finished parts are published in; None: the folder is the store.
    """

    recipe: Recipe
    out: Path
    folder: Path
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quiet: bool = True
    is_estimate: bool = False
    remote: RemoteStore | None = None

    def part_path(self, kind: str, facts: Mapping[str, Any]) -> Path:
        """Return the path of a part. Parts with the same facts are the same, also in other comparisons."""
        text = json.dumps({"version": read_version("germline"), **facts}, sort_keys=True)
        return self.folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    @property
    def precision_facts(self) -> dict[str, str]:
        """Precision among the facts of a part; left out if it is float32, as in stores of before."""
        precision = self.recipe.precision
        return {} if precision == "32-true" else {"precision": precision}

    def open_run(self, folder: Path | None, seed: int) -> Run:
        """Open a run in the recipe's precision; without a folder it saves nothing."""
        return Run(folder, seed=seed, precision=self.recipe.precision, quiet=self.quiet)

    @contextlib.contextmanager
    def hold_part(self, path: Path) -> Iterator[None]:
        """Hold the lock of a part while it is made or read. A remote part is fetched first, and published at the end.

        Args:
            path: Path of the part. It exists at the end of the block.
        """
        with file_lock(path.with_suffix(".lock")):
            if self.remote is not None:
                self.remote.fetch(path)
            yield
            if self.remote is not None:
                self.remote.publish(path)

    def find_finished(self, paths: Iterable[Path]) -> set[Path]:
        """Return the paths whose parts are finished. Unfinished ancestors have folders too, so this is not for them."""
        if self.remote is None:
            return {path for path in paths if path.exists()}
        published = self.remote.list_parts()
        return {path for path in paths if path.name in published}

    def get_method(self, arm: str) -> Method:
        """Return the method of an arm, with its settings."""
        entry = self.recipe.arms[arm]
        return validate_settings(find_method(entry.method), entry.settings, f"arms.{arm}.settings")

    def cell_method(self, cell: Cell) -> Method:
        """Return the method of a cell, with the initial values that it tries, or else with the tuned ones."""
        method, tuned = self.get_method(cell.arm), {} if cell.tuning else self._tuned_settings(cell.arm)
        values = {**{key: tuned[key] for key in START_LABELS if key in tuned}, **cell.start}
        start = {key: value for key, value in values.items() if self.recipe.draws_start(cell.arm, key)}
        if not start:
            return method
        settings = {**method.model_dump(), **start}
        return validate_settings(type(method), settings, f"arms.{cell.arm}.settings")

    def _tuned_settings(self, arm: str) -> Mapping[str, Any]:
        return self.tuned.get(self.recipe.arms[arm].tuned_as or arm, {})

    @property
    def first_method(self) -> Method:
        """Method of the first arm, the subject of all claims."""
        return self.get_method(next(iter(self.recipe.arms)))

    def list_gene_methods(self) -> list[Method]:
        """List the methods that make the genes of all arms, each once."""
        methods: dict[str, Method] = {}
        for arm in self.recipe.arms:
            method = find_source(self.get_method(arm))
            if method.traits.has_gene:
                methods.setdefault(repr((method.name, method)), method)
        return list(methods.values())

    def cell_settings(self, cell: Cell) -> TrainSettings:
        """Return the training settings of a cell: those it tries, or else the tuned ones, or else the recipe's."""
        recipe, tune = self.recipe, self.recipe.tune
        tuned: Mapping[str, Any] = {} if cell.tuning else self._tuned_settings(cell.arm)
        changes: dict[str, Any] = {key: tuned[key] for key in TUNED_SETTINGS if key in tuned}
        if changes and tune is not None and tune.scaling == "width":
            changes["lr"] *= read_width(self.descendant_spec(tune.size)) / read_width(self.descendant_spec(cell.size))
        if cell.lr is not None:
            changes = {"lr": cell.lr, "weight_decay": cell.weight_decay}
        if cell.steps is not None:
            changes["steps"] = cell.steps
        if cell.tuning:
            # Tuning only reads the accuracy at the end, so earlier evaluations would only cost time.
            changes |= {"eval_at": (), "eval_every": None}
        return recipe.train_settings(cell.arm, **changes)

    def gene_seed(self, seed: int) -> int:
        """Return the seed of the ancestor and gene that a cell's seed uses."""
        return self.recipe.seeds[0] if self.recipe.one_gene else seed

    def ancestor_seed(self, seed: int) -> int:
        """Return the seed of the ancestor that a gene's seed uses."""
        return seed if self.recipe.ancestor.seed is None else self.recipe.ancestor.seed

    def gene_sizes(self, arm: str) -> dict[int, tuple[str, ...]]:
        """Return the sizes that an arm needs, by seed of ancestor and gene."""
        recipe, tune = self.recipe, self.recipe.tune
        sizes = {self.gene_seed(seed): recipe.sizes_of(arm) for seed in recipe.seeds}
        if tune is not None and recipe.is_tuned(arm):
            seed = self.gene_seed(tune.seed)
            sizes[seed] = tuple(dict.fromkeys((*sizes.get(seed, ()), tune.size)))
        return dict(sorted(sizes.items()))

    def build_ancestor(self, seed: int, size: str | None = None, *, is_hollow: bool = False) -> Network:
        """Build the ancestor of a seed before its training, or load the trained one of the recipe.

        Args:
            seed: Random seed of its weights.
            size: Size of its descendant, for methods that need an ancestor of each size.
            is_hollow: Whether an ancestor that is not trained yet has shapes alone, which is many times faster.
        """
        ancestor = self.recipe.ancestor
        if ancestor.path is None:
            data, initial_seed = self.load_data(ancestor.data), derive(self.ancestor_seed(seed), "ancestor")
            parsed = Size.parse(size or "")
            return build_start_network(ancestor.model, data, ancestor.train, initial_seed, parsed, is_hollow=is_hollow)
        if self.is_estimate and ancestor.like is not None and not Path(ancestor.path).exists():
            data = self.load_data(ancestor.data)
            return build_start_network(ancestor.like, data, ancestor.train, 0, is_hollow=is_hollow)
        folder = PACKAGED if ancestor.path == "packaged" else ancestor.path
        model = ancestor.model if Path(folder).is_file() else None
        network = load_network(folder, model, weights=not self.is_estimate, **ancestor.images)
        return self._name_classes(network if model is None else self._name_outputs(network))

    def _name_outputs(self, ancestor: Network) -> Network:
        """Give the weights of a file the class names of the recipe's data; what else was assumed stays as it is."""
        classes = self.load_data(self.recipe.ancestor.data).classes
        is_named = "classes" in ancestor.assumed and len(ancestor.classes) == len(classes)
        # A comparison uses what its recipe says: it is never changed by a measurement.
        return replace(ancestor, classes=classes if is_named else ancestor.classes, assumed=frozenset())

    def _name_classes(self, ancestor: Network) -> Network:
        """Give an ancestor the class names of described data with as many classes, which have no real names."""
        description = self._find_description(self.recipe.ancestor.data)
        if description is None or len(ancestor.classes) != description.classes:
            return ancestor
        return replace(ancestor, classes=self.load_data(self.recipe.ancestor.data).classes)

    @cached_property
    def _ancestor_specs(self) -> dict[str, Spec | None]:
        """Known specs by request; each takes building or loading a whole network, and every cell asks."""
        return {}

    @cached_property
    def _gene_specs(self) -> dict[str, Spec]:
        return {}

    @cached_property
    def teacher_flops(self) -> dict[str, int]:
        """Known operations of a forward pass through the ancestor, by its size."""
        return {}

    @cached_property
    def _previews(self) -> dict[str, Network]:
        return {}

    def preview_ancestor(self, size: str | None = None) -> Network:
        """Build an ancestor for its spec and classes; it may lack weights. An estimate builds each once."""
        if not self.is_estimate:
            return self.build_ancestor(0, size, is_hollow=True)
        key = size or ""
        if key not in self._previews:
            self._previews[key] = self.build_ancestor(0, size, is_hollow=True)
        return self._previews[key]

    def ancestor_spec(self, size: str | None = None) -> Spec | None:
        """Return the spec of the ancestor, the same for every seed; None if no architecture knows the network."""
        key = "ancestor" if self.recipe.ancestor.path is not None else f"ancestor {size or ''}"
        if key not in self._ancestor_specs:
            self._ancestor_specs[key] = self.preview_ancestor(size).spec
        return self._ancestor_specs[key]

    def gene_spec(self, method: Method, size: str) -> Spec:
        """Return the spec of the network in which a gene is condensed.

        Raises:
            GermlineError: Ancestor, data and settings do not fit.
        """
        source, own_size = find_source(method), size if method.traits.needs_own_size else None
        key = repr((source.name, source, own_size))
        if key not in self._gene_specs:
            ancestor = None if source.ancestor == "none" else self.preview_ancestor(own_size)
            self._gene_specs[key] = source.condense_spec(ancestor, self.load_data(self.recipe.ancestor.data))
        return self._gene_specs[key]

    def list_sizes(self, method: Method, size: str) -> tuple[str, ...]:
        """List all sizes that a method builds from the gene for a size; empty without a gene or a list."""
        return method.describe_sizes(self.gene_spec(method, size)).names if method.traits.has_gene else ()

    def get_ancestor(self, seed: int, size: str | None = None) -> Network:
        """Return the trained ancestor of a seed, of a descendant's size if one is given; train it if needed."""
        ancestor, network = self.recipe.ancestor, self.build_ancestor(seed, size)
        if ancestor.path is not None:
            return network
        data, folder = self.load_data(ancestor.data), self.ancestor_path(seed, size)
        with self.hold_part(folder):
            run = self.open_run(folder, derive(self.ancestor_seed(seed), "ancestor"))
            fit_classifier(network, data, ancestor.train, run=run, name="ancestor")
        return network

    def ancestor_path(self, seed: int, size: str | None = None) -> Path:
        """Return the folder of a seed's ancestor."""
        return find_part(self, lambda naming: make_ancestor_path(self, self.ancestor_seed(seed), size, naming))

    def ancestor_accuracy(self, seed: int) -> float | None:
        """Return the last validation accuracy of a seed's ancestor; None if it was not trained here or not needed."""
        if self.recipe.ancestor.path is not None or all(
            method.ancestor == "none" for method in self.list_gene_methods()
        ):
            return None
        folder = self.ancestor_path(seed)
        if self.remote is not None:
            self.remote.fetch(folder)
        result = folder / "ancestor" / "result.json"
        return float(read_json(result)["scores"][-1]["accuracy"]) if result.exists() else None

    def get_gene(self, arm: str, seed: int, size: str) -> Learngene | None:
        """Return the gene of an arm, made if needed; None for an arm without one."""
        method = self.get_method(arm)
        return self._make_gene(method, seed, size) if method.traits.has_gene else None

    def _make_gene(self, method: Method, seed: int, size: str) -> Learngene:
        parent = method.derived_from() if isinstance(method, DerivedMethod) else None
        if isinstance(method, DerivedMethod) and parent is not None:
            return method.derive(self._make_gene(parent, seed, size), generator(seed, method.name))
        folder = self.gene_path(method, seed, size)
        with self.hold_part(folder):
            if folder.exists():
                with explain_damage(folder):
                    return Learngene.load(folder)
            own_size = size if method.traits.needs_own_size else None
            ancestor = None if method.ancestor == "none" else self.get_ancestor(seed, own_size)
            run = self.open_run(folder.with_suffix(".run"), derive(seed, method.name))
            gene = method.condense(ancestor, self.load_data(self.recipe.ancestor.data), run)
            gene.save(folder)
        return gene

    def has_gene(self, arm: str, seed: int, size: str) -> bool:
        """Tell whether the gene of an arm is in the store; True for an arm without one."""
        method = find_source(self.get_method(arm))
        if not method.traits.has_gene:
            return True
        path = self.gene_path(method, seed, size)
        return path.exists() if self.remote is None else self.remote.has_part(path.name)

    def gene_path(self, method: Method, seed: int, size: str) -> Path:
        """Return the folder of a gene."""
        return find_part(self, lambda naming: make_gene_path(self, method, seed, size, naming))

    def cell_data_name(self, cell: Cell) -> str:
        """Return the name of a cell's data; headline numbers (`final`) have a part of their own."""
        if not self.recipe.final or cell.tuning:
            return self.recipe.data
        return self.recipe.final_data or FINAL_DATA

    def load_cell_data(self, cell: Cell) -> tuple[DataSet, ...]:
        """Load the data of a cell: one data set, or one per task."""
        name, tasks = self.cell_data_name(cell), self.recipe.tasks
        data = self.load_data(name) if name == self.recipe.data else self._read_final_data(name, cell)
        if tasks is None:
            return (data,)
        return draw_task_list(data, tasks.ways, None, tasks.count, derive(cell.seed, "tasks"))

    def _read_final_data(self, name: str, cell: Cell) -> DataSet:
        """Read the data for headline numbers, and log the reading first."""
        log, purpose = self.out / READINGS_FILE, f"{self.recipe.title}: {cell.name}"
        if name == FINAL_DATA:
            return read_final_glyphs(log, purpose)
        log_final_reading(log, purpose)
        return self.load_data(name)

    def descendant_spec(self, size: str, images: AnyImages | None = None) -> Spec:
        """Return the spec of descendants of a size.

        It is the ancestor's spec at that size, as the first arm of that size reads the size.

        Args:
            size: Size in the size language.
            images: Training images of the descendant; None: those of the recipe's data.
        """
        images = self.load_data(self.recipe.data).train if images is None else images
        fields = {"image_size": images.side, "channels": images.channels, "classes": len(images.classes)}
        ancestor_spec = None if self.recipe.ancestor.path is None else self.ancestor_spec()
        if ancestor_spec is None:
            spec = model_spec(self.recipe.ancestor.model, **fields)
        else:
            spec = ancestor_spec.model_copy(update=fields)
        methods = (self.get_method(arm) for arm in self.recipe.arms if size in self.recipe.sizes_of(arm))
        return next(methods, self.first_method).descendant_spec(spec, Size.parse(size))

    def load_data(self, name: str) -> DataSet:
        """Load a data set once per process. For an estimate, known numbers replace missing data."""
        description = self._find_description(name)
        if description is not None:
            numbers = (description.classes, description.images, description.side, description.channels)
            return make_placeholder_once(name, *numbers)
        return load_data_or_placeholder_once(name)[0] if self.is_estimate else load_data_once(name)

    def list_missing_data(self, name: str) -> tuple[str, ...]:
        """List messages about the data sets of a name that are not on this machine."""
        if self._find_description(name) is not None:
            return (missing_data_message(name),)
        return load_data_or_placeholder_once(name)[1]

    def _find_description(self, name: str) -> DataDescription | None:
        """Find the recipe's numbers of a data set, for an estimate without the data."""
        description = next((entry for entry in self.recipe.described if entry.data == name), None)
        return description if self.is_estimate and description is not None and missing_data_message(name) else None
