"""`germline train`: train an ancestor or a descendant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Device, Logger, Out, Overwrite, Precision, Quiet, Resume, Seed, Set, Tf32, announce


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train")(train_command)


def train_command(
    model: Annotated[str, typer.Option(help="Preset (vit_pico, vgg11), name of a timm ViT, or model folder.")],
    data: Annotated[str, typer.Option(help="Data set, such as glyphs/base, fashion-mnist or folder:/photos.")],
    out: Out,
    gene: Annotated[
        str | None, typer.Option(help="Gene of the model, to train it with the loss of its method.")
    ] = None,
    set_: Set = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "32-true",
    tf32: Tf32 = True,
    resume: Resume = False,
    overwrite: Overwrite = False,
    logger: Logger = None,
    quiet: Quiet = False,
) -> None:
    """Train a network on a data set. The output is a plain timm folder."""
    from germline.cli.options import check_outputs, open_run, settings

    places = _check_names(model, data, gene, set_ or ())
    output = check_outputs(out, resume=resume, overwrite=overwrite, command="train", inputs=places)
    announce(f"Training {model} on {data}", quiet=quiet)
    from germline.training import TrainSettings, check_device

    chosen = settings(TrainSettings, set_)
    check_device(device, precision)
    from germline.api import build_gene_objective, build_start_network, check_labels, train
    from germline.data import load_data
    from germline.training.augmentation import check_augmentation
    from germline.training.batch_limit import check_batch_memory
    from germline.training.network_options import check_drop_path

    source = load_data(data)
    network = build_start_network(model, source, chosen, seed)
    check_labels(network, source)
    check_drop_path(network, chosen)
    check_augmentation(chosen, source.augmentation)
    check_batch_memory(chosen, source.train)
    objective = None if gene is None else build_gene_objective(gene, network, seed)
    inputs = {"model": model, "data": data, "gene": gene, "seed": seed, "precision": precision}
    config = {**inputs, "settings": chosen.model_dump(mode="json")}
    run = open_run(
        output, seed=seed, device=device, precision=precision, tf32=tf32, logger=logger, quiet=quiet, config=config
    )
    result = train(network, source, chosen, objective=objective, run=run)
    if run.fabric.is_global_zero:
        network.with_accuracy(result.accuracy, source.name).save(out, overwrite=resume or overwrite)
        print(
            f"{out}: accuracy {result.accuracy:.4f} on validation after {result.steps} steps ({result.seconds:.0f} s)"
        )


def _check_names(model: str, data: str, gene: str | None, changes: Sequence[str]) -> list[str]:
    """Refuse unknown settings and names, before anything slow is imported; return the paths of the inputs."""
    from germline.cli.names import check_data_name, check_gene_name, check_model_name, check_network_name
    from germline.cli.setting_list import TRAIN_SETTINGS, check_keys
    from germline.errors import ArtefactError
    from germline.paths import list_input_paths

    check_keys(TRAIN_SETTINGS, changes)
    if Path(model).is_file():
        raise ArtefactError(
            f"'{model}' is a file",
            "Training starts from a model folder, a preset or a timm model",
            f"Run germline condense --ancestor {model} and germline inherit first, and train the result",
        )
    (check_network_name if ":" in model else check_model_name)(model)
    check_data_name(data)
    if gene is not None:
        check_gene_name(gene)
    return list_input_paths({"path": model, "gene": gene, "data": data})
