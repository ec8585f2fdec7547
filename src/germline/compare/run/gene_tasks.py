"""Tasks that make the ancestors and genes of a comparison, each one once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from germline.compare.run.store import ArtifactStore
from germline.methods.base import Method, find_source


@dataclass(frozen=True)
class AncestorTask:
    """Task that trains an ancestor.

    Attributes:
        seed: Random seed of the ancestor.
        size: Size of its descendants, for methods that need an ancestor of each size; None: the recipe's ancestor.
    """

    seed: int
    size: str | None = None

    @property
    def name(self) -> str:
        """Readable name of the task."""
        return f"ancestor{'' if self.size is None else f' {self.size}'} seed={self.seed}"

    def __call__(self, store: ArtifactStore) -> None:
        """Train the ancestor.

        Raises:
            GermlineError: It cannot be built or trained.
        """
        store.get_ancestor(self.seed, self.size)


@dataclass(frozen=True)
class GeneTask:
    """Task that makes a gene.

    Attributes:
        arm: First arm that inherits the gene; arms of equal method and settings share it.
        seed: Random seed of the gene.
        size: Size of its descendants; most genes serve every size.
        ancestor: Task of its ancestor; None: the recipe gives a trained one, or the method needs none.
    """

    arm: str
    seed: int
    size: str
    ancestor: AncestorTask | None = None

    @property
    def name(self) -> str:
        """Readable name of the task."""
        own_size = "" if self.ancestor is None or self.ancestor.size is None else f" {self.size}"
        return f"gene of {self.arm}{own_size} seed={self.seed}"

    def __call__(self, store: ArtifactStore) -> None:
        """Make the gene, and its ancestor if that is missing.

        Raises:
            GermlineError: The gene cannot be made.
        """
        store.get_gene(self.arm, self.seed, self.size)


def list_missing_genes(store: ArtifactStore) -> dict[Path, GeneTask]:
    """List the genes that are not in the store, each once.

    Returns:
        The task that makes a gene, by the gene's path in the store.
    """
    tasks: dict[Path, GeneTask] = {}
    finished: set[Path] = set()
    for arm in store.recipe.arms:
        method = find_source(store.get_method(arm))
        if not method.traits.has_gene:
            continue
        for seed, sizes in store.gene_sizes(arm).items():
            for size in sizes if method.traits.needs_own_size else sizes[:1]:
                path = store.gene_path(method, seed, size)
                if path in tasks or path in finished:
                    continue
                if store.has_gene(arm, seed, size):
                    finished.add(path)
                else:
                    tasks[path] = GeneTask(arm, seed, size, _find_ancestor_task(store, method, seed, size))
    return tasks


def find_missing_gene(store: ArtifactStore, arm: str, seed: int, size: str) -> Path | None:
    """Return the path of an arm's gene that is not in the store; None if it is there, or the arm has none."""
    method = find_source(store.get_method(arm))
    is_missing = method.traits.has_gene and not store.has_gene(arm, seed, size)
    return store.gene_path(method, seed, size) if is_missing else None


def _find_ancestor_task(store: ArtifactStore, method: Method, seed: int, size: str) -> AncestorTask | None:
    if method.ancestor == "none" or store.recipe.ancestor.path is not None:
        return None
    return AncestorTask(store.ancestor_seed(seed), size if method.traits.needs_own_size else None)
