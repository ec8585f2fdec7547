"""`germline push`: upload a gene or a network to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Quiet, announce

# Files that germline writes into a model folder. Others that lie there are not uploaded.
MODEL_FILES = ("config.json", "model.safetensors", "README.md", "descendant.json")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("push")(push_command)


def push_command(
    folder: Annotated[Path, typer.Argument(help="Gene folder or model folder.")],
    name: Annotated[str, typer.Argument(help="Repository on the hub: owner/name. It is created if it does not exist.")],
    message: Annotated[str | None, typer.Option(help="Message of the upload.")] = None,
    quiet: Quiet = False,
) -> None:
    """Verify a gene or a network and upload it to the Hugging Face hub. Log in first: hf auth login."""
    from germline.cli.names import is_gene, is_model
    from germline.errors import ArtefactError
    from germline.hub import PREFIX, check_repository_name

    check_repository_name(name)
    gene = is_gene(str(folder))
    if not gene and not is_model(str(folder)):
        raise ArtefactError(
            f"'{folder}' is neither a gene nor a network",
            "It has no learngene.json and no config.json" if folder.is_dir() else "There is no such folder",
            "Use a folder written by germline condense, train or inherit",
        )
    announce(f"Verifying {folder} and uploading it to {PREFIX}{name}", quiet=quiet)
    options = {} if message is None else {"commit_message": message}
    if gene:
        from germline.learngene import Learngene

        address = Learngene.load(folder).push_to_hub(name, **options)
    else:
        from germline.hub import upload_folder
        from germline.loading import load_network

        load_network(folder)
        address = upload_folder(folder, name, allow_patterns=list(MODEL_FILES), **options)
    print(f"{PREFIX}{name}: {address}")
