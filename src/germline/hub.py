"""Folders on the Hugging Face hub."""

from __future__ import annotations

import re
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from germline.errors import ArtefactError, OutputError, SettingError

PREFIX = "hf-hub:"
CARD_FILE, PLACE = "README.md", "FOLDER"  # card of a folder, and the word for the folder in it
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")


class HubArtefact:
    """What is saved in a folder and shared on the hub, with the names that timm and peft use."""

    @abstractmethod
    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the artefact's folder, completely or not at all."""

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the artefact's folder; another name of `save`.

        Raises:
            OutputError: The folder is not empty or cannot be written.
        """
        self.save(folder, overwrite=overwrite)

    def push_to_hub(self, name: str, **options: Any) -> str:
        """Upload the artefact to a hub repository, which is created if it does not exist.

        Args:
            name: `owner/name`.
            options: Options of `huggingface_hub.HfApi.upload_folder`, such as token or commit_message. Also `private`:
                whether a new repository is private.

        Returns:
            The address of the upload.

        Raises:
            SettingError: The hub would not accept the name.
            OutputError: The hub cannot be reached, or refuses the upload.
        """
        check_repository_name(name)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "artefact"
            self.save(folder)
            address_card(folder / CARD_FILE, name)
            return upload_folder(folder, name, **options)


def address_card(card: Path, name: str) -> None:
    """Write the name of a hub repository into the commands of a card that germline wrote.

    Args:
        card: File of the card.
        name: `owner/name`.
    """
    text = card.read_text(encoding="utf-8")
    if "germline" in text:
        place = f"{PREFIX}{name}"
        card.write_text(text.replace(f"local-dir:{PLACE}", place).replace(PLACE, place), encoding="utf-8")


def download_folder(name: str, files: Sequence[str], kind: str = "learngene") -> Path:
    """Download files of a hub repository, all of one revision.

    Args:
        name: `owner/name`, or `owner/name@REVISION`.
        files: Names of the files; those that do not exist are left out.
        kind: What the files hold, for messages.

    Returns:
        The local folder with the files.

    Raises:
        ArtefactError: There is no such repository, or it cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        place, _, revision = name.partition("@")
        return Path(snapshot_download(place, revision=revision or None, allow_patterns=list(files)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ArtefactError(
            f"cannot fetch {kind} '{PREFIX}{name}'",
            str(error).splitlines()[0],
            "give the name of a repository that can be reached",
        ) from error


def check_repository_name(name: str) -> None:
    """Refuse a name that is not `owner/name`.

    Raises:
        SettingError: The hub would not accept the name.
    """
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise SettingError(
            f"'{name}' is not the name of a hub repository",
            "A name has an owner and a repository, of letters, digits, '.', '-' and '_'",
            "Use a name such as owner/name",
        )


def upload_folder(folder: Path, name: str, **options: Any) -> str:
    """Upload a local folder; name, options, result and errors are those of `HubArtefact.push_to_hub`."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    check_repository_name(name)
    try:
        api = HfApi(token=options.pop("token", None))
        api.create_repo(name, exist_ok=True, private=options.pop("private", None))
        return str(api.upload_folder(repo_id=name, folder_path=folder, **options))
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        raise OutputError(
            f"cannot upload to '{PREFIX}{name}'",
            str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            "Run hf auth login with a token that can write there, or choose another name",
        ) from error
