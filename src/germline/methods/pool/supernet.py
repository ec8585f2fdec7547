"""The supernet: auxiliary models and the stitches between them, in which each path is a network."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any, NamedTuple

from torch import Tensor, nn

from germline.architectures import VIT, VitSpec, on_meta_device
from germline.errors import SettingError
from germline.methods.pool.paths import PoolLayout, PoolPath
from germline.network import load_strict


class Route(NamedTuple):
    """The modules of a path in the order of execution; they belong to the pool.

    Attributes:
        front: Model that gives the stem.
        steps: Blocks and stitches.
        end: Model that gives the norm and the head.
    """

    front: Any
    steps: tuple[nn.Module, ...]
    end: Any

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of normalised images [B, C, H, W]."""
        logits: Tensor = self.end.forward_head(self.tokens(images))
        return logits

    def tokens(self, images: Tensor) -> Tensor:
        """Return the last tokens [B, tokens, width], after the norm."""
        tokens = embed_images(self.front, images)
        for step in self.steps:
            tokens = step(tokens)
        normed: Tensor = self.end.norm(tokens)
        return normed


class PoolNetwork(nn.Module):
    """Auxiliary ViTs and the stitches between them, with one or more chosen paths.

    Its tensors have the names of a gene's: `24.blocks.0.norm1.weight`, `stitch.24-96.0.weight`. The final norm is
    applied on every path. The public code of SN-Net and Learngene Pool omits it on stitched paths.

    Attributes:
        layout: Structure of the pool.
        chosen: Paths that `forward` computes.
        gives_tokens: Whether `forward` returns last tokens instead of logits.
    """

    gives_tokens: bool = False
    chosen: tuple[PoolPath, ...]

    def __init__(self, models: Mapping[int, nn.Module], layout: PoolLayout) -> None:
        """Create the stitches as torch initialises linear layers, and choose the widest model.

        Args:
            models: timm ViTs of `layout.depth` blocks by their width.
            layout: Structure of the pool.
        """
        super().__init__()
        self.layout = layout
        for width in layout.widths:
            self.add_module(str(width), models[width])
        pairs = groupby(layout.stitches, lambda stitch: (stitch.front, stitch.end))
        windows = {pair: sum(1 for _ in group) for pair, group in pairs}
        self.stitch = nn.ModuleDict(
            {f"{front}-{end}": _make_stitches(front, end, count) for (front, end), count in windows.items()}
        )
        self._paths = frozenset(layout.paths)
        self._routes: dict[PoolPath, Route] = {}
        self.choose(layout.widest)

    def model(self, width: int) -> Any:
        """Return the auxiliary model of a width."""
        return self.get_submodule(str(width))

    def choose(self, *paths: PoolPath) -> None:
        """Choose the paths that `forward` computes, without copying anything.

        Raises:
            SettingError: The pool has no such path.
        """
        self._chosen_routes = tuple(self.route(path) for path in paths)
        self.chosen = paths

    def route(self, path: PoolPath) -> Route:
        """Return the modules of a path.

        Raises:
            SettingError: The pool has no such path.
        """
        if path not in self._routes:
            if path not in self._paths:
                raise SettingError(f"This pool has no path {path}", fix="Choose one of its layout's paths")
            self._routes[path] = self._find(path)
        return self._routes[path]

    def _find(self, path: PoolPath) -> Route:
        steps: list[nn.Module] = []
        stitches = [self.get_submodule(stitch.name) for stitch in path.stitches()]
        for index, (width, run) in enumerate(path.block_ranges(self.layout.depth)):
            steps += [*stitches[index - 1 : index], *(self.model(width).blocks[block] for block in run)]
        return Route(self.model(path.widths[0]), tuple(steps), self.model(path.widths[-1]))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits [B, classes] of normalised images [B, C, H, W], as one tensor for each chosen path.

        Without a head these are pooled features [B, width]. With `gives_tokens` these are tokens [B, tokens, width].
        """
        outputs = tuple(route.tokens(images) if self.gives_tokens else route(images) for route in self._chosen_routes)
        return outputs[0] if len(outputs) == 1 else outputs

    def tokens(self, width: int, images: Tensor) -> list[Tensor]:
        """Return tokens [B, tokens, width] of one auxiliary model, before its first block and after each block."""
        tokens = [embed_images(self.model(width), images)]
        for block in self.model(width).blocks:
            tokens.append(block(tokens[-1]))
        return tokens

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that the auxiliary models exclude from weight decay."""
        return {f"{width}.{name}" for width in self.layout.widths for name in self.model(width).no_weight_decay()}


def embed_images(model: Any, images: Tensor) -> Tensor:
    """Return the tokens [B, tokens, width] that a timm ViT's first block reads, as in its `forward_features`."""
    tokens: Tensor = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))
    return tokens


def rebuild_vit(spec: VitSpec, tensors: Mapping[str, Tensor]) -> Any:
    """Build a ViT from a spec and tensors, which are used without copying.

    Raises:
        ArtefactError: A tensor is missing, unknown, or of another shape.
    """
    with on_meta_device():
        model = VIT.build(spec)
    load_strict(model, dict(tensors), "an auxiliary model", assign=True)
    return model


def _make_stitches(front: int, end: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(front, end) for _ in range(count))
