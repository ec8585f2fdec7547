"""Layers that were chosen: what each pair weighed over a training, and where the chosen ones stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from germline.reporting.html import Section
from germline.reporting.plotting import COLOURS, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 6  # times of the training that are drawn
WIDTH = 11.0  # inches
SHADES = 24  # more, and matplotlib would embed the scale as a bitmap
Matrix = tuple[tuple[float, ...], ...]


class Time(BaseModel):
    """What pairs weighed at one time of a training.

    Attributes:
        step: Steps done.
        matrix: By layer, then by what it was held against.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    step: int
    matrix: Matrix


class Choice(BaseModel):
    """What is kept of a choice of layers.

    Attributes:
        select: By what layers were chosen; `given` for none.
        stages: Blocks of each stage of the ancestor.
        layers: Blocks of each layer.
        scores: One a layer; empty where none were made.
        kept: Blocks that were chosen.
        against: What layers were held against.
        matrix: By layer, then by that.
        history: The matrix over a training.
    """

    # A method may tell more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    select: str
    stages: tuple[int, ...]
    layers: tuple[tuple[int, ...], ...]
    scores: tuple[float, ...]
    kept: tuple[int, ...]
    against: tuple[str, ...]
    matrix: Matrix
    history: tuple[Time, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        count = sum(self.stages)
        if not self.kept or not all(0 <= at < count for at in self.kept):
            raise ValueError(f"kept blocks are some of the ancestor's {count}")
        if len(self.scores) not in (0, len(self.layers)):
            raise ValueError("there is one score a layer")
        for matrix in (self.matrix, *(time.matrix for time in self.history)):
            if matrix and (len(matrix) != len(self.layers) or {len(row) for row in matrix} != {len(self.against)}):
                raise ValueError("a matrix has a row a layer, and a column for each thing it is held against")
        return self

    def name(self, layer: int) -> str:
        """The blocks of a layer, such as `4` or `4-5`."""
        blocks = self.layers[layer]
        return str(blocks[0]) if len(blocks) == 1 else f"{blocks[0]}-{blocks[-1]}"


def read(value: Any) -> Choice:
    """The choice that a gene keeps.

    Raises:
        ValueError: It is not what is kept of a choice.
    """
    return Choice.model_validate(value)


def among(arms: Sequence[str], found: Mapping[str, Mapping[int, Choice]]) -> list[Section]:
    """For each arm that has scored its layers, its first seed's choice; those that were given need no drawing."""
    sections = []
    for arm, choices in found.items():
        seed, choice = next(iter(choices.items()))
        if choice.scores:
            sections += _sections(choice, f" of {arm}", f"Seed {seed}. ", f"{arm}-")
    return sections


def alone(found: Choice) -> list[Section]:
    """The choice of one gene."""
    return _sections(found, "", "", "")


def _sections(choice: Choice, whose: str, beginning: str, prefix: str) -> list[Section]:
    note = (
        f"{beginning}The ancestor above, a descendant of its depth below, block by block, the pictures on the left. "
        "Filled blocks are inherited, at their places; the others, and the head, are fresh. "
    )
    note += "Numbers are the layers' scores, which add up to 1." if choice.scores else "The layers were given."
    drawn = [Section(f"The chosen layers{whose}", note, drawing(choice, prefix))]
    if choice.matrix:
        note = (
            f"{beginning}Rows are the ancestor's layers, named by their blocks, columns what they were held against "
            f"({', '.join(choice.against)}); the darker, the more a pair weighed. A row's largest number is what its "
            "layer was chosen by."
        )
        drawn.append(Section(f"What the pairs weighed{whose}", note, heat_maps(choice, prefix)))
    return drawn


def drawing(choice: Choice, prefix: str = "") -> str:
    """Ancestor and descendant as SVG; elements are `ancestor-3` and `descendant-3`, `prefix` before them."""
    count, gaps = sum(choice.stages), len(choice.stages) - 1
    places = [at + 0.5 * stage for stage, (first, end) in enumerate(_stages(choice)) for at in range(first, end)]
    width = count + 0.5 * gaps

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for at, left in enumerate(places):
            kept = at in choice.kept
            _box(panel, left, 1.9, str(at), f"{prefix}ancestor-{at}", filled=kept)
            _box(panel, left, 0.0, str(at) if kept else "", f"{prefix}descendant-{at}", filled=kept)
            if kept:
                panel.annotate("", (left + 0.42, 1.0), (left + 0.42, 1.85), arrowprops={"arrowstyle": "->"})
        for layer, score in enumerate(choice.scores):
            middle = sum(places[at] for at in choice.layers[layer]) / len(choice.layers[layer])
            panel.text(middle + 0.42, 2.95, f"{score:.2f}", ha="center", fontsize=8)
        for name, height in (("ancestor", 2.3), ("descendant", 0.4)):
            panel.text(-0.3, height, name, ha="right", va="center", fontsize=9)
        panel.set_xlim(-2.0, max(width, 6))
        panel.set_ylim(-0.1, 3.3)
        panel.set_axis_off()

    return svg(draw, width=min(WIDTH, 1.6 + 0.7 * max(width, 6)), height=2.0)


def _stages(choice: Choice) -> list[tuple[int, int]]:
    ends = list(accumulate(choice.stages))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _box(panel: Axes, left: float, low: float, text: str, gid: str, *, filled: bool) -> None:
    from matplotlib.patches import Rectangle

    colour = COLOURS[0] if filled else "white"
    panel.add_patch(Rectangle((left, low), 0.84, 0.84, facecolor=colour, edgecolor="#4a4a4a", gid=gid))
    panel.text(
        left + 0.42, low + 0.42, text, ha="center", va="center", fontsize=8, color="white" if filled else "black"
    )


def heat_maps(choice: Choice, prefix: str = "") -> str:
    """The matrix at a few times of the training as SVG, on one scale; a panel is `weights-STEP`, `prefix` before it."""
    times = _few(choice.history) or [Time(step=0, matrix=choice.matrix)]
    most = max(max(map(max, time.matrix)) for time in times) or 1.0

    def draw(figure: Figure) -> None:
        import matplotlib as mpl

        shades = mpl.colormaps["cividis_r"].resampled(SHADES)
        axes = figure.subplots(1, len(times), squeeze=False, sharey=True)[0]
        for panel, time in zip(axes, times, strict=True):
            mesh = panel.pcolormesh(
                time.matrix,
                cmap=shades,
                vmin=0,
                vmax=most,
                edgecolor="white",
                lw=0.5,
                gid=f"{prefix}weights-{time.step}",
            )
            panel.set_title(f"step {time.step:,}" if choice.history else "", fontsize=9)
            panel.set_xticks([at + 0.5 for at in range(len(choice.against))], range(len(choice.against)), fontsize=7)
        axes[0].invert_yaxis()  # which all share
        names = [choice.name(layer) for layer in range(len(choice.layers))]
        axes[0].set_yticks([at + 0.5 for at in range(len(names))], names, fontsize=7)
        axes[0].set_ylabel("the ancestor's layers", fontsize=9)
        figure.colorbar(mesh, ax=list(axes), pad=0.01, aspect=25)

    columns = min(1.7, 0.5 + 0.22 * len(choice.against))
    height = min(5.0, 1.0 + 0.24 * len(choice.layers))
    return svg(draw, width=min(WIDTH, 2.0 + columns * len(times)), height=height)


def _few(history: Sequence[Time]) -> list[Time]:
    """At most so many times as are drawn, evenly spaced, the last among them."""
    count = min(PANELS, len(history))
    return [history[(at + 1) * len(history) // count - 1] for at in range(count)]
