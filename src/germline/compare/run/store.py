"""Where ancestors and genes are made, each once, and kept under a hash of all that they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from germline.api import build_start_network, train
from germline.architectures import Size, Spec
from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.sections import DataDescription
from germline.compare.run.cells import Cell
from germline.config import validate_settings
from germline.data import (
    AnyImages,
    DataSet,
    MissingDataError,
    draw_task_list,
    load_data,
    load_data_or_placeholder,
    make_placeholder,
    read_final_glyphs,
)
from germline.errors import DataError
from germline.files import file_lock, hash_tensor, read_json, read_tensors
from germline.learngene import Learngene
from germline.methods.base import DerivedMethod, Method, find_method, find_source
from germline.network import WEIGHTS, Network, load_network
from germline.randomness import derive, generator
from germline.registry import model_spec
from germline.training import Run, TrainSettings

PACKAGED = Path(__file__).parents[2] / "data" / "packs" / "ancestor"
FINAL = "glyphs/final"
TUNED = ("lr", "weight_decay")


@dataclass(frozen=True)
class ArtifactStore:
    """Makes the parts of one comparison, or finds them made.

    Attributes:
        recipe: What is compared.
        out: The comparison's folder.
        folder: Folder in which parts are kept; several comparisons may share it.
        tuned: Chosen rate and decay by arm; empty until they are chosen.
        quiet: Whether progress is left out.
        pricing: Whether nothing is made: data and weights that are not at hand are stood for by their numbers.
    """

    recipe: Recipe
    out: Path
    folder: Path
    tuned: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    quiet: bool = True
    pricing: bool = False

    def part_path(self, kind: str, facts: Mapping[str, Any]) -> Path:
        """Where a part is kept: the same facts are the same part, in this comparison or another."""
        text = json.dumps({"version": version("germline"), **facts}, sort_keys=True)
        return self.folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    def get_method(self, arm: str) -> Method:
        """The method of an arm, with its settings."""
        chosen = self.recipe.arms[arm]
        return validate_settings(find_method(chosen.method), chosen.settings, f"arms.{arm}.settings")

    @property
    def first_method(self) -> Method:
        """The method of the first arm, of which claims are made."""
        return self.get_method(next(iter(self.recipe.arms)))

    def gene_methods(self) -> list[Method]:
        """Methods of the arms that have a gene, each once; a redrawn gene is that which it is redrawn from."""
        found: dict[str, Method] = {}
        for arm in self.recipe.arms:
            method = find_source(self.get_method(arm))
            if method.traits.has_gene:
                found.setdefault(repr((method.name, method)), method)
        return list(found.values())

    def cell_settings(self, cell: Cell) -> TrainSettings:
        """How a cell's descendant is trained: as tried, or as tuned, or as the recipe says."""
        recipe, tune = self.recipe, self.recipe.tune
        chosen = {} if cell.tuning else self.tuned.get(recipe.arms[cell.arm].tuned_as or cell.arm, {})
        more: dict[str, Any] = {key: chosen[key] for key in TUNED if key in chosen}
        if more and tune is not None and tune.scaling == "width":
            more["lr"] *= _width(self.descendant_spec(tune.size)) / _width(self.descendant_spec(cell.size))
        if cell.lr is not None:
            more = {"lr": cell.lr, "weight_decay": cell.weight_decay}
        if cell.steps is not None:
            more["steps"] = cell.steps
        if cell.tuning:
            # A choice is made by how training ends; a look on the way there would only cost time.
            more |= {"eval_at": (), "eval_every": None}
        return recipe.train_settings(cell.arm, **more)

    def gene_seed(self, seed: int) -> int:
        """The seed of the ancestor and gene that a cell's seed uses."""
        return self.recipe.seeds[0] if self.recipe.one_gene else seed

    def gene_sizes(self, arm: str) -> dict[int, tuple[str, ...]]:
        """For each seed that has an ancestor and genes of its own, the sizes that an arm grows from them."""
        recipe, tune = self.recipe, self.recipe.tune
        sizes = {self.gene_seed(seed): recipe.sizes_of(arm) for seed in recipe.seeds}
        if tune is not None and recipe.is_tuned(arm):
            seed = self.gene_seed(tune.seed)
            sizes[seed] = tuple(dict.fromkeys((*sizes.get(seed, ()), tune.size)))
        return dict(sorted(sizes.items()))

    def build_ancestor(self, seed: int, size: str | None = None) -> Network:
        """The ancestor of a seed before it is trained; one that is at hand as it is."""
        wanted = self.recipe.ancestor
        if wanted.path is not None and self.pricing and wanted.like is not None and not Path(wanted.path).exists():
            return build_start_network(wanted.like, self.load_data(wanted.data), wanted.train, 0)
        if wanted.path is not None:
            found = load_network(PACKAGED if wanted.path == "packaged" else wanted.path, weights=not self.pricing)
            return self._named(found)
        source = self.load_data(wanted.data)
        return build_start_network(wanted.model, source, wanted.train, derive(seed, "ancestor"), Size.parse(size or ""))

    def _named(self, ancestor: Network) -> Network:
        """An ancestor that knows as many classes as described data have is taken to know these: they have no names."""
        known = self._stand_in(self.recipe.ancestor.data)
        if known is None or len(ancestor.classes) != known.classes:
            return ancestor
        return replace(ancestor, classes=self.load_data(self.recipe.ancestor.data).classes)

    @cached_property
    def _forms(self) -> dict[str, Spec | None]:
        """Forms that were asked for: for each of them a whole network has to be built or read, and cells ask again."""
        return {}

    @cached_property
    def _gene_specs(self) -> dict[str, Spec]:
        return {}

    def ancestor_spec(self, size: str | None = None) -> Spec | None:
        """The form of the ancestor, which is that of every seed; None where no architecture knows it."""
        asked = "ancestor" if self.recipe.ancestor.path is not None else f"ancestor {size or ''}"
        if asked not in self._forms:
            self._forms[asked] = self.build_ancestor(0, size).spec
        return self._forms[asked]

    def gene_spec(self, method: Method, size: str) -> Spec:
        """The form that a gene is condensed in.

        Raises:
            GermlineError: Ancestor, data and settings do not fit.
        """
        source, own = find_source(method), size if method.traits.needs_own_size else None
        asked = repr((source.name, source, own))
        if asked not in self._gene_specs:
            begun = None if source.ancestor == "none" else self.build_ancestor(0, own)
            self._gene_specs[asked] = source.condense_spec(begun, self.load_data(self.recipe.ancestor.data))
        return self._gene_specs[asked]

    def listed_sizes(self, method: Method, size: str) -> tuple[str, ...]:
        """Every size that a method grows from the gene for a size, if it can list them; none without a gene."""
        return method.describe_sizes(self.gene_spec(method, size)).names if method.traits.has_gene else ()

    def get_ancestor(self, seed: int, size: str | None = None) -> Network:
        """The ancestor of a seed; of a descendant's size where that is given."""
        wanted, network = self.recipe.ancestor, self.build_ancestor(seed, size)
        if wanted.path is not None:
            return network
        source, place = self.load_data(wanted.data), self.ancestor_path(seed, size)
        with file_lock(place.with_suffix(".lock")):
            run = Run(place, seed=derive(seed, "ancestor"), quiet=self.quiet)
            train(network, source, wanted.train, run=run, name="ancestor")
        return network

    def ancestor_path(self, seed: int, size: str | None = None) -> Path:
        """Where the ancestor of a seed is kept; of one that is at hand, a name for its weights."""
        wanted = self.recipe.ancestor
        if wanted.path is not None:
            return self.part_path("ancestor", {"weights": _weights_hash(wanted.path)})
        facts = {
            "data": self.data_fingerprint(wanted.data),
            "train": wanted.train.model_dump(mode="json"),
            "spec": repr(self.ancestor_spec(size)),
            "seed": seed,
        }
        return self.part_path("ancestor", facts)

    def ancestor_accuracy(self, seed: int) -> float | None:
        """Last validation accuracy of a seed's ancestor; None for one that is at hand, or that nobody asks for."""
        if self.recipe.ancestor.path is not None or all(method.ancestor == "none" for method in self.gene_methods()):
            return None
        kept = self.ancestor_path(seed) / "ancestor" / "result.json"
        return float(read_json(kept)["scores"][-1]["accuracy"]) if kept.exists() else None

    def get_gene(self, arm: str, seed: int, size: str) -> Learngene | None:
        """The gene of an arm; None for an arm that has none."""
        method = self.get_method(arm)
        return self._make_gene(method, seed, size) if method.traits.has_gene else None

    def _make_gene(self, method: Method, seed: int, size: str) -> Learngene:
        parent = method.derived_from() if isinstance(method, DerivedMethod) else None
        if isinstance(method, DerivedMethod) and parent is not None:
            return method.derive(self._make_gene(parent, seed, size), generator(seed, method.name))
        place = self.gene_path(method, seed, size)
        with file_lock(place.with_suffix(".lock")):
            if place.exists():
                return Learngene.load(place)
            own = size if method.traits.needs_own_size else None
            ancestor = None if method.ancestor == "none" else self.get_ancestor(seed, own)
            run = Run(place.with_suffix(".run"), seed=derive(seed, method.name), quiet=self.quiet)
            gene = method.condense(ancestor, self.load_data(self.recipe.ancestor.data), run)
            gene.save(place)
        return gene

    def has_gene(self, arm: str, seed: int, size: str) -> bool:
        """Whether the gene that an arm needs is there; an arm without one needs none."""
        method = find_source(self.get_method(arm))
        return not method.traits.has_gene or self.gene_path(method, seed, size).exists()

    def gene_path(self, method: Method, seed: int, size: str) -> Path:
        """Where a gene is kept."""
        facts: dict[str, Any] = {"method": method.name, "settings": method.model_dump(mode="json"), "seed": seed}
        facts["data"] = self.data_fingerprint(self.recipe.ancestor.data)
        if method.ancestor != "none":
            facts["ancestor"] = self.ancestor_path(seed, size if method.traits.needs_own_size else None).name
        return self.part_path("gene", facts)

    def cell_data_name(self, cell: Cell) -> str:
        """The data that a cell's descendant is trained on: for headline numbers, the part that is kept for them."""
        return FINAL if self.recipe.final and not cell.tuning else self.recipe.data

    def load_cell_data(self, cell: Cell) -> tuple[DataSet, ...]:
        """The data of a cell: one set, or one a task."""
        name, tasks = self.cell_data_name(cell), self.recipe.tasks
        why = f"{self.recipe.title}: {cell.name}"
        whole = read_final_glyphs(self.out / "final-readings.jsonl", why) if name == FINAL else self.load_data(name)
        if tasks is None:
            return (whole,)
        return draw_task_list(whole, tasks.ways, None, tasks.count, derive(cell.seed, "tasks"))

    def descendant_spec(self, size: str, drawn: AnyImages | None = None) -> Spec:
        """The form of what grows from nothing: the ancestor's, at the size as the first arm there reads it."""
        drawn = self.load_data(self.recipe.data).train if drawn is None else drawn
        wanted = {"image_size": drawn.side, "channels": drawn.channels, "classes": len(drawn.classes)}
        if self.recipe.ancestor.path is None:
            spec = model_spec(self.recipe.ancestor.model, **wanted)
        else:
            own = self.ancestor_spec()
            spec = model_spec(self.recipe.ancestor.model, **wanted) if own is None else own.model_copy(update=wanted)
        readers = (self.get_method(arm) for arm in self.recipe.arms if size in self.recipe.sizes_of(arm))
        return next(readers, self.first_method).descendant_spec(spec, Size.parse(size))

    def load_data(self, name: str) -> DataSet:
        """A data set, read once a process; for pricing alone, one that is not at hand is as the recipe describes it."""
        known = self._stand_in(name)
        if known is not None:
            return _describe_once(name, known.classes, known.images, known.side, known.channels)
        return _read_or_describe_once(name)[0] if self.pricing else _read_once(name)

    def missing(self, name: str) -> tuple[str, ...]:
        """Messages about the data sets of a name that are not on this machine and are known by their numbers alone."""
        return (_absence(name),) if self._stand_in(name) is not None else _read_or_describe_once(name)[1]

    def _stand_in(self, name: str) -> DataDescription | None:
        """The numbers of a data set that is not at hand, where they will do and there are any."""
        found = next((one for one in self.recipe.described if one.data == name), None)
        return found if self.pricing and found is not None and _absence(name) else None

    def data_fingerprint(self, name: str) -> str:
        """What stands for a data set's training pictures in a part's facts."""
        return f"{name} {_fingerprint_once(name)}"


def _width(spec: Spec) -> int:
    """What `width` says in the size language: of a network with stages, the channels of its first unit."""
    fields = spec.model_dump()
    found = fields.get("width", fields.get("widths", 1))
    while isinstance(found, tuple):
        found = found[0]
    return int(found)


@lru_cache(maxsize=4)
def _read_once(name: str) -> DataSet:
    return load_data(name)


@lru_cache(maxsize=4)
def _read_or_describe_once(name: str) -> tuple[DataSet, tuple[str, ...]]:
    """A data set, described where it is missing, with a message for each missing one."""
    try:
        return _read_once(name), ()
    except MissingDataError:
        found, missing = load_data_or_placeholder(name)
        return found, tuple(dict.fromkeys(map(str, missing)))


@lru_cache(maxsize=4)
def _describe_once(*numbers: Any) -> DataSet:
    return make_placeholder(*numbers)


@lru_cache(maxsize=16)
def _absence(name: str) -> str:
    """Why a data set cannot be read here; empty where it can."""
    try:
        return "" if len(_read_once(name).train) else f"'{name}' has no training images."
    except DataError as error:
        return str(error)


@lru_cache(maxsize=16)
def _fingerprint_once(name: str) -> str:
    return _read_once(name).fingerprint()


@lru_cache(maxsize=16)
def _weights_hash(path: str) -> str:
    folder = PACKAGED if path == "packaged" else Path(path)
    if (folder / WEIGHTS).is_file():
        tensors = read_tensors(folder / WEIGHTS)
    else:
        tensors = dict(load_network(path).model.state_dict())
    hashes = [(name, hash_tensor(tensor)) for name, tensor in sorted(tensors.items())]
    return hashlib.sha256(repr(hashes).encode()).hexdigest()
