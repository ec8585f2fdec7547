"""A cell: one descendant grown, trained and scored, kept under a hash of all that it depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from germline.architectures import Preprocess, Size, Target
from germline.compare.cost.cost import forward_flops, teacher_flops
from germline.compare.cost.storage import count_network_parameters
from germline.compare.run.cells import Cell
from germline.compare.run.linear_probe import fit_linear_probe
from germline.compare.run.store import ArtifactStore
from germline.data import AnyImages, DataSet
from germline.errors import SettingError
from germline.files import file_lock, read_json, write_json
from germline.learngene import Descendant, Learngene
from germline.methods.base import empty_gene, find_source
from germline.randomness import derive, generator
from germline.registry import architecture_of
from germline.training import CrossEntropy, FitResult, Run, evaluate


@dataclass(frozen=True)
class _TaskRun:
    """What one training of one descendant came to."""

    child: Descendant
    result: FitResult
    test_accuracy: float | None
    probe: float | None
    taught_flops: int


def run_cell(store: ArtifactStore, cell: Cell) -> dict[str, Any]:
    """Grow, train and score one descendant (one a task, where there are tasks), or give the kept result."""
    place = cell_path(store, cell)
    with file_lock(place.with_suffix(".lock")):
        if not place.exists():
            gene = store.get_gene(cell.arm, store.gene_seed(cell.seed), cell.size)
            trained = [
                _train(store, cell, gene, source, task) for task, source in enumerate(store.load_cell_data(cell))
            ]
            write_json(place, _cell_facts(store, cell, trained))
        return {"asked": asdict(cell), **read_json(place)}


def cell_path(store: ArtifactStore, cell: Cell) -> Path:
    """Where a cell's result is kept."""
    method, recipe, form = store.get_method(cell.arm), store.recipe, store.descendant_spec(cell.size)
    facts: dict[str, Any] = {
        "method": method.name,
        "settings": method.model_dump(mode="json"),
        "form": repr(form),
        "data": store.data_fingerprint(recipe.data),
        "final": store.cell_data_name(cell) != recipe.data,
        "images": cell.images,
        "tasks": recipe.tasks and recipe.tasks.model_dump(),
        "seed": cell.seed,
        "draw": recipe.arms[cell.arm].draw,
        "train": store.cell_settings(cell).model_dump(mode="json"),
        "tuning": cell.tuning,
    }
    if method.traits.has_named_sizes and cell.size in store.listed_sizes(method, cell.size):
        # Sizes that are named say which parts of the gene are meant; paths of equal form are not the same network.
        facts["size"] = cell.size
    if method.traits.has_gene:
        facts["gene"] = store.gene_path(find_source(method), store.gene_seed(cell.seed), cell.size).name
    return store.part_path("cell", facts).with_suffix(".json")


def _train(store: ArtifactStore, cell: Cell, gene: Learngene | None, source: DataSet, task: int) -> _TaskRun:
    seed = cell.seed if store.recipe.tasks is None else derive(cell.seed, "task", task)
    drawn = _draw_images(source.train, cell.images, seed)
    child, settings = _build_descendant(store, cell, gene, drawn), store.cell_settings(cell)
    network, method = child.network, store.get_method(cell.arm)
    if settings.steps == 0:
        return _evaluate_untrained(cell, child, source)
    probed = None if cell.tuning else fit_linear_probe(network, drawn, source.val)
    objective = method.objective(gene, child) if gene is not None else None
    result = Run(None, seed=seed, quiet=store.quiet).fit(
        "descendant",
        network,
        objective or CrossEntropy(settings.label_smoothing),
        drawn,
        settings,
        val=source.val,
        augmentation=source.augmentation,
    )
    tested = None if cell.tuning else evaluate(network.model, network.logits, source.test).accuracy
    teacher = teacher_flops(store) if method.traits.needs_teacher else 0
    return _TaskRun(child, result, tested, probed, teacher * result.samples)


def _evaluate_untrained(cell: Cell, child: Descendant, source: DataSet) -> _TaskRun:
    """Look at a descendant that is not to be trained: on validation as at step 0, and on test.

    Raises:
        SettingError: Its head is fresh.
    """
    network = child.network
    assert network.spec is not None  # noqa: S101 - a grown network always has one
    head = architecture_of(network.spec).parts(network.spec).head
    if any(child.ledger.entries[name]["fresh"] for name in head):
        raise SettingError(
            f"arm '{cell.arm}' has steps=0 and a fresh head",
            f"its gene knows other classes than the {len(network.classes)} of '{source.name}', or none",
            "give the arm a step or more",
        )
    seen, last = (evaluate(network.model, network.logits, part) for part in (source.val, source.test))
    scores = [{"step": 0, "accuracy": seen.accuracy, "loss": seen.loss}]
    return _TaskRun(child, FitResult(0, 0, 0.0, [], scores), last.accuracy, None, 0)


def _draw_images(train: AnyImages, images: int | str, seed: int) -> AnyImages:
    return train if isinstance(images, str) else train.draw_per_class(images, generator(seed, "draw", images))


def _build_descendant(store: ArtifactStore, cell: Cell, gene: Learngene | None, drawn: AnyImages) -> Descendant:
    draw = derive(cell.seed, "initial", cell.size, *([again] if (again := store.recipe.arms[cell.arm].draw) else []))
    if gene is not None:
        size = Size() if store.get_method(cell.arm).traits.needs_own_size else Size.parse(cell.size)
        return gene.inherit(size, drawn.classes, drawn.channels, drawn.side, seed=draw)
    form = store.descendant_spec(cell.size, drawn)
    method, preprocess = store.get_method(cell.arm), Preprocess.from_images(drawn.sample())
    target = Target(architecture_of(form).name, form, drawn.classes, preprocess)
    return method.inherit(empty_gene(method, form, preprocess), target, torch.Generator().manual_seed(draw))


def _cell_facts(store: ArtifactStore, cell: Cell, trained: list[_TaskRun]) -> dict[str, Any]:
    first, results, settings = trained[0], [one.result for one in trained], store.cell_settings(cell)
    network = first.child.network
    assert network.spec is not None  # noqa: S101 - a grown network always has one
    whole, headless = count_network_parameters(network.spec)
    samples = sum(result.samples for result in results)
    return {
        "lr": settings.lr,
        "weight_decay": settings.weight_decay,
        "curve": [
            {"step": int(score["step"]), **{key: fmean(r.scores[at][key] for r in results) for key in _SCORED}}
            for at, score in enumerate(results[0].scores)
        ],
        "test_accuracy": _mean([one.test_accuracy for one in trained]),
        "task_accuracies": [one.test_accuracy for one in trained] if store.recipe.tasks else None,
        "probe_accuracy": _mean([one.probe for one in trained]),
        "steps": results[0].steps,
        "samples": samples,
        "seconds": round(sum(result.seconds for result in results), 3),
        "parameters": whole,
        "headless_parameters": headless,
        "flops": 3 * forward_flops(network) * samples + sum(one.taught_flops for one in trained),
        "origins": first.child.ledger.totals(),
    }


_SCORED = ("accuracy", "loss")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
