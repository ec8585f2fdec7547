"""Folders where germline looks for data sets by name."""

from __future__ import annotations

import os
from pathlib import Path

from germline.data.dataset import DataSet
from germline.data.placeholder import MissingDataError

DATA_VARIABLE = "GERMLINE_DATA"
DEFAULT_DATA_FOLDER = "/usr/share/datasets"


def list_data_folders() -> tuple[Path, ...]:
    """Return the folders of GERMLINE_DATA in order, or the system's folder if it is not set."""
    folders = (os.environ.get(DATA_VARIABLE) or DEFAULT_DATA_FOLDER).split(os.pathsep)
    return tuple(Path(folder).expanduser() for folder in folders if folder)


def find_folder(*names: str) -> Path | None:
    """Find the first folder that has one of these names in a folder of GERMLINE_DATA.

    Args:
        names: Names of the set's own folder, the preferred one first.

    Returns:
        The folder, or None.
    """
    folders = (folder / name for folder in list_data_folders() for name in names)
    return next((folder for folder in folders if folder.is_dir()), None)


def find_data_folder(
    set_name: str, location: str | None, names: tuple[str, ...], placeholder: DataSet, fix: str = ""
) -> Path:
    """Return the folder that a user gives, or the one in GERMLINE_DATA.

    Args:
        set_name: Name of the set, as in `cifar-fs/base`.
        location: Folder that the user gives; None or empty to search GERMLINE_DATA.
        names: Names of the set's own folder, the preferred one first.
        placeholder: Placeholder with the published numbers of the data set.
        fix: Advice for the user; empty for the general advice.

    Raises:
        MissingDataError: No folder is given, and none is found.
    """
    folder = Path(location).expanduser() if location else find_folder(*names)
    if folder is None:
        wanted, places = "' or '".join(names), os.pathsep.join(map(str, list_data_folders()))
        raise MissingDataError(
            f"{set_name} needs a folder",
            f"No folder '{wanted}' is in {DATA_VARIABLE} ({places}), and germline downloads nothing",
            fix or f"Use {set_name}:/folder, or set {DATA_VARIABLE} to a folder that holds '{names[0]}'",
            placeholder,
        )
    return folder
