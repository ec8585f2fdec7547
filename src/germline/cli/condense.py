"""`germline condense`: from an ancestor to a learngene."""

from __future__ import annotations

from typing import Annotated

import typer

from germline.cli.options import Device, Logger, Out, Overwrite, Precision, Quiet, Resume, Seed, Set


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(condense)


def condense(
    method: Annotated[str, typer.Option(help="See germline list methods.")],
    data: Annotated[
        list[str],
        typer.Option(
            help="Pictures to condense on; for a method that reads more, again as held_out=NAME or stream=NAME."
        ),
    ],
    out: Out,
    ancestor: Annotated[
        str | None, typer.Option(help="A run folder, timm:NAME, hf-hub:NAME, or a file of weights with --model.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="timm name of what a file of weights belongs to.")] = None,
    set_: Set = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "32-true",
    resume: Resume = False,
    overwrite: Overwrite = False,
    logger: Logger = None,
    quiet: Quiet = False,
) -> None:
    """Condense an ancestor into a learngene."""
    from germline.cli.options import check_outputs, open_run, settings
    from germline.registry import METHODS

    chosen = settings(METHODS[method], set_)
    output = check_outputs(out, resume=resume, overwrite=overwrite)
    from germline.api import check_inputs, condense
    from germline.data import data as find_data
    from germline.network import load_network

    named = _with_roles(data)
    source = find_data(named)
    check_inputs(chosen, source, ancestor=ancestor is not None)
    elder = None if ancestor is None else load_network(ancestor, model)
    chosen.condense_spec(elder, source)
    asked = {
        "method": method,
        "ancestor": ancestor,
        "model": model,
        "data": named,
        "seed": seed,
        "precision": precision,
    }
    config = {**asked, "settings": chosen.model_dump(mode="json")}
    run = open_run(output, seed=seed, device=device, precision=precision, logger=logger, quiet=quiet, config=config)
    gene = condense(chosen, ancestor=elder, data=source, run=run)
    if run.fabric.is_global_zero:
        gene.save(out, overwrite=resume or overwrite)
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in gene.provenance.metrics.items())
        print(f"{out}: {gene.bytes():,} bytes, grows {chosen.sizes(gene)}{'; ' + metrics if metrics else ''}")


def _with_roles(names: list[str]) -> str:
    """One name for all of them: `glyphs/base,held_out=glyphs/open`."""
    from typing import get_args

    from germline.data import Role
    from germline.errors import SettingError

    odd = [name for name in names[1:] if name.partition("=")[0] not in get_args(Role)]
    if odd:
        roles = " or ".join(f"{role}=NAME" for role in get_args(Role))
        raise SettingError(
            f"--data {odd[0]}", "there is one already, and further data are for a role", f"write {roles}"
        )
    return ",".join(names)
