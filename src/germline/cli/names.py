"""Names on the command line, checked before torch is imported. What is undecided here is left to the loaders."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from germline.errors import ArtefactError, DataError, UnknownNameError

_REGISTERED = re.compile(r"(?m)^@register_model\s*\n(?:@.*\n)*def (\w+)\(")
_GENE_MANIFEST, _MODEL_CONFIG = "learngene.json", "config.json"


def check_data_name(source: str, *, may_have_roles: bool = False) -> None:
    """Refuse the name of a data set that does not exist, or of a folder that is not there.

    Args:
        source: Name of a data set.
        may_have_roles: Whether the command reads further data sets, such as `held_out`.

    Raises:
        UnknownNameError: No data set has that name.
        DataError: There is no such folder, or the command reads one data set alone.
    """
    from germline.registry import DATA, FOLDERS, NO_LISTS, make_unknown_data_error

    first_name, *others = re.split(r",(held_out|stream)=", source)
    if others and not may_have_roles:
        raise DataError(
            f"--data has a data set for {others[0]}",
            "Only germline condense and comparisons read one",
            f"Use --data {first_name}",
        )
    for part in (first_name, *others[1::2]):
        first = re.split(r"[:/@+]", part, maxsplit=1)[0]
        if first not in DATA and not any(part.startswith(name) for name in DATA):
            raise make_unknown_data_error(part)
        location = part.partition(":")[2]
        if first == "folder" and "+" not in part:
            plain = re.sub(r"@[0-9]+$", "", location)
            if not any(location and Path(path).expanduser().is_dir() for path in (location, plain)):
                if Path(plain).expanduser().is_file():
                    raise DataError(f"folder:{location} is not a folder", NO_LISTS, FOLDERS)
                raise DataError(
                    f"folder:{location} is not a folder",
                    "There is no folder of that name",
                    "Use folder:/path/to/images",
                )


def check_model_name(name: str) -> None:
    """Refuse the name of a model that neither germline nor timm has.

    Raises:
        UnknownNameError: No preset and no timm model has that name.
        ArtefactError: There is no such folder.
    """
    from germline.architectures.presets import MODELS

    _refuse_empty(name, "model")
    refuse_gene(name)
    if name in MODELS or Path(name).exists() or name.startswith(("hf-hub:", "local-dir:")):
        return
    timm_names = list_timm_names()
    plain = re.split(r"[.@]", name.removeprefix("timm:"), maxsplit=1)[0]
    if (
        plain in timm_names
        or not timm_names
        or f"'{plain}'" in _read_timm_sources()
        or ("timm:" in name and "/" in name)
    ):
        return
    if "/" in name or "\\" in name:
        raise ArtefactError(
            f"no model at '{name}'",
            "there is no such folder",
            "give a model folder, or a name from `germline list models`",
        )
    known = timm_names if name.startswith("timm:") else {*MODELS, *(n for n in timm_names if n[:4] in ("vit_", "deit"))}
    raise UnknownNameError.with_nearest("model", plain if name.startswith("timm:") else name, known)


def check_network_name(name: str) -> None:
    """Refuse a trained network that does not exist.

    Raises:
        ArtefactError: There is neither a folder nor a file of that name.
        UnknownNameError: timm has no model of that name.
    """
    _refuse_empty(name, "network")
    if name.startswith("timm:"):
        check_model_name(name)
    elif ":" not in name and not Path(name).exists():
        raise ArtefactError(
            f"no network at '{name}'",
            f"there is neither a folder nor a file of that name{_name_nearest(name, with_files=True)}",
            "give a run folder, timm:NAME, hf-hub:NAME, or a .pth or .safetensors file with --model",
        )


def _refuse_empty(name: str, kind: str) -> None:
    """Refuse an empty name, as of a variable of the shell that is not set; it would mean the working folder."""
    if not name:
        raise ArtefactError(f"the name of the {kind} is empty", "", "give a name, or a folder")


def refuse_gene(name: str) -> None:
    """Refuse a learngene where a network is expected.

    Raises:
        ArtefactError: The folder is a learngene's.
    """
    if is_gene(name):
        raise ArtefactError(f"'{name}' is a learngene", "a network is expected here", "run germline inherit first")


def check_gene_name(name: str) -> None:
    """Refuse a learngene that does not exist, and the folder of a plain network.

    Raises:
        ArtefactError: There is no such folder, or it is not a learngene's.
    """
    _refuse_empty(name, "learngene")
    if ":" in name:
        return
    folder = Path(name)
    if folder.is_file():
        raise ArtefactError(
            f"'{name}' is a file", "a learngene is a folder", f"run germline condense --ancestor {name} first"
        )
    if not folder.is_dir():
        raise ArtefactError(
            f"no learngene at '{name}'", f"there is no such folder{_name_nearest(name)}", "run germline condense"
        )
    if is_model(name):
        raise ArtefactError(
            f"'{name}' is a network", "a learngene is expected here", f"run germline condense --ancestor {name} first"
        )


def is_gene(name: str) -> bool:
    """Return whether a folder is a learngene's."""
    return (Path(name) / _GENE_MANIFEST).is_file()


def is_model(name: str) -> bool:
    """Return whether a folder is a network's."""
    return (Path(name) / _MODEL_CONFIG).is_file() and not is_gene(name)


def _name_nearest(name: str, *, with_files: bool = False) -> str:
    """Return the folders, and files if wanted, whose names are nearest to a missing one, as the end of a sentence."""
    parent = Path(name).parent
    names = [path.name for path in parent.iterdir() if with_files or path.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(Path(name).name, names, n=2, cutoff=0.6)
    return f"; the nearest is {' or '.join(str(parent / found) for found in near)}" if near else ""


@cache
def list_timm_names() -> frozenset[str]:
    """List the models of timm from its source files; importing timm takes seconds. Empty if they are not found."""
    return frozenset(_REGISTERED.findall(_read_timm_sources()))


@cache
def _read_timm_sources() -> str:
    place = find_spec("timm")
    folders = place.submodule_search_locations if place is not None else None
    files = [path for folder in folders or () for path in sorted(Path(folder, "models").glob("*.py"))]
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
