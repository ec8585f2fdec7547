"""How much a pseudo descendant leans on each layer of an ancestor: one training, and what the pairs weighed in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from germline.anatomy import Preprocess, Spec
from germline.data import AnyPictures, DataSet
from germline.methods.choosing import Scores
from germline.methods.matching import Elder, Matched, Side
from germline.methods.pseudo import BilevelSettings, PseudoDescendant, Task
from germline.network import Network
from germline.randomness import derive, generator, seeded
from germline.registry import anatomy_of
from germline.training import Run, TrainSettings


def lean(
    elder: Elder,
    form: Spec,
    taps: Sequence[str],
    task: DataSet,
    run: Run,
    settings: TrainSettings,
    bilevel: BilevelSettings,
    held: float,
) -> Scores:
    """Train a pseudo descendant and its meta-network, and read the weights of the pairs.

    Args:
        elder: The ancestor.
        form: Of the pseudo descendant.
        taps: Names of its modules.
        task: What it learns; its validation pictures are only looked at.
        run: Trains it, as the phase `pseudo`.
        settings: How it is trained.
        bilevel: How the meta-network is.
        held: Share of the training pictures that is held out for the outer loss.
    """
    pictures, name = task.train, "auto"
    with seeded(generator(run.seed, name, "pseudo descendant")):
        model = anatomy_of(form).build(form).to(run.fabric.device)
        network = Network(model, Preprocess.of(pictures.sample()), task.classes, spec=form)
        side = Side.of(model, form, taps, network.preprocess)
        matched = Matched(network, side, elder.side, elder.grid)
    kept, apart = _set_apart(pictures, held, run.seed)
    learnt_on = Task(kept, apart, task.augmentation if settings.augment else (), derive(run.seed, name))
    objective = PseudoDescendant(elder, matched, learnt_on, bilevel, settings.total_steps(len(kept)))
    result = run.fit("pseudo", network, objective, kept, settings, val=task.val, augmentation=task.augmentation)
    dead = float(objective.dead) / max(1, result.steps)
    return Scores(
        matrix=objective.scores().tolist(),
        against=side.taps,
        history=[(step, matrix.tolist()) for step, matrix in objective.history()],
        results=[result],
        metrics={"pseudo descendant (val)": result.accuracy, "steps with every pair dead": dead},
    )


def _set_apart(pictures: AnyPictures, share: float, seed: int) -> tuple[AnyPictures, AnyPictures]:
    """Pictures to learn from, and those of the outer loss."""
    order = torch.randperm(len(pictures), generator=generator(seed, "auto", "held-out pictures"))
    held = max(1, round(share * len(pictures)))
    return pictures.subset(order[held:].sort().values), pictures.subset(order[:held].sort().values)
