"""`germline condense`: make a learngene from an ancestor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from germline.cli.network_options import ImageSize, Mean, Model, Std, check_network_inputs
from germline.cli.options import Device, Logger, Out, Overwrite, Precision, Quiet, Resume, Seed, Set, Tf32, announce

if TYPE_CHECKING:
    from germline.data import DataSet
    from germline.learngene import Learngene
    from germline.loading import MeasuredAncestor
    from germline.methods.base import Method
    from germline.training import Run

ROLES = ("held_out", "stream")  # equal to `germline.data.Role`, which needs torch
ANCESTOR_FILE = "ancestor.json"  # beside a run's checkpoints: what was assumed about the ancestor, and its accuracy


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("condense")(condense_command)


def condense_command(
    method: Annotated[str, typer.Option(help="Name of a method; see germline list methods.")],
    data: Annotated[
        list[str],
        typer.Option(help="Data set to condense on. Methods that read more: repeat as held_out=NAME or stream=NAME."),
    ],
    out: Out,
    ancestor: Annotated[
        str | None, typer.Option(help="A run folder, timm:NAME, hf-hub:NAME, or a weight file with --model.")
    ] = None,
    model: Model = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
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
    """Condense an ancestor into a learngene."""
    from germline.cli.options import check_outputs, open_run, settings
    from germline.paths import list_input_paths
    from germline.registry import METHODS

    _check_names(method, ancestor, set_ or ())
    data_name = _join_roles(data)
    given = check_network_inputs(ancestor, data_name, (model, image_size, mean, std), may_have_roles=True)
    announce(f"Condensing {ancestor or 'a network'} with {method} on {data_name}", quiet=quiet)
    chosen = settings(METHODS[method], set_)
    places = list_input_paths({"path": ancestor, "gene": getattr(chosen, "gene", None), "data": data})
    output = check_outputs(out, resume=resume, overwrite=overwrite, inputs=places, command="condense")
    from germline.api import condense_measured
    from germline.data import load_data

    source = load_data(data_name)
    measured = _measure_ancestor(chosen, ancestor, given, source)
    inputs = {"method": method, "ancestor": ancestor, "model": model, "data": data_name, "seed": seed}
    # What is not given is saved too, since a resumed run may not add it.
    images = {key: given.get(key) for key in ("image_size", "mean", "std")}
    config = {**inputs, "precision": precision, **images, "settings": chosen.model_dump(mode="json")}
    run = open_run(
        output, seed=seed, device=device, precision=precision, tf32=tf32, logger=logger, quiet=quiet, config=config
    )
    _record_ancestor(measured, run, output.work)
    gene = condense_measured(chosen, measured, source, run)
    if run.fabric.is_global_zero:
        gene.save(out, overwrite=resume or overwrite)
        print(_describe_gene(gene, out))


def _check_names(method: str, ancestor: str | None, changes: Sequence[str]) -> None:
    """Refuse an unknown method or setting, and a gene as the ancestor, before anything slow is imported."""
    from germline.cli.names import refuse_gene
    from germline.cli.setting_list import check_keys
    from germline.registry import METHODS

    place = METHODS.place(method)
    if place.startswith("germline."):  # settings of other packages' methods are checked after their import
        check_keys(place, changes)
    if ancestor is not None:
        refuse_gene(ancestor)


def _measure_ancestor(
    method: Method, ancestor: str | None, given: dict[str, Any], source: DataSet
) -> MeasuredAncestor | None:
    """Load the ancestor, and measure it on validation images; None if there is none."""
    from germline.api import check_inputs, measure_for
    from germline.loading import load_network

    check_inputs(method, source, ancestor=ancestor is not None)
    loaded = None if ancestor is None else load_network(ancestor, **given)
    return measure_for(method, loaded, source)


def _record_ancestor(measured: MeasuredAncestor | None, run: Run, work: Path) -> None:
    """Write what was measured of the ancestor beside the run's checkpoints; nothing without an ancestor."""
    from germline.files import write_json

    if measured is not None and run.fabric.is_global_zero:
        write_json(work / ANCESTOR_FILE, measured.describe())


def _describe_gene(gene: Learngene, out: Path) -> str:
    """Describe a saved gene in one line: its size, what it grows, and what was measured."""
    metrics = "".join(
        f"{', ' if index else '; '}{name} {value:.4f}"
        for index, (name, value) in enumerate(gene.provenance.metrics.items())
    )
    return f"{out}: {gene.count_bytes():,} bytes, grows {gene.describe_sizes()}{metrics}"


def _join_roles(names: list[str]) -> str:
    """Join the data sets of all roles into one name: `glyphs/base,held_out=glyphs/open`."""
    from germline.errors import SettingError

    without_role = [name for name in names[1:] if name.partition("=")[0] not in ROLES]
    if without_role:
        roles = " or ".join(f"{role}=NAME" for role in ROLES)
        raise SettingError(
            f"--data {without_role[0]} has no role", "Only the first data set goes without a role", f"Pass {roles}"
        )
    return ",".join(names)
