"""`germline push`: upload a gene or a network to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
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
    options: dict[str, Any] = {} if message is None else {"commit_message": message}
    if private:
        options["private"] = True
    if gene:
        from germline.learngene import Learngene

        address = Learngene.load(folder).push_to_hub(name, **options)
    else:
        import tempfile

        from germline.hub import upload_folder
        from germline.loading import load_network

        load_network(folder)
        with tempfile.TemporaryDirectory() as place:
            _stage_model(folder, Path(place), name)
            address = upload_folder(Path(place), name, allow_patterns=list(MODEL_FILES), **options)
    print(f"{PREFIX}{name}: {address}")


def _stage_model(folder: Path, staged: Path, name: str) -> None:
    """Put a model folder's files into another folder, without places of this machine; large weights are linked."""
    from germline.files import read_json, read_metadata, read_tensors, write_json, write_tensors
    from germline.hub import CARD_FILE, address_card
    from germline.network import CONFIG, RECORD, WEIGHTS
    from germline.seals import SEAL_KEY, make_seal
    from germline.sharing import hide_all, hide_places

    files = {file: read_json(folder / file) for file in (CONFIG, RECORD) if (folder / file).is_file()}
    shown = {**files, **({RECORD: hide_all(files[RECORD])} if RECORD in files else {})}
    for file, content in shown.items():
        write_json(staged / file, content)
    if shown != files and SEAL_KEY in read_metadata(folder / WEIGHTS):
        tensors = read_tensors(folder / WEIGHTS)
        write_tensors(staged / WEIGHTS, tensors, make_seal(tensors, shown))
    else:
        (staged / WEIGHTS).symlink_to((folder / WEIGHTS).resolve())
    if (folder / CARD_FILE).is_file():
        text = hide_places((folder / CARD_FILE).read_text(encoding="utf-8"))
        (staged / CARD_FILE).write_text(text, encoding="utf-8")
        address_card(staged / CARD_FILE, name)
