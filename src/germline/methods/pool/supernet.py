"""The pool: auxiliary models and the stitches between them as one network, of which each path is a network."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any, NamedTuple

from torch import Tensor, nn

from germline.architectures import VIT, VitSpec, on_meta_device
from germline.errors import SettingError
from germline.methods.pool.paths import Layout, Path
from germline.network import load_strict


class Route(NamedTuple):
    """The parts of a path, in the order in which they are run; they are the pool's own.

    Attributes:
        front: Whose stem it has.
        steps: Blocks and stitches.
        end: Whose norm and head it has.
    """

    front: Any
    steps: tuple[nn.Module, ...]
    end: Any

    def __call__(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of normalised pictures [B, C, H, W]."""
        tokens = embed(self.front, images)
        for step in self.steps:
            tokens = step(tokens)
        logits: Tensor = self.end.forward_head(self.end.norm(tokens))
        return logits


class PoolNetwork(nn.Module):
    """Auxiliary ViTs, under their widths as names, and stitches that paths share; one path, or a few, is chosen.

    Its tensors have the names that a gene gives them: `24.blocks.0.norm1.weight`, `stitch.24-96.0.weight`. The final
    norm is applied on every path; in the public code of SN-Net and Learngene Pool stitched paths go without.

    Attributes:
        layout: Which paths there are.
        chosen: Those that `forward` takes.
    """

    chosen: tuple[Path, ...]

    def __init__(self, models: Mapping[int, nn.Module], layout: Layout) -> None:
        """Set up; stitches are drawn as torch's linear layers are, and the widest model is chosen.

        Args:
            models: A timm ViT of `layout.depth` blocks by each of its widths.
            layout: Which paths there are.
        """
        super().__init__()
        self.layout = layout
        for width in layout.widths:
            self.add_module(str(width), models[width])
        pairs = groupby(layout.stitches, lambda stitch: (stitch.front, stitch.end))
        windows = {pair: sum(1 for _ in group) for pair, group in pairs}
        self.stitch = nn.ModuleDict(
            {f"{front}-{end}": _stitches(front, end, count) for (front, end), count in windows.items()}
        )
        self._paths = frozenset(layout.paths)
        self._routes: dict[Path, Route] = {}
        self.choose(layout.widest)

    def model(self, width: int) -> Any:
        """The auxiliary model of that width."""
        return self.get_submodule(str(width))

    def choose(self, *paths: Path) -> None:
        """Take these paths from now on; nothing is copied.

        Raises:
            SettingError: The pool has no such path.
        """
        self._taken = tuple(self.route(path) for path in paths)
        self.chosen = paths

    def route(self, path: Path) -> Route:
        """The parts of a path.

        Raises:
            SettingError: The pool has no such path.
        """
        if path not in self._routes:
            if path not in self._paths:
                raise SettingError(f"no path {path} in this pool", fix="take one of its layout's")
            self._routes[path] = self._find(path)
        return self._routes[path]

    def _find(self, path: Path) -> Route:
        steps: list[nn.Module] = []
        stitches = [self.get_submodule(stitch.name) for stitch in path.stitches()]
        for index, (width, run) in enumerate(path.stretches(self.layout.depth)):
            steps += [*stitches[index - 1 : index], *(self.model(width).blocks[block] for block in run)]
        return Route(self.model(path.widths[0]), tuple(steps), self.model(path.widths[-1]))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits [B, classes] of normalised pictures [B, C, H, W]; of several chosen paths one tensor each."""
        found = tuple(route(images) for route in self._taken)
        return found[0] if len(found) == 1 else found

    def tokens(self, width: int, images: Tensor) -> list[Tensor]:
        """Tokens [B, tokens, width] of one auxiliary model, before its first block and after each."""
        found = [embed(self.model(width), images)]
        for block in self.model(width).blocks:
            found.append(block(found[-1]))
        return found

    def no_weight_decay(self) -> set[str]:
        """What the auxiliary models spare, under our names."""
        return {f"{width}.{name}" for width in self.layout.widths for name in self.model(width).no_weight_decay()}


def embed(model: Any, images: Tensor) -> Tensor:
    """Tokens [B, tokens, width] that reach a timm ViT's first block: what its `forward_features` begins with."""
    tokens: Tensor = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))
    return tokens


def rebuilt(spec: VitSpec, tensors: Mapping[str, Tensor]) -> Any:
    """A ViT of that form with these tensors, which become its own.

    Raises:
        ArtefactError: A tensor is missing, unknown, or of another shape.
    """
    with on_meta_device():
        model = VIT.build(spec)
    load_strict(model, dict(tensors), "an auxiliary model", assign=True)
    return model


def _stitches(front: int, end: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(front, end) for _ in range(count))
