"""The forms of a pool's paths, what they cost, and the best of them under a cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from germline.architectures import Size, Spec, StitchedSpec, VitSpec, count_elements, on_meta_device
from germline.architectures.size import CAPS
from germline.errors import SettingError
from germline.ledger import Origin
from germline.methods.pool.paths import PoolLayout, PoolPath
from germline.registry import architecture_of

_SIZES = frozenset({"depth", "width", "heads", "depths", "widths"})


class Count(NamedTuple):
    """What a path's network is.

    Attributes:
        parameters: All of them.
        headless: Without the head.
        flops: Of one picture's forward pass; a multiply-add counts as two.
    """

    parameters: int
    headless: int
    flops: int


@dataclass(frozen=True)
class Forms:
    """The auxiliary models' forms, and those of all paths between them.

    Attributes:
        layout: Which paths there are.
        models: A form by width.
    """

    layout: PoolLayout
    models: Mapping[int, VitSpec]

    @classmethod
    def of(cls, layout: PoolLayout, form: Spec, heads: Sequence[int]) -> Forms:
        """The forms that follow from one ViT, with other depth, widths and heads.

        Raises:
            SettingError: A width is not divisible by its heads.
        """
        models = {
            width: VitSpec.model_validate({**_shared(form), "depth": layout.depth, "width": width, "heads": count})
            for width, count in zip(layout.widths, heads, strict=True)
        }
        return cls(layout, models)

    def spec(self, path: PoolPath) -> VitSpec | StitchedSpec:
        """The form of a path's network: a plain ViT, or a stitched one."""
        if len(path.widths) == 1:
            return self.models[path.widths[0]]
        shared = _shared(self.models[path.widths[0]])
        depths = tuple(len(run) for _, run in path.block_ranges(self.layout.depth))
        heads = tuple(self.models[width].heads for width in path.widths)
        return StitchedSpec.model_validate({**shared, "depths": depths, "widths": path.widths, "heads": heads})

    def model_flops(self) -> dict[int, int]:
        """Operations of one picture's forward pass through each auxiliary model, by width."""
        return {width: architecture_of(spec).flops(spec) for width, spec in self.models.items()}

    def count(self, path: PoolPath) -> Count:
        """What a path's network is, from the parts of the auxiliary models; nothing is built for it."""
        parts = {width: _parts(self.models[width]) for width in path.widths}
        body = parts[path.widths[0]].stem + parts[path.widths[-1]].norm
        body += sum(len(run) * parts[width].block for width, run in path.block_ranges(self.layout.depth))
        body += sum((stitch.front + 1) * stitch.end for stitch in path.stitches())
        spec = self.spec(path)
        return Count(body + parts[path.widths[-1]].head, body, architecture_of(spec).flops(spec))

    def under(self, caps: Size, validated: Sequence[Mapping[str, Any]]) -> PoolPath:
        """The path of the highest validated accuracy under all caps; of equals the one of fewest parameters.

        Args:
            caps: `max_params`, `max_flops` or both.
            validated: A gene's record of its paths: `size` and `accuracy` of each.

        Raises:
            SettingError: There is none; names the smallest.
        """
        counts = {path: self.count(path) for path in self.layout.paths}
        limits = [caps.get(key, float("inf")) for key in CAPS]
        fitting = {path: one for path, one in counts.items() if one.parameters <= limits[0] and one.flops <= limits[1]}
        if not fitting:
            least = min(counts, key=lambda path: counts[path])
            raise SettingError(
                f"this gene cannot grow {caps}",
                f"its smallest path, {least}, has {counts[least].parameters:,} parameters and takes "
                f"{counts[least].flops:,} operations a picture",
                "raise the cap",
            )
        accuracy = {PoolPath.of(Size.parse(row["size"])): float(row["accuracy"]) for row in validated}
        return max(fitting, key=lambda path: (accuracy[path], -fitting[path].parameters, -fitting[path].flops))


class _Parts(NamedTuple):
    stem: int
    block: int
    norm: int
    head: int


@lru_cache(maxsize=64)
def _parts(spec: VitSpec) -> _Parts:
    """Parameters of each part of a ViT."""
    architecture = architecture_of(spec)
    parts = architecture.parts(spec)
    with on_meta_device():
        sizes = count_elements(architecture.build(spec))
    groups = (parts.stem, parts.blocks[0].values(), parts.norm, parts.head)
    return _Parts(*(sum(sizes[name] for name in names) for names in groups))


def _shared(form: Spec) -> dict[str, Any]:
    """What paths have in common with the form that they follow from."""
    return form.model_dump(exclude=set(_SIZES))


def pieces(
    forms: Forms, path: PoolPath, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Origin]]]:
    """The tensors of a path, under the names that they have in its network: its frame, and its blocks with stitches.

    Args:
        forms: The pool's own.
        path: Of the pool.
        tensors: The pool's, by name.
    """
    spec = forms.spec(path)
    parts = architecture_of(spec).parts(spec)
    front, end = path.widths[0], path.widths[-1]
    frame = {name: tensors[f"{front}.{name}"] for name in parts.stem}
    frame |= {name: tensors[f"{end}.{name}"] for name in (*parts.norm, *parts.head)}
    own = {width: architecture_of(form).parts(form).blocks for width, form in forms.models.items()}
    sources = [(width, block) for width, run in path.block_ranges(forms.layout.depth) for block in run]
    stitches = dict(zip(spec.segment_starts[1:], path.stitches(), strict=True))
    blocks: dict[str, tuple[Tensor, Origin]] = {}
    for index, (names, (width, block)) in enumerate(zip(parts.blocks, sources, strict=True)):
        for name, full in names.items():
            if name in own[width][block]:
                blocks[full] = tensors[f"{width}.{own[width][block][name]}"].clone(), "copied"
            else:
                blocks[full] = tensors[f"{stitches[index].name}.{name.rpartition('.')[2]}"].clone(), "stitched"
    return frame, blocks
