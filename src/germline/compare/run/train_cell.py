"""Build, train and evaluate one descendant; the result is stored under a hash of everything it depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from germline.architectures import Preprocess, Size, Target
from germline.baselines.fresh_start import START_LABELS, FreshStart
from germline.compare.cost.cost import forward_flops, teacher_flops
from germline.compare.cost.storage import count_network_parameters
from germline.compare.run.cells import Cell
from germline.compare.run.data_cache import fingerprint_test
from germline.compare.run.frozen_body import PENALTIES, fit_frozen_body
from germline.compare.run.linear_probe import fit_linear_probe
from germline.compare.run.part_keys import (
    DataNaming,
    explain_damage,
    find_part,
    has_part,
    make_gene_path,
    name_final_data,
)
from germline.compare.run.store import FINAL_DATA, ArtifactStore
from germline.data import AnyImages, DataSet
from germline.errors import ArtefactError, SettingError
from germline.files import read_mapping, write_json
from germline.learngene import Descendant, Learngene
from germline.methods.base import empty_gene, find_source
from germline.randomness import derive, generator
from germline.registry import architecture_of
from germline.training import CrossEntropy, FitResult, Run


@dataclass(frozen=True)
class _TaskRun:
    """Training of one descendant on one task.

    Attributes:
        descendant: The descendant after training.
        fit: Steps, time and validation scores of the training.
        test_accuracy: Accuracy on test images; None in tuning.
        probe_accuracy: Accuracy of a linear probe before training; None without one.
        teacher_flops: Operations of a teacher's forward passes.
        penalty: Penalty of the head of a frozen body; None if the body is trained.
    """

    descendant: Descendant
    fit: FitResult
    test_accuracy: float | None
    probe_accuracy: float | None
    teacher_flops: int
    penalty: float | None = None


def run_cell(store: ArtifactStore, cell: Cell) -> dict[str, Any]:
    """Return a cell's result. If it is not in the store, train one descendant, or one per task, and evaluate it."""
    path = cell_path(store, cell)
    with store.hold_part(path):
        if not path.exists():
            gene = _bind_gene(store, cell, store.get_gene(cell.arm, store.gene_seed(cell.seed), cell.size))
            runs = [_train(store, cell, gene, data, task) for task, data in enumerate(store.load_cell_data(cell))]
            write_json(path, _cell_entry(store, cell, runs))
        asked = {key: value for key, value in asdict(cell).items() if key not in START_LABELS or value is not None}
        with explain_damage(path):
            return {"asked": asked, **_read_cell(path)}


def _read_cell(path: Path) -> dict[str, Any]:
    """Read a cell's entry.

    Raises:
        ArtefactError: It is damaged.
    """
    entry = read_mapping(path)
    if missing := [key for key in ("curve", "test_accuracy", "steps", "samples", "flops") if key not in entry]:
        raise ArtefactError(f"'{path}' does not hold the result of a descendant", f"'{missing[0]}' is missing")
    return entry


def _bind_gene(store: ArtifactStore, cell: Cell, gene: Learngene | None) -> Learngene | None:
    """Give a gene the settings of its cell; initial values act on descendants alone."""
    if gene is None or not isinstance(store.get_method(cell.arm), FreshStart):
        return gene
    return replace(gene, settings=store.cell_method(cell).model_dump(mode="json"))


def cell_path(store: ArtifactStore, cell: Cell) -> Path:
    """Return the path of a cell's result."""
    earlier = find_part(store, lambda naming: _make_cell_path(store, cell, naming))
    final = store.cell_data_name(cell)
    if final in (store.recipe.data, FINAL_DATA):
        return earlier
    path = find_part(store, lambda naming: _make_cell_path(store, cell, naming, name_final_data(final)))
    # Earlier keys did not say which final data are read. Those of characters are also the keys of `glyphs/final`.
    is_known = not store.recipe.data.startswith("glyphs/") and has_part(store, earlier) and not has_part(store, path)
    return earlier if is_known else path


def _make_cell_path(store: ArtifactStore, cell: Cell, naming: DataNaming, final: str | None = None) -> Path:
    method, recipe, spec = store.cell_method(cell), store.recipe, store.descendant_spec(cell.size)
    facts: dict[str, Any] = {
        "method": method.name,
        "settings": method.model_dump(mode="json"),
        "form": repr(spec),
        "data": naming(recipe.data),
        "final": store.cell_data_name(cell) != recipe.data,
        "images": cell.images,
        "tasks": recipe.tasks and recipe.tasks.model_dump(),
        "seed": cell.seed,
        "draw": recipe.arms[cell.arm].draw,
        "train": store.cell_settings(cell).model_dump(mode="json"),
        "tuning": cell.tuning,
    }
    facts |= {"train": None, "penalties": PENALTIES} if recipe.is_frozen else store.precision_facts
    if final is not None:
        facts["final_data"] = final
    elif "folder:" in recipe.data and not cell.tuning:
        # A user's test images can change apart from the others, which name the data.
        facts["test"] = fingerprint_test(recipe.data)
    if method.traits.has_named_sizes and cell.size in store.list_sizes(method, cell.size):
        # A named size selects parts of the gene: two paths with equal specs are different networks.
        facts["size"] = cell.size
    if not _needs_probe(store) and not cell.tuning:
        facts["probe"] = False
    if method.traits.has_gene:
        source, seed = find_source(store.get_method(cell.arm)), store.gene_seed(cell.seed)
        facts["gene"] = make_gene_path(store, source, seed, cell.size, naming).name
    return store.part_path("cell", facts).with_suffix(".json")


def _train(store: ArtifactStore, cell: Cell, gene: Learngene | None, data: DataSet, task: int) -> _TaskRun:
    seed = cell.seed if store.recipe.tasks is None else derive(cell.seed, "task", task)
    images = _draw_images(data.train, cell.images, seed)
    descendant, settings = _build_descendant(store, cell, gene, images), store.cell_settings(cell)
    network, method = descendant.network, store.cell_method(cell)
    run = store.open_run(None, seed)
    if store.recipe.is_frozen:
        return _fit_frozen(run, cell, descendant, images, data)
    if settings.steps == 0:
        return _evaluate_untrained(run, cell, descendant, data)
    has_probe = not cell.tuning and _needs_probe(store)
    probe_accuracy = fit_linear_probe(network, images, data.val, run.fabric.device) if has_probe else None
    objective = method.objective(gene, descendant) if gene is not None else None
    fit = run.fit(
        "descendant",
        network,
        objective or CrossEntropy(settings.label_smoothing),
        images,
        settings,
        val=data.val,
        augmentation=data.augmentation,
    )
    test_accuracy = None if cell.tuning else run.evaluate(network, data.test).accuracy
    flops = teacher_flops(store) if method.traits.needs_teacher else 0
    return _TaskRun(descendant, fit, test_accuracy, probe_accuracy, flops * fit.samples)


def _evaluate_untrained(run: Run, cell: Cell, descendant: Descendant, data: DataSet) -> _TaskRun:
    """Evaluate a descendant that is not trained: on validation images as step 0, and on test images.

    Raises:
        SettingError: The head is fresh.
    """
    network = descendant.network
    assert network.spec is not None  # noqa: S101 - a descendant always has one
    head = architecture_of(network.spec).parts(network.spec).head
    if any(descendant.ledger.entries[name]["fresh"] for name in head):
        raise SettingError(
            f"Arm '{cell.arm}' has steps=0 and a fresh head",
            f"Its gene knows other classes than the {len(network.classes)} of '{data.name}', or none",
            "Set its steps to 1 or more",
        )
    val, test = (run.evaluate(network, images) for images in (data.val, data.test))
    scores = [{"step": 0, "accuracy": val.accuracy, "loss": val.loss}]
    return _TaskRun(descendant, FitResult(0, 0, 0.0, [], scores), test.accuracy, None, 0)


def _needs_probe(store: ArtifactStore) -> bool:
    """Tell whether cells have a linear probe: on all images of the ancestor's data it would cost as much as they do."""
    return store.recipe.protocol != "same-labels"


def _fit_frozen(run: Run, cell: Cell, descendant: Descendant, images: AnyImages, data: DataSet) -> _TaskRun:
    tested = None if cell.tuning else data.test
    fit = fit_frozen_body(descendant.network, images, data.val, tested, run.fabric.device)
    scores = [{"step": 0, "accuracy": fit.val_accuracy, "loss": fit.val_loss}]
    result = FitResult(0, fit.samples, fit.seconds, [], scores)
    return _TaskRun(descendant, result, fit.test_accuracy, None, 0, fit.penalty)


def _draw_images(train: AnyImages, images: int | str, seed: int) -> AnyImages:
    return train if isinstance(images, str) else train.draw_per_class(images, generator(seed, "draw", images))


def _build_descendant(store: ArtifactStore, cell: Cell, gene: Learngene | None, images: AnyImages) -> Descendant:
    draw = store.recipe.arms[cell.arm].draw
    seed = derive(cell.seed, "initial", cell.size, *([draw] if draw else []))
    if gene is not None:
        size = Size() if store.get_method(cell.arm).traits.needs_own_size else Size.parse(cell.size)
        # Not all arms have a head. So a part of the gene's classes, or another order, gives all arms a fresh one.
        gene = gene if gene.classes == images.classes else replace(gene, classes=None)
        return gene.inherit(size, images.classes, images.channels, images.side, seed=seed)
    spec = store.descendant_spec(cell.size, images)
    method, preprocess = store.cell_method(cell), Preprocess.from_images(images.sample())
    target = Target(architecture_of(spec).name, spec, images.classes, preprocess)
    return method.inherit(empty_gene(method, spec, preprocess), target, torch.Generator().manual_seed(seed))


def _cell_entry(store: ArtifactStore, cell: Cell, runs: list[_TaskRun]) -> dict[str, Any]:
    """Return a cell's entry in the store; values of several tasks are averaged or summed."""
    first, fits, settings = runs[0], [run.fit for run in runs], store.cell_settings(cell)
    network = first.descendant.network
    assert network.spec is not None  # noqa: S101 - a descendant always has one
    parameters, headless = count_network_parameters(network.spec)
    samples, method = sum(fit.samples for fit in fits), store.cell_method(cell)
    start = {key: getattr(method, key) for key in START_LABELS} if isinstance(method, FreshStart) else {}
    is_frozen = store.recipe.is_frozen
    # A backward pass counts as two forward passes.
    passes = 1 if is_frozen else 3
    return {
        "lr": None if is_frozen else settings.lr,
        "weight_decay": None if is_frozen else settings.weight_decay,
        **{key: value for key, value in start.items() if value is not None},
        **({"penalties": [run.penalty for run in runs]} if is_frozen else {}),
        "curve": [
            {"step": int(score["step"]), **{key: fmean(fit.scores[at][key] for fit in fits) for key in _SCORE_KEYS}}
            for at, score in enumerate(fits[0].scores)
        ],
        "test_accuracy": _mean_known([run.test_accuracy for run in runs]),
        "task_accuracies": [run.test_accuracy for run in runs] if store.recipe.tasks else None,
        "probe_accuracy": _mean_known([run.probe_accuracy for run in runs]),
        "steps": fits[0].steps,
        "samples": samples,
        "seconds": round(sum(fit.seconds for fit in fits), 3),
        "parameters": parameters,
        "headless_parameters": headless,
        "flops": passes * forward_flops(network) * samples + sum(run.teacher_flops for run in runs),
        "origins": first.descendant.ledger.totals(),
    }


_SCORE_KEYS = ("accuracy", "loss")


def _mean_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
