"""Facts that name the ancestors and genes of a store, and the name of a data set among them.

A data set is named by its content, so that moving its folder changes no key. Parts under an earlier key with the folder
are still found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from germline.architectures import Spec
from germline.compare.recipe.schema import Recipe
from germline.compare.run.data_cache import fingerprint_data, fingerprint_validation, hash_weights
from germline.compare.run.remote_store import RemoteStore
from germline.errors import ArtefactError
from germline.methods.base import Method
from germline.sharing import name_data_content

# Returns the text that identifies a data set among the facts of a part.
DataNaming = Callable[[str], str]


class KeyedStore(Protocol):
    """What the keys of a store's parts depend on."""

    @property
    def recipe(self) -> Recipe:
        """Recipe of the comparison."""

    @property
    def remote(self) -> RemoteStore | None:
        """Remote store that finished parts are published in."""

    @property
    def precision_facts(self) -> dict[str, str]:
        """Precision among the facts of a part."""

    def ancestor_seed(self, seed: int) -> int:
        """Return the seed of the ancestor that a gene's seed uses."""

    def part_path(self, kind: str, facts: Mapping[str, Any]) -> Path:
        """Return the path of a part."""

    def ancestor_spec(self, size: str | None = None) -> Spec | None:
        """Return the spec of the ancestor."""


def name_by_content(name: str) -> str:
    """Name a data set by its training images, and without its folder.

    Two folders of images can have one last name, so their validation images count too.

    Args:
        name: Name of the data set in a recipe.
    """
    short = name_data_content(name)
    text = f"{short} {fingerprint_data(name)}"
    return f"{text} {fingerprint_validation(name)}" if "folder:" in short and short != name else text


def name_by_place(name: str) -> str:
    """Name a data set by its training images and its folder, as stores of before did."""
    return f"{name} {fingerprint_data(name)}"


def name_final_data(name: str) -> str:
    """Name data for headline numbers without a reading of them; folders of images are named by their place.

    Args:
        name: Name of the data set in a recipe.
    """
    return name if "folder:" in name else name_data_content(name)


def find_part(store: KeyedStore, make_path: Callable[[DataNaming], Path]) -> Path:
    """Return the path of a part: under the key by content, or under the earlier one if only that part is there.

    Args:
        store: Store of the part.
        make_path: Function that returns the part's path for a naming of data sets.
    """
    path, earlier = make_path(name_by_content), make_path(name_by_place)
    return earlier if earlier != path and not has_part(store, path) and has_part(store, earlier) else path


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Say how to make a damaged part of a store again: a resumed run finds it, and stops at it again.

    Raises:
        ArtefactError: The block cannot read the part.
    """
    try:
        yield
    except ArtefactError as error:
        fix = f"Remove '{path}', and pass --resume to make that part again"
        raise ArtefactError(error.what, error.why, fix) from error


def has_part(store: KeyedStore, path: Path) -> bool:
    """Tell whether a part is there, or work on it."""
    is_local = path.exists() or path.with_suffix(".run").exists()
    return is_local or (store.remote is not None and store.remote.has_part(path.name))


def make_ancestor_path(store: KeyedStore, seed: int, size: str | None, naming: DataNaming) -> Path:
    """Return the folder of a seed's ancestor. For the recipe's trained network, the name identifies its weights."""
    ancestor = store.recipe.ancestor
    if ancestor.path is not None:
        given = {"model": ancestor.model, **ancestor.images} if Path(ancestor.path).is_file() else ancestor.images
        return store.part_path("ancestor", {"weights": hash_weights(ancestor.path), **given})
    facts = {
        "data": naming(ancestor.data),
        "train": ancestor.train.model_dump(mode="json"),
        "spec": repr(store.ancestor_spec(size)),
        "seed": seed,
        **store.precision_facts,
    }
    return store.part_path("ancestor", facts)


def make_gene_path(store: KeyedStore, method: Method, seed: int, size: str, naming: DataNaming) -> Path:
    """Return the folder of a gene."""
    facts: dict[str, Any] = {"method": method.name, "settings": method.model_dump(mode="json"), "seed": seed}
    facts |= {"data": naming(store.recipe.ancestor.data), **store.precision_facts}
    if method.ancestor != "none":
        own_size = size if method.traits.needs_own_size else None
        facts["ancestor"] = make_ancestor_path(store, store.ancestor_seed(seed), own_size, naming).name
    return store.part_path("gene", facts)
