"""`germline train`: the phase called accumulate, and the training of descendants."""

from __future__ import annotations

from typing import Annotated

import typer

from germline.cli.options import Device, Logger, Out, Overwrite, Precision, Quiet, Resume, Seed, Set


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(train)


def train(
    model: Annotated[str, typer.Option(help="A preset (vit_pico, vgg11), a timm ViT name, or a model folder.")],
    data: Annotated[str, typer.Option(help="For example glyphs/base, fashion-mnist, folder:/photos.")],
    out: Out,
    gene: Annotated[
        str | None, typer.Option(help="The gene that the model has grown from: train it as its method says.")
    ] = None,
    set_: Set = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "32-true",
    resume: Resume = False,
    overwrite: Overwrite = False,
    logger: Logger = None,
    quiet: Quiet = False,
) -> None:
    """Train a network on a data set; the output is a plain timm folder."""
    from germline.cli.options import check_outputs, open_run, settings
    from germline.training import TrainSettings

    chosen = settings(TrainSettings, set_)
    output = check_outputs(out, resume=resume, overwrite=overwrite)
    from germline.api import build_gene_objective, build_start_network, check_labels, train
    from germline.data import data as find_data

    source = find_data(data)
    network = build_start_network(model, source, chosen, seed)
    check_labels(network, source)
    objective = None if gene is None else build_gene_objective(gene, network)
    asked = {"model": model, "data": data, "gene": gene, "seed": seed, "precision": precision}
    config = {**asked, "settings": chosen.model_dump(mode="json")}
    run = open_run(output, seed=seed, device=device, precision=precision, logger=logger, quiet=quiet, config=config)
    result = train(network, source, chosen, objective=objective, run=run)
    if run.fabric.is_global_zero:
        network.save(out, overwrite=resume or overwrite)
        print(
            f"{out}: accuracy {result.accuracy:.4f} on validation after {result.steps} steps ({result.seconds:.0f} s)"
        )
