"""Paths through a pool: which auxiliary models a descendant is made of, and where it goes from one to the next."""

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
# The keys of a size by the number of auxiliary models; widths first, then the cuts in order.
KEYS: Mapping[int, tuple[str, ...]] = {
    1: ("width",),
    2: ("front", "end", "j", "k"),
    3: ("front", "middle", "end", "j", "k", "l", "m"),
}


class Stitch(NamedTuple):
    """Which stitch: paths share it whose cuts between the same two models lie in the same window.

    Attributes:
        front: Width of the model before it.
        end: Width of the model behind it.
        window: Counted from 0.
    """

    front: int
    end: int
    window: int

    @property
    def name(self) -> str:
        """Under which a pool and its gene hold it."""
        return f"stitch.{self.front}-{self.end}.{self.window}"


@dataclass(frozen=True)
class Path:
    """One way through a pool.

    Its name is a size: `front=24,end=96,j=3,k=4` are blocks 1 to 3 of the auxiliary model of width 24, a stitch, and
    blocks 4 to the last of that of width 96. Blocks are counted from one here, as all sizes are; papers and public code
    count them from zero. With three models blocks k to l of the `middle` come between two stitches, and the end begins
    at m. `width=96` is a whole auxiliary model.

    Attributes:
        widths: Of the models, in order.
        cuts: For each stitch the last block before it and the first one behind it, (j, k), counted from one.
    """

    widths: tuple[int, ...]
    cuts: tuple[Cut, ...] = ()

    @classmethod
    def of(cls, size: Size) -> Path:
        """The path of that name; whether a pool has it is the pool's to say.

        Raises:
            SettingError: The keys are not those of a path.
        """
        for models, keys in KEYS.items():
            if set(size) == set(keys):
                values = [size[key] for key in keys]
                numbers = values[models:]
                return cls(tuple(values[:models]), tuple(zip(numbers[::2], numbers[1::2], strict=True)))
        raise SettingError(
            f"this gene cannot grow {size}",
            "the sizes of a pool are its paths",
            "write for example width=96, or front=24,end=96,j=3,k=4, or a cap such as max_params=12M",
        )

    @property
    def size(self) -> Size:
        """Its name."""
        values = (*self.widths, *(block for cut in self.cuts for block in cut))
        return Size(**dict(zip(KEYS[len(self.widths)], values, strict=True)))

    def __str__(self) -> str:
        return str(self.size)

    def stretches(self, depth: int) -> list[tuple[int, range]]:
        """The width of each model and its blocks on the path, counted from 0; models have `depth` blocks."""
        firsts = [0, *(k - 1 for _, k in self.cuts)]
        lasts = [*(j for j, _ in self.cuts), depth]
        return [(width, range(*ends)) for width, *ends in zip(self.widths, firsts, lasts, strict=True)]

    def stitches(self) -> list[Stitch]:
        """The stitches on it, in order."""
        both = zip(self.widths, self.widths[1:], self.cuts, strict=False)
        return [Stitch(front, end, window(*cut)) for front, end, cut in both]


def window(j: int, k: int) -> int:
    """The window of a cut, counted from 0: window 0 holds those up to block 2, each further one those new to it."""
    return max(max(j, k) - 2, 0)


def cuts(depth: int) -> tuple[Cut, ...]:
    """All cuts (j, k) between two models of `depth` blocks, counted from one: 3 depth - 2 with |j - k| <= 1.

    Source: SN-Net's paired windows of kernel 2 and stride 1 (Pan et al., arXiv 2302.06586), in the order of its code.
    """
    found: dict[Cut, None] = {}
    for start in range(1, depth + 1):
        for j, k in product((start, start + 1), repeat=2):
            if max(j, k) <= depth:
                found[j, k] = None
    return tuple(found)


@dataclass(frozen=True)
class Layout:
    """How a pool is laid out; its paths follow.

    Attributes:
        widths: Of the auxiliary models, rising.
        depth: Blocks of each.
        pairs: Stitches between neighbours alone, or between all.
        segments: Most models a path.
    """

    widths: tuple[int, ...]
    depth: int
    pairs: Pairs = "nearest"
    segments: Literal[2, 3] = 2

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """All of them: whole models, then pairs of models, then triples; smaller widths before larger ones."""
        return tuple(self._paths())

    @property
    def widest(self) -> Path:
        """The whole model of the largest width."""
        return Path(self.widths[-1:])

    def _paths(self) -> Iterator[Path]:
        between = cuts(self.depth)
        for width in self.widths:
            yield Path((width,))
        for pair in self._chains(2):
            yield from (Path(pair, (cut,)) for cut in between)
        for triple in self._chains(self.segments) if self.segments > 2 else ():
            # The middle model has a block at least.
            yield from (Path(triple, both) for both in product(between, repeat=2) if both[1][0] >= both[0][1])

    def _chains(self, models: int) -> Iterator[tuple[int, ...]]:
        for places in combinations(range(len(self.widths)), models):
            if self.pairs == "all" or places[-1] - places[0] == models - 1:
                yield tuple(self.widths[place] for place in places)

    @cached_property
    def stitches(self) -> tuple[Stitch, ...]:
        """All of them, each once: `depth` - 1 between two models, one where a model is a single block."""
        windows = range(max(self.depth - 1, 1))
        return tuple(Stitch(front, end, window) for front, end in self._chains(2) for window in windows)

    def path(self, size: Size) -> Path:
        """The path of that name.

        Raises:
            SettingError: It is none of this pool's; says why.
        """
        path = Path.of(size)
        if path not in self._known:
            raise SettingError(f"this gene cannot grow {path}", *self._why_not(path))
        return path

    @cached_property
    def _known(self) -> frozenset[Path]:
        return frozenset(self.paths)

    def _why_not(self, path: Path) -> tuple[str, str]:
        """What is wrong with a path that is none of ours, and what to do."""
        odd = [width for width in path.widths if width not in self.widths]
        if odd:
            known = ", ".join(map(str, self.widths))
            return f"its auxiliary models have widths {known}; none has {odd[0]}", "choose among these"
        if len(path.widths) > self.segments:
            return f"its paths lead through {self.segments} models at most", "leave out middle, l and m"
        if sorted(set(path.widths)) != list(path.widths):
            return "paths lead from smaller models to larger ones", "let front be the smaller one"
        if path.widths not in self._chains(len(path.widths)):
            return "its stitches join neighbouring widths alone (pairs=nearest)", "choose neighbours among the widths"
        if any(block > self.depth for cut in path.cuts for block in cut):
            return f"its auxiliary models have blocks 1 to {self.depth}", "choose blocks among these"
        if any(abs(j - k) > 1 for j, k in path.cuts):
            return (
                "a stitch joins block j to block j-1, j or j+1",
                f"let j and k differ by 1 at most, up to {self.depth}",
            )
        return "no block of the middle model is left", "let l be k or more"
