"""The channel groups of a ResNet of basic blocks."""

from __future__ import annotations

from collections.abc import Mapping

from germline.anatomy.base import Parts
from germline.anatomy.channels import Group, Member, read, written
from germline.anatomy.resnet_spec import ResNetSpec

_READERS = ("conv1.weight", "downsample.0.weight")
# Within the stem: what makes channels that nothing but the next convolution reads, and what makes those of the stream.
_CHAINS = {"": (), "deep": ((("conv1.0", "conv1.1"), "conv1.3"), (("conv1.3", "conv1.4"), "conv1.6"))}
_ENDS = {"": ("conv1", "bn1"), "deep": ("conv1.6", "bn1")}


def resnet_groups(spec: ResNetSpec, parts: Parts) -> tuple[Group, ...]:
    """One group within each block, those of the stem, and one a stage for what its blocks are added to.

    Args:
        spec: Of the network.
        parts: Names of its tensors.
    """
    first = dict(zip(parts.stem, parts.stem, strict=True))
    # The stem's, then each stage's.
    streams: list[list[Member]] = [[] for _ in range(len(spec.depths) + 1)]
    if not spec.projects(0):
        streams[0] = streams[1]
    inside = [_within(first, made, reader, spec.stem_width, 0) for made, reader in _CHAINS[spec.stem_type]]
    streams[0] += written(0, *_made(first, *_ENDS[spec.stem_type]))
    for index, (block, (stage, _, width)) in enumerate(zip(parts.blocks, spec.blocks, strict=True)):
        inside.append(_within(block, ("conv1", "bn1"), "conv2", width, stage))
        streams[stage + (index > sum(spec.depths[:stage]))] += read(1, *(block[n] for n in _READERS if n in block))
        streams[stage + 1] += written(0, *_made(block, "conv2", "bn2", "downsample"))
    streams[-1] += read(1, "fc.weight")
    apart = [Group("stem", spec.stem, tuple(streams[0]))] if spec.projects(0) else []
    outer = [
        Group(f"stages.{stage}", width, tuple(members), stage)
        for stage, (width, members) in enumerate(zip(spec.widths, streams[1:], strict=True))
    ]
    return (*outer, *apart, *inside)


def _made(names: Mapping[str, str], *places: str) -> list[str]:
    """Tensors of the places whose first dimension is the channels that these write, by full name."""
    starts = tuple(f"{place}." for place in places)
    return [full for name, full in names.items() if name.startswith(starts) and not name.endswith("tracked")]


def _within(names: Mapping[str, str], made: tuple[str, ...], reader: str, width: int, stage: int) -> Group:
    """Channels that one convolution makes and only the next one reads."""
    makers = _made(names, *made)
    return Group(
        makers[0].removesuffix(".weight"), width, (*written(0, *makers), *read(1, names[f"{reader}.weight"])), stage
    )
