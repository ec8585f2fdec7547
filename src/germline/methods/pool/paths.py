"""Paths through a pool: the auxiliary models of a descendant, and the blocks between which it changes models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Literal, NamedTuple

from germline.architectures import Size
from germline.errors import SettingError

Pairs = Literal["nearest", "all"]
Cut = tuple[int, int]
# Keys of a size by the number of auxiliary models: first widths, then cuts in order.
PATH_KEYS: Mapping[int, tuple[str, ...]] = {
    1: ("width",),
    2: ("front", "end", "j", "k"),
    3: ("front", "middle", "end", "j", "k", "l", "m"),
}


class Stitch(NamedTuple):
    """Key of a stitch. Paths share a stitch if their cuts between the same models are in the same window.

    Attributes:
        front: Width of the model before the stitch.
        end: Width of the model after the stitch.
        window: Index of the window, counted from 0.
    """

    front: int
    end: int
    window: int

    @property
    def name(self) -> str:
        """Name of the stitch in a pool and its gene."""
        return f"stitch.{self.front}-{self.end}.{self.window}"


@dataclass(frozen=True)
class PoolPath:
    """One path through a pool.

    Its name is a size. `front=24,end=96,j=3,k=4` starts with blocks 1 to 3 of the auxiliary model of width 24. After a
    stitch come blocks 4 to the last of the model of width 96. Blocks are counted from 1, like all sizes. Papers and
    public code count from 0. With three models, blocks k to l of the `middle` are between two stitches, and the end
    starts at m. `width=96` is a whole auxiliary model.

    Attributes:
        widths: Widths of the models, in order.
        cuts: Last block before and first block after each stitch, (j, k), counted from 1.
    """

    widths: tuple[int, ...]
    cuts: tuple[Cut, ...] = ()

    @classmethod
    def of(cls, size: Size) -> PoolPath:
        """Return the path of a size, without checking that a pool has it.

        Raises:
            SettingError: The size does not have the keys of a path.
        """
        for models, keys in PATH_KEYS.items():
            if set(size) == set(keys):
                values = [size[key] for key in keys]
                numbers = values[models:]
                return cls(tuple(values[:models]), tuple(zip(numbers[::2], numbers[1::2], strict=True)))
        raise SettingError(
            f"This gene cannot grow {size}",
            "The sizes of a pool are its paths",
            "Use for example width=96, or front=24,end=96,j=3,k=4, or a cap such as max_params=12M",
        )

    @property
    def size(self) -> Size:
        """Size that names the path."""
        values = (*self.widths, *(block for cut in self.cuts for block in cut))
        return Size(**dict(zip(PATH_KEYS[len(self.widths)], values, strict=True)))

    def __str__(self) -> str:
        return str(self.size)

    def block_ranges(self, depth: int) -> list[tuple[int, range]]:
        """Return the width and the block range of each model, counted from 0; models have `depth` blocks."""
        firsts = [0, *(k - 1 for _, k in self.cuts)]
        lasts = [*(j for j, _ in self.cuts), depth]
        return [(width, range(*ends)) for width, *ends in zip(self.widths, firsts, lasts, strict=True)]

    def stitches(self) -> list[Stitch]:
        """Return the stitches of the path, in order."""
        both = zip(self.widths, self.widths[1:], self.cuts, strict=False)
        return [Stitch(front, end, cut_window(*cut)) for front, end, cut in both]


def cut_window(j: int, k: int) -> int:
    """Return the window of a cut, counted from 0.

    Window 0 has the cuts up to block 2. Each later window has the cuts that its next block adds.
    """
    return max(max(j, k) - 2, 0)


def list_cuts(depth: int) -> tuple[Cut, ...]:
    """Return all cuts (j, k) between two models of `depth` blocks, counted from 1.

    These are the 3 depth - 2 cuts with |j - k| <= 1.

    Source: SN-Net's paired windows of kernel 2 and stride 1 (Pan et al., arXiv 2302.06586), in the order of its code.
    """
    unique: dict[Cut, None] = {}
    for start in range(1, depth + 1):
        for j, k in product((start, start + 1), repeat=2):
            if max(j, k) <= depth:
                unique[j, k] = None
    return tuple(unique)


@dataclass(frozen=True)
class PoolLayout:
    """Structure of a pool, which determines its paths.

    Attributes:
        widths: Widths of the auxiliary models, in ascending order.
        depth: Number of blocks of each auxiliary model.
        pairs: Whether stitches join only neighbouring widths (`nearest`) or all pairs (`all`).
        segments: Largest number of models in a path.
    """

    widths: tuple[int, ...]
    depth: int
    pairs: Pairs = "nearest"
    segments: Literal[2, 3] = 2

    @cached_property
    def paths(self) -> tuple[PoolPath, ...]:
        """All paths: whole models, then pairs, then triples; smaller widths first."""
        return tuple(self._paths())

    @property
    def widest(self) -> PoolPath:
        """Path that is the whole model of the largest width."""
        return PoolPath(self.widths[-1:])

    def _paths(self) -> Iterator[PoolPath]:
        between = list_cuts(self.depth)
        for width in self.widths:
            yield PoolPath((width,))
        for pair in self._chains(2):
            yield from (PoolPath(pair, (cut,)) for cut in between)
        for triple in self._chains(self.segments) if self.segments > 2 else ():
            # The middle model keeps at least one block.
            yield from (PoolPath(triple, both) for both in product(between, repeat=2) if both[1][0] >= both[0][1])

    def _chains(self, models: int) -> Iterator[tuple[int, ...]]:
        for places in combinations(range(len(self.widths)), models):
            if self.pairs == "all" or places[-1] - places[0] == models - 1:
                yield tuple(self.widths[place] for place in places)

    @cached_property
    def stitches(self) -> tuple[Stitch, ...]:
        """All stitches: `depth` - 1 between two models, or one if the models have a single block."""
        windows = range(max(self.depth - 1, 1))
        return tuple(Stitch(front, end, window) for front, end in self._chains(2) for window in windows)

    def path(self, size: Size) -> PoolPath:
        """Return the path of a size.

        Raises:
            SettingError: The pool does not have it; the message gives the reason.
        """
        path = PoolPath.of(size)
        if path not in self._known:
            raise SettingError(f"This gene cannot grow {path}", *self._explain_refusal(path))
        return path

    @cached_property
    def _known(self) -> frozenset[PoolPath]:
        return frozenset(self.paths)

    def _explain_refusal(self, path: PoolPath) -> tuple[str, str]:
        """Return why the pool lacks a path, and how to fix it."""
        odd = [width for width in path.widths if width not in self.widths]
        if odd:
            known = ", ".join(map(str, self.widths))
            return f"Its auxiliary models have widths {known}; none has {odd[0]}", "Choose from these widths"
        if len(path.widths) > self.segments:
            return f"Its paths have at most {self.segments} models", "Remove middle, l and m"
        if sorted(set(path.widths)) != list(path.widths):
            return "Paths go from smaller models to larger ones", "Use the smaller width as front"
        if path.widths not in self._chains(len(path.widths)):
            return "Its stitches join only neighbouring widths (pairs=nearest)", "Choose neighbouring widths"
        if any(block > self.depth for cut in path.cuts for block in cut):
            return f"Its auxiliary models have blocks 1 to {self.depth}", "Choose from these blocks"
        if any(abs(j - k) > 1 for j, k in path.cuts):
            return (
                "A stitch joins block j to block j-1, j or j+1",
                f"Choose j and k up to {self.depth} that differ by 1 at most",
            )
        return "No block of the middle model is left", "Set l to k or more"
