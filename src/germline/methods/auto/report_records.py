"""Record of a choice of layers, as a gene keeps it."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

Matrix = tuple[tuple[float, ...], ...]


class MatrixRecord(BaseModel):
    """Record of the matching weights at one time of a training.

    Attributes:
        step: Number of steps done.
        matrix: Weight of each pair, by layer of the ancestor and then by what it is matched with.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    step: int
    matrix: Matrix


class LayerChoiceRecord(BaseModel):
    """Record of a choice of layers.

    Attributes:
        select: How layers were selected; `given` if the settings name them.
        stages: Number of blocks in each stage of the ancestor.
        layers: Blocks of each layer.
        scores: Score of each layer; empty if layers were not scored.
        kept: Blocks that were chosen.
        against: Names of what the layers are matched with.
        matrix: Weight of each pair, by layer and then by what it is matched with.
        history: The matrix over a training.
    """

    # A method may record more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    select: str
    stages: tuple[int, ...]
    layers: tuple[tuple[int, ...], ...]
    scores: tuple[float, ...]
    kept: tuple[int, ...]
    against: tuple[str, ...]
    matrix: Matrix
    history: tuple[MatrixRecord, ...]

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        count = sum(self.stages)
        if not self.kept or not all(0 <= at < count for at in self.kept):
            raise ValueError(f"chosen blocks are not among the ancestor's {count}")
        if len(self.scores) not in (0, len(self.layers)):
            raise ValueError("there is not one score per layer")
        for matrix in (self.matrix, *(time.matrix for time in self.history)):
            if matrix and (len(matrix) != len(self.layers) or {len(row) for row in matrix} != {len(self.against)}):
                raise ValueError("a matrix does not have one row per layer and one column per match")
        return self

    def layer_name(self, layer: int) -> str:
        """Return the blocks of a layer, such as `4` or `4-5`."""
        blocks = self.layers[layer]
        return str(blocks[0]) if len(blocks) == 1 else f"{blocks[0]}-{blocks[-1]}"
