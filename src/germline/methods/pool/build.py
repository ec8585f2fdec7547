"""From trained auxiliary models to a pool whose paths are validated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from germline.architectures import VIT, Preprocess
from germline.data import AnyImages, iterate_batches
from germline.methods.pool.sizes import Forms
from germline.methods.pool.stitching import AffineMap, StitchInit, fit_stitches, stitches_from_matrices
from germline.methods.pool.supernet import PoolNetwork, rebuild_vit
from germline.network import Network, load_strict
from germline.randomness import generator, use_generator
from germline.training import FitResult, Run, TrainSettings, evaluate

INIT_BATCH = 50


class Instances(NamedTuple):
    """Trained auxiliary models, and what their training came to.

    Attributes:
        models: By width.
        results: One a training.
        metrics: What was measured, by name.
        matrices: By width the maps from the ancestor's hidden maps; empty where there are none.
    """

    models: Mapping[int, nn.Module]
    results: list[FitResult]
    metrics: dict[str, float]
    matrices: Mapping[int, Sequence[AffineMap]]


class Stitching(NamedTuple):
    """How stitches begin.

    Attributes:
        init: Which way.
        images: Training pictures for least squares.
        ridge: Of least squares.
    """

    init: StitchInit
    images: int
    ridge: float


def fresh(method: str, forms: Forms, settings: TrainSettings, seed: int) -> dict[int, nn.Module]:
    """Auxiliary models as they are before training; each is drawn by itself, whatever others there are."""
    models = {}
    for width, spec in forms.models.items():
        with use_generator(generator(seed, method, "auxiliary", width)):
            models[width] = VIT.build(spec.model_copy(update={"drop_path": settings.drop_path}))
    return models


def accuracy(network: Network, images: AnyImages, run: Run) -> float:
    """Of a network on pictures; it is left on the CPU."""
    network.model.to(run.fabric.device)
    found = evaluate(network.model, network.logits, images, run.fabric.device).accuracy
    network.model.cpu()
    return found


def stitched(
    instances: Instances, forms: Forms, how: Stitching, images: AnyImages, preprocess: Preprocess, run: Run
) -> PoolNetwork:
    """The pool of these auxiliary models, its stitches begun.

    Args:
        instances: The models; they stay as they are.
        forms: Of the models, with the dropped paths that the pool is to have.
        how: How stitches begin.
        images: To draw pictures from for least squares; they are not augmented.
        preprocess: How the models see them.
        run: Where what costs something is kept.
    """
    models = {
        width: rebuild_vit(
            spec, {name: tensor.clone() for name, tensor in instances.models[width].state_dict().items()}
        )
        for width, spec in forms.models.items()
    }
    with use_generator(generator(run.seed, "pool", "stitches")):
        pool = PoolNetwork(models, forms.layout)
    if how.init == "least-squares":

        def work() -> tuple[dict[str, Tensor], dict[str, Any]]:
            pool.to(run.fabric.device).eval()
            batches = _batches(images, how.images, preprocess, run)
            return fit_stitches(pool.tokens, forms.layout, batches, how.ridge), {}

        begun = run.keep("stitches", work)[0]
    else:
        begun = {}
        if how.init != "random":
            begun = stitches_from_matrices(how.init, forms.layout.stitches, instances.matrices)
    load_strict(pool.cpu(), {**pool.state_dict(), **begun}, "the stitches' beginning")
    return pool


def _batches(images: AnyImages, count: int, preprocess: Preprocess, run: Run) -> Iterator[Tensor]:
    order = torch.randperm(len(images), generator=generator(run.seed, "pool", "stitches", "pictures"))
    for batch in iterate_batches(images.subset(order[:count]), INIT_BATCH, run.fabric.device):
        yield preprocess(batch.pixels)


def validated(network: Network, forms: Forms, images: AnyImages, run: Run) -> list[dict[str, Any]]:
    """What each path of a pool is and does on pictures, in the order of the layout; kept by the run.

    Args:
        network: Whose model is a pool; left on the CPU, with the widest model chosen.
        forms: Of its paths.
        images: With labels.
        run: Where it computes.
    """
    pool: Any = network.model

    def work() -> tuple[dict[str, Tensor], dict[str, Any]]:
        pool.to(run.fabric.device)
        rows = []
        for path in forms.layout.paths:
            pool.choose(path)
            score, count = evaluate(pool, network.logits, images, run.fabric.device), forms.count(path)
            sizes = {"parameters": count.parameters, "headless_parameters": count.headless, "flops": count.flops}
            rows.append({"size": str(path), **sizes, "accuracy": score.accuracy})
        return {}, {"paths": rows}

    rows: list[dict[str, Any]] = run.keep("paths", work)[1]["paths"]
    pool.cpu().choose(forms.layout.widest)
    return rows


def metrics_of(paths: list[dict[str, Any]]) -> dict[str, float]:
    """What a gene's card says of all its paths together."""
    accuracies = [row["accuracy"] for row in paths]
    return {"mean of all paths (val)": sum(accuracies) / len(paths), "best of all paths (val)": max(accuracies)}
