"""Specs and costs of a pool's paths, and the best path under a cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from germline.architectures import Size, Spec, StitchedSpec, VitSpec, count_elements, on_meta_device
from germline.ledger import Origin
from germline.methods.pool.paths import PoolLayout, PoolPath
from germline.registry import architecture_of
from germline.size_choice import SpecCost, make_cap_error

_SIZES = frozenset({"depth", "width", "heads", "depths", "widths"})


class Count(NamedTuple):
    """Size and cost of a path's network.

    Attributes:
        parameters: Number of all parameters.
        headless: Number of parameters without the head.
        flops: Operations of the forward pass of one image; a multiply-add counts as two.
    """

    parameters: int
    headless: int
    flops: int

    @property
    def cost(self) -> SpecCost:
        """Size and cost that caps limit."""
        return SpecCost(self.parameters, self.flops)


@dataclass(frozen=True)
class PathSpecs:
    """Specs of the auxiliary models and of all paths between them.

    Attributes:
        layout: Layout that lists the paths.
        models: Specs of the auxiliary models by width.
    """

    layout: PoolLayout
    models: Mapping[int, VitSpec]

    @classmethod
    def of(cls, layout: PoolLayout, form: Spec, heads: Sequence[int]) -> PathSpecs:
        """Derive the specs from one ViT, with other depth, widths and heads.

        Raises:
            SettingError: A width is not divisible by its heads.
        """
        models = {
            width: VitSpec.model_validate({**_shared(form), "depth": layout.depth, "width": width, "heads": count})
            for width, count in zip(layout.widths, heads, strict=True)
        }
        return cls(layout, models)

    def spec(self, path: PoolPath) -> VitSpec | StitchedSpec:
        """Return the spec of a path's network: a plain ViT, or a stitched one."""
        if len(path.widths) == 1:
            return self.models[path.widths[0]]
        shared = _shared(self.models[path.widths[0]])
        depths = tuple(len(run) for _, run in path.block_ranges(self.layout.depth))
        heads = tuple(self.models[width].heads for width in path.widths)
        return StitchedSpec.model_validate({**shared, "depths": depths, "widths": path.widths, "heads": heads})

    def model_flops(self) -> dict[int, int]:
        """Return the operations of one image's forward pass through each auxiliary model, by width."""
        return {width: architecture_of(spec).flops(spec) for width, spec in self.models.items()}

    def count(self, path: PoolPath) -> Count:
        """Count a path's network from the parts of the auxiliary models, without building it."""
        parts = {width: _parts(self.models[width]) for width in path.widths}
        body = parts[path.widths[0]].stem + parts[path.widths[-1]].norm
        body += sum(len(run) * parts[width].block for width, run in path.block_ranges(self.layout.depth))
        body += sum((stitch.front + 1) * stitch.end for stitch in path.stitches())
        spec = self.spec(path)
        return Count(body + parts[path.widths[-1]].head, body, architecture_of(spec).flops(spec))

    def best_below(self, caps: Size, validated: Sequence[Mapping[str, Any]]) -> PoolPath:
        """Return the path of the highest validated accuracy under all caps.

        Among equal paths it is the one with the fewest parameters, then the fewest operations.

        Args:
            caps: `max_params`, `max_flops` or both.
            validated: A gene's record of its paths: `size` and `accuracy` of each.

        Raises:
            SettingError: No path fits; the message names the smallest path.
        """
        counts = {path: self.count(path) for path in self.layout.paths}
        fitting = {path: count for path, count in counts.items() if count.cost.fits(caps)}
        if not fitting:
            least = min(counts, key=lambda path: counts[path])
            raise make_cap_error(caps, f"path, {least}", counts[least].cost)
        accuracy = {PoolPath.of(Size.parse(row["size"])): float(row["accuracy"]) for row in validated}
        return max(fitting, key=lambda path: (accuracy[path], -fitting[path].parameters, -fitting[path].flops))


class _Parts(NamedTuple):
    stem: int
    block: int
    norm: int
    head: int


@lru_cache(maxsize=64)
def _parts(spec: VitSpec) -> _Parts:
    """Count the parameters of each part of a ViT."""
    architecture = architecture_of(spec)
    parts = architecture.parts(spec)
    with on_meta_device():
        sizes = count_elements(architecture.build(spec))
    groups = (parts.stem, parts.blocks[0].values(), parts.norm, parts.head)
    return _Parts(*(sum(sizes[name] for name in names) for names in groups))


def _shared(form: Spec) -> dict[str, Any]:
    """Return the fields that paths share with the spec they are derived from."""
    return form.model_dump(exclude=set(_SIZES))


def take_path_tensors(
    forms: PathSpecs, path: PoolPath, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Origin]]]:
    """Take the tensors of a path: its frame, and its blocks with stitches.

    The tensors get their names in the network of the path.

    Args:
        forms: Specs of the pool.
        path: Path of the pool.
        tensors: Tensors of the pool by name.
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
