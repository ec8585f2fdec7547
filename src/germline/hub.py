"""Folders on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from germline.errors import ArtefactError

PREFIX = "hf-hub:"


def download_folder(name: str, files: Sequence[str]) -> Path:
    """Download files of a hub repository.

    Args:
        name: `owner/name`.
        files: Names of the files.

    Returns:
        The local folder with the files.

    Raises:
        ArtefactError: There is no such repository, or it cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ArtefactError(
            f"cannot fetch learngene '{PREFIX}{name}'",
            str(error).splitlines()[0],
            "give the name of a repository that can be reached",
        ) from error


def upload_folder(folder: Path, name: str, **options: Any) -> str:
    """Upload a folder to a hub repository, which is created if it does not exist.

    Args:
        folder: Local folder.
        name: `owner/name`.
        options: Options of `huggingface_hub.HfApi.upload_folder`, such as token or commit_message.

    Returns:
        The address of the upload.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=options.pop("token", None))
    api.create_repo(name, exist_ok=True)
    return str(api.upload_folder(repo_id=name, folder_path=folder, **options))
