"""What a comparison is made of: ancestors, genes and cells, each made once and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from germline.anatomy import Preprocess, Size, Spec, Target
from germline.api import start_network, train
from germline.config import Recipe, validated
from germline.data import AnyPictures, DataSet, data
from germline.files import read_json, write_json
from germline.learngene import Descendant, Learngene
from germline.methods.base import Method
from germline.methods.scratch import Scratch
from germline.network import Network, load_network
from germline.randomness import derive, generator
from germline.registry import METHODS, anatomy_of, model_spec
from germline.training import CrossEntropy, Run, TrainSettings, evaluate

PACKAGED = Path(__file__).parent.parent / "data" / "packs" / "ancestor"


@dataclass(frozen=True, order=True)
class Cell:
    """One descendant to be grown and trained.

    Attributes:
        arm: How it starts.
        size: In the size language.
        images: Training pictures a class.
        seed: Of all that it depends on.
        lr: A rate to try; None takes the arm's own, tuned or given.
        weight_decay: Likewise.
    """

    arm: str
    size: str
    images: int
    seed: int
    lr: float | None = None
    weight_decay: float | None = None

    @property
    def name(self) -> str:
        """A file name, unique in the comparison."""
        tried = "" if self.lr is None else f".lr={self.lr:g}.wd={self.weight_decay:g}"
        return f"{self.arm}.{self.size}.{self.images}.seed={self.seed}{tried}"


@dataclass(frozen=True)
class Workshop:
    """Makes the parts of one comparison, or finds them made.

    Attributes:
        recipe: What is compared.
        out: The comparison's folder.
        quiet: Whether progress is left out.
    """

    recipe: Recipe
    out: Path
    quiet: bool = True

    def method(self, arm: str) -> Method:
        """The method of an arm, with its settings."""
        chosen = self.recipe.arms[arm]
        return validated(METHODS[chosen.method], chosen.settings, f"arms.{arm}.settings")

    def gene_seed(self, seed: int) -> int:
        """The seed of the ancestor and gene that a cell's seed uses."""
        return self.recipe.seeds[0] if self.recipe.one_gene else seed

    def gene_sizes(self) -> dict[int, tuple[str, ...]]:
        """For each seed that has an ancestor and genes of its own, the sizes that are grown from them."""
        recipe, tune = self.recipe, self.recipe.tune
        sizes = {self.gene_seed(seed): recipe.sizes for seed in recipe.seeds}
        if tune is not None:
            seed = self.gene_seed(tune.seed)
            sizes[seed] = tuple(dict.fromkeys((*sizes.get(seed, ()), tune.size)))
        return dict(sorted(sizes.items()))

    def begin_ancestor(self, seed: int, size: str | None = None) -> Network:
        """The ancestor of a seed before it is trained; one that is at hand as it is."""
        wanted = self.recipe.ancestor
        if wanted.path is not None:
            return load_network(PACKAGED if wanted.path == "packaged" else wanted.path)
        source = self.data(wanted.data)
        return start_network(wanted.model, source, wanted.train, derive(seed, "ancestor"), Size.parse(size or ""))

    def ancestor(self, seed: int, size: str | None = None) -> Network:
        """The ancestor of a seed; of a descendant's size where that is given."""
        wanted, network = self.recipe.ancestor, self.begin_ancestor(seed, size)
        if wanted.path is not None:
            return network
        source = self.data(wanted.data)
        # Named by the form, not by how it was asked for, so that an ancestor of its own size is not made twice.
        place = self._seed_folder(seed) / f"ancestor.{derive(0, repr(network.spec)) % 16**8:08x}"
        train(network, source, wanted.train, run=Run(place, seed=derive(seed, "ancestor"), quiet=self.quiet))
        return network

    def gene(self, arm: str, seed: int, size: str) -> Learngene | None:
        """The gene of an arm; None for an arm that has none."""
        method = self.method(arm)
        if isinstance(method, Scratch):
            return None
        suffix = f".{size}" if method.own_size else ""
        place = self._seed_folder(seed) / f"gene.{arm}{suffix}"
        if place.exists():
            return Learngene.load(place)
        ancestor = None if method.ancestor == "none" else self.ancestor(seed, size if method.own_size else None)
        run = Run(place.with_suffix(place.suffix + ".run"), seed=derive(seed, arm), quiet=self.quiet)
        gene = method.condense(ancestor, self.data(self.recipe.ancestor.data), run)
        gene.save(place)
        return gene

    def cell(self, cell: Cell) -> dict[str, Any]:
        """Grow, train and score one descendant, or give its kept result."""
        tuning = cell.lr is not None
        place = self.out / ("tuning" if tuning else "cells") / f"{cell.name}.json"
        if place.exists():
            return dict(read_json(place))
        source = self.data(self.recipe.data)
        drawn = source.train.per_class(cell.images, generator(cell.seed, "draw", cell.images))
        child = self._descendant(cell, drawn)
        settings = self._settings(cell)
        network = child.network
        result = Run(None, seed=cell.seed, quiet=self.quiet).fit(
            "descendant",
            network,
            CrossEntropy(settings.label_smoothing),
            drawn,
            settings,
            val=source.val,
            augmentation=source.augmentation,
        )
        spec = network.spec
        assert spec is not None  # noqa: S101 - a grown network always has one
        kept: dict[str, Any] = {
            **asdict(cell),
            "lr": settings.lr,
            "weight_decay": settings.weight_decay,
            "curve": [{"step": int(s["step"]), "accuracy": s["accuracy"], "loss": s["loss"]} for s in result.scores],
            "test_accuracy": None if tuning else evaluate(network.model, network.logits, source.test).accuracy,
            "steps": result.steps,
            "samples": result.samples,
            "seconds": result.seconds,
            "parameters": sum(parameter.numel() for parameter in network.model.parameters()),
            "flops": 3 * anatomy_of(spec).flops(spec) * result.samples,
            "origins": child.ledger.totals(),
        }
        write_json(place, kept)
        return kept

    def _descendant(self, cell: Cell, drawn: AnyPictures) -> Descendant:
        draw = derive(cell.seed, "initial", cell.size)
        gene = self.gene(cell.arm, self.gene_seed(cell.seed), cell.size)
        channels, side = drawn.channels, drawn.side
        if gene is not None:
            size = Size() if self.method(cell.arm).own_size else Size.parse(cell.size)
            return gene.inherit(size, drawn.classes, channels, side, seed=draw)
        target = Target("vit", self.form(cell.size, drawn), drawn.classes, Preprocess.of(drawn.sample()))
        return Scratch().inherit(None, target, torch.Generator().manual_seed(draw))

    def form(self, size: str, drawn: AnyPictures) -> Spec:
        """The form of a network that grows from nothing: the ancestor's, at the cell's size."""
        channels, side = drawn.channels, drawn.side
        wanted = {"image_size": side, "channels": channels, "classes": len(drawn.classes)}
        if self.recipe.ancestor.path is None:
            spec = model_spec(self.recipe.ancestor.model, **wanted)
        else:
            own = self.begin_ancestor(0).spec
            spec = model_spec(self.recipe.ancestor.model, **wanted) if own is None else own.model_copy(update=wanted)
        form: Spec = anatomy_of(spec).resize(spec, Size.parse(size))
        return form

    def _settings(self, cell: Cell) -> TrainSettings:
        if cell.lr is not None:
            return self.recipe.train_settings(cell.arm, lr=cell.lr, weight_decay=cell.weight_decay)
        tuned = self.out / "tuned.json"
        chosen = read_json(tuned).get(self.recipe.arms[cell.arm].tuned_as or cell.arm, {}) if tuned.exists() else {}
        best = {key: chosen[key] for key in ("lr", "weight_decay") if key in chosen}
        return self.recipe.train_settings(cell.arm, **best)

    def _seed_folder(self, seed: int) -> Path:
        return self.out / "seeds" / str(seed)

    @staticmethod
    def data(name: str) -> DataSet:
        """A data set, read once a process."""
        return _read_once(name)


@lru_cache(maxsize=4)
def _read_once(name: str) -> DataSet:
    return data(name)
