"""Build a pool from trained auxiliary models, and validate its paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from germline.architectures import VIT, Preprocess
from germline.data import AnyImages, iterate_batches
from germline.methods.pool.sizes import PathSpecs
from germline.methods.pool.stitching import AffineMap, StitchInit, fit_stitches, stitches_from_matrices
from germline.methods.pool.supernet import PoolNetwork, rebuild_vit
from germline.network import Network, load_strict
from germline.randomness import generator, use_generator
from germline.training import FeatureDistillation, FitResult, Run, TrainSettings

INIT_BATCH = 50


class Instances(NamedTuple):
    """Trained auxiliary models and the results of their training.

    Attributes:
        models: Models by width.
        results: One result per training.
        metrics: Measured values by name.
        matrices: Maps from the ancestor's hidden maps, by width; empty if none are trained.
        last: Loss of features or tokens, whose maps are trained; None for logits.
    """

    models: Mapping[int, nn.Module]
    results: list[FitResult]
    metrics: dict[str, float]
    matrices: Mapping[int, Sequence[AffineMap]]
    last: FeatureDistillation | None = None


class Stitching(NamedTuple):
    """Initialisation of the stitches.

    Attributes:
        init: Kind of initialisation.
        images: Number of training images for least squares.
        ridge: Ridge of least squares.
    """

    init: StitchInit
    images: int
    ridge: float


def create_auxiliary_models(method: str, forms: PathSpecs, settings: TrainSettings, seed: int) -> dict[int, nn.Module]:
    """Create untrained auxiliary models by width.

    Each model has its own random stream, so its weights do not depend on the other models.
    """
    models = {}
    for width, spec in forms.models.items():
        with use_generator(generator(seed, method, "auxiliary", width)):
            models[width] = VIT.build(spec.model_copy(update={"drop_path": settings.drop_path}))
    return models


def measure_accuracy(network: Network, images: AnyImages, run: Run) -> float:
    """Measure the accuracy of a network on images, and leave it on the CPU."""
    accuracy = run.evaluate(network, images).accuracy
    network.model.cpu()
    return accuracy


def build_pool(
    instances: Instances, forms: PathSpecs, how: Stitching, images: AnyImages, preprocess: Preprocess, run: Run
) -> PoolNetwork:
    """Build the pool of auxiliary models, with initialised stitches.

    Args:
        instances: Trained auxiliary models; they are not changed.
        forms: Specs of the models, with the drop-path rate of the pool.
        how: Initialisation of the stitches.
        images: Images from which least squares draws; they are not augmented.
        preprocess: Preprocessing of the images for the models.
        run: Run that saves the result of least squares.
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

        initial = run.keep("stitches", work)[0]
    else:
        initial = {}
        if how.init != "random":
            initial = stitches_from_matrices(how.init, forms.layout.stitches, instances.matrices)
    load_strict(pool.cpu(), {**pool.state_dict(), **initial}, "the stitches' beginning")
    return pool


def _batches(images: AnyImages, count: int, preprocess: Preprocess, run: Run) -> Iterator[Tensor]:
    order = torch.randperm(len(images), generator=generator(run.seed, "pool", "stitches", "pictures"))
    for batch in iterate_batches(images.subset(order[:count]), INIT_BATCH, run.fabric.device):
        yield preprocess(batch.pixels)


def validate_paths(network: Network, forms: PathSpecs, images: AnyImages, run: Run) -> list[dict[str, Any]]:
    """Measure the size and accuracy of each path of a pool.

    The rows are in the order of the layout. The run saves them.

    Args:
        network: Network of the pool; it is left on the CPU, with the widest model chosen.
        forms: Specs of the paths.
        images: Images with labels.
        run: Run that computes and saves the rows.
    """
    pool: Any = network.model

    def work() -> tuple[dict[str, Tensor], dict[str, Any]]:
        pool.to(run.fabric.device)
        rows = []
        for path in forms.layout.paths:
            pool.choose(path)
            score, count = run.evaluate(network, images), forms.count(path)
            sizes = {"parameters": count.parameters, "headless_parameters": count.headless, "flops": count.flops}
            rows.append({"size": str(path), **sizes, "accuracy": score.accuracy})
        return {}, {"paths": rows}

    rows: list[dict[str, Any]] = run.keep("paths", work)[1]["paths"]
    pool.cpu().choose(forms.layout.widest)
    return rows


def summarise_paths(paths: list[dict[str, Any]]) -> dict[str, float]:
    """Summarise the accuracies of all paths for the card of a gene."""
    accuracies = [row["accuracy"] for row in paths]
    return {"mean of all paths (val)": sum(accuracies) / len(paths), "best of all paths (val)": max(accuracies)}
