"""Base class of `vit` and `stitched`: timm's blocks over a stream of tokens, in one segment or several."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from operator import attrgetter
from typing import Any, ClassVar, Generic, TypeVar

from timm.layers import LayerNorm, Mlp, PatchEmbed, resample_abs_pos_embed
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from germline.architectures.base import Parts, TimmArguments, adapt_kernel, check_timm_class, count_outputs
from germline.architectures.channel_groups import ChannelGroup
from germline.architectures.meta_device import on_meta_device
from germline.architectures.size import Size
from germline.architectures.transformer_groups import list_transformer_groups
from germline.architectures.transformer_spec import TransformerSpec
from germline.errors import ArtefactError
from germline.ledger import Ledger

_NORMS = ("norm", "fc_norm")
_PATCHES = "patch_embed.proj"
_STITCH = ("stitch.weight", "stitch.bias")

TransformerT = TypeVar("TransformerT", bound=TransformerSpec)


class TransformerArchitecture(ABC, Generic[TransformerT]):
    """How a network of Transformer blocks is put together; subclasses add what plain or stitched ViTs do differently.

    Attributes:
        timm_name: Name of the model in timm that the networks are rebuilt with.
        block_classes: Classes that a block may have.
    """

    name: ClassVar[str]
    timm_name: ClassVar[str]
    timm_class: ClassVar[type[Any]]
    stores_image_size: ClassVar[bool] = True
    block_classes: ClassVar[tuple[type[Any], ...]]
    spec_type: type[TransformerT]

    @abstractmethod
    def size_arguments(self, spec: TransformerT, *, with_blocks: bool = True) -> dict[str, Any]:
        """Return timm's arguments for the size, JSON-able; without blocks, those of the frame alone."""

    @abstractmethod
    def read_spec(self, model: Any) -> TransformerT:
        """Read the spec of a network of the architecture's own class."""

    @abstractmethod
    def block(self, spec: TransformerT, index: int = 0) -> Any:
        """Build the block at `index`, freshly initialised."""

    @abstractmethod
    def resize(self, spec: TransformerT, size: Size) -> TransformerT:
        """Return the spec with the depths, widths or heads of its segments changed."""

    def build(self, spec: TransformerT) -> Any:
        """Build a freshly initialised network, one of timm's VisionTransformers."""
        return self.timm_class(**_timm_arguments(spec, self.size_arguments(spec)))

    def frame(self, spec: TransformerT) -> Any:
        """Build the network without its blocks."""
        return self.timm_class(**_timm_arguments(spec, self.size_arguments(spec, with_blocks=False)))

    def describe(self, model: nn.Module) -> TransformerT:
        """Return the spec of a network of the architecture's own class.

        Raises:
            ArtefactError: The network is of another architecture, or has a part that this one does not rebuild.
        """
        check_timm_class(self, model)
        odd = _odd_parts(model, self.block_classes)
        if odd:
            raise self._rebuild_error(odd)
        spec = self.read_spec(model)
        with on_meta_device():
            rebuilt = _shapes_and_heads(self.build(spec))
        given = _shapes_and_heads(model)
        odd = [
            f"{name} {_shape_text(given.get(name))} instead of {_shape_text(rebuilt.get(name))}"
            for name in sorted(rebuilt.keys() | given.keys())
            if rebuilt.get(name) != given.get(name)
        ]
        if odd:
            raise self._rebuild_error(odd)
        return spec

    def _rebuild_error(self, odd: list[str]) -> ArtefactError:
        return ArtefactError(
            f"this ViT has parts that the {self.name} architecture does not rebuild",
            f"the first are {', '.join(odd[:4])}",
            "choose a plain `vit_*` or `deit_*` name, or use this network only as a teacher",
        )

    def parts(self, spec: TransformerT) -> Parts:
        """Return the names of the network's tensors by part; a stitch belongs to the block behind it."""
        return _find_parts(self, spec)

    def _find_parts(self, spec: TransformerT) -> Parts:
        with on_meta_device():
            frame = [name for name, _ in self.frame(spec).named_parameters()]
            block = [name for name, _ in self.block(spec).named_parameters()]
        norm = tuple(name for name in frame if name.split(".")[0] in _NORMS)
        head = tuple(name for name in frame if name.split(".")[0] == "head")
        blocks, stitched = self.feature_names(spec), spec.segment_starts[1:]
        return Parts(
            stem=tuple(name for name in frame if name not in norm + head),
            blocks=tuple(
                {name: f"{prefix}.{name}" for name in (*block, *(_STITCH if index in stitched else ()))}
                for index, prefix in enumerate(blocks)
            ),
            norm=norm,
            head=head,
            stages=(len(blocks),),
            image_kernels=(f"{_PATCHES}.weight",),
        )

    def groups(self, spec: TransformerT) -> tuple[ChannelGroup, ...]:
        """Return the channel groups: each segment's stream of tokens, and each block's heads and hidden channels.

        Channels within one head are not separate. A stitch reads one segment's stream and writes the next one's.
        """
        return list_transformer_groups(self.parts(spec), spec.segment_sizes, spec.mlp_ratio)

    def feature_names(self, spec: TransformerT) -> tuple[str, ...]:
        """Return the names of the blocks, whose outputs are tokens [B, tokens, width] before any norm."""
        return tuple(f"blocks.{index}" for index in range(sum(size.depth for size in spec.segment_sizes)))

    def attention_names(self, spec: TransformerT) -> tuple[str, ...]:
        """Return the names of the attention modules.

        Their outputs are tokens [B, tokens, width] after the projection and before the residual addition.
        """
        return tuple(f"{block}.attn" for block in self.feature_names(spec))

    def as_maps(self, spec: TransformerT, features: Tensor) -> Tensor:
        """Return tokens [B, tokens, C] as maps [B, C, H, W], without class and register tokens."""
        patches = features[:, spec.prefix_tokens :].transpose(1, 2)
        side = math.isqrt(patches.shape[2])
        return patches.reshape(*patches.shape[:2], side, side)

    def adapt(
        self, tensors: Mapping[str, Tensor], source: TransformerT, target: TransformerT, ledger: Ledger
    ) -> dict[str, Tensor]:
        """Adapt stem and norm to the target's channels and image size.

        From grey to colour the patch kernel is repeated and divided by 3; from colour to grey it is summed over the
        channels. The position table is resized bicubically.
        """
        adapted = {}
        for name, tensor in tensors.items():
            origin, value = "copied", tensor
            if name == f"{_PATCHES}.weight" and source.channels != target.channels:
                origin, value = "adapted", adapt_kernel(tensor, target.channels)
            elif name == "pos_embed" and source.image_size != target.image_size:
                origin, value = "resized", _resize_positions(tensor, source, target)
            ledger.add(name, origin, value.numel())  # type: ignore[arg-type]
            adapted[name] = value.clone()
        return adapted

    def flops(self, spec: TransformerT) -> int:
        """Count the operations of one image's forward pass in stem, linear layers and the two attention products."""
        sizes = spec.segment_sizes
        patches, widths = (spec.image_size // spec.patch_size) ** 2, [size.width for size in sizes]
        stem = patches * widths[0] * spec.channels * spec.patch_size**2
        stitches = spec.tokens * sum(before * after for before, after in pairwise(widths))
        blocks = 0
        for size in sizes:
            weights = 4 * size.width + 2 * int(size.width * spec.mlp_ratio)
            blocks += size.depth * size.width * (spec.tokens * weights + 2 * spec.tokens**2)
        return 2 * (blocks + stem + stitches + widths[-1] * spec.classes)

    def export_config(self, spec: TransformerT) -> TimmArguments:
        """Return timm's name and all its arguments, so that the defaults of that name do not matter."""
        arguments = _timm_arguments(spec, self.size_arguments(spec))
        # The folder stores the number of classes elsewhere; dropped paths are a training setting, not the network's.
        del arguments["num_classes"], arguments["drop_path_rate"]
        pretrained_cfg = {"first_conv": _PATCHES, "classifier": "head", "fixed_input_size": True}
        return TimmArguments(self.timm_name, arguments, pretrained_cfg)


def _timm_arguments(spec: TransformerSpec, size: dict[str, Any]) -> dict[str, Any]:
    return {
        "img_size": spec.image_size,
        "patch_size": spec.patch_size,
        "in_chans": spec.channels,
        "num_classes": spec.classes,
        "global_pool": spec.global_pool,
        **size,
        "mlp_ratio": spec.mlp_ratio,
        "qkv_bias": spec.qkv_bias,
        "qk_norm": spec.qk_norm,
        "init_values": spec.init_values,
        "class_token": spec.class_token,
        "no_embed_class": spec.no_embed_class,
        "reg_tokens": spec.reg_tokens,
        "fc_norm": not spec.norm_first,
        "drop_path_rate": spec.drop_path,
    }


def read_shared_fields(model: VisionTransformer) -> dict[str, Any]:
    """Read the fields of a spec other than depth, width, heads and the MLP's ratio."""
    block = model.blocks[0]
    return {
        "image_size": model.patch_embed.img_size[0],
        "channels": model.patch_embed.proj.in_channels,
        "classes": count_outputs(model.head),
        "patch_size": model.patch_embed.patch_size[0],
        "qkv_bias": block.attn.qkv.bias is not None,
        "qk_norm": not isinstance(block.attn.q_norm, nn.Identity),
        "class_token": model.cls_token is not None,
        "reg_tokens": model.num_reg_tokens,
        "no_embed_class": model.no_embed_class,
        "global_pool": model.global_pool,
        # The trained network does not store the initial value. Any number makes timm build LayerScale.
        "init_values": None if getattr(block.ls1, "gamma", None) is None else 1e-5,
        "norm_first": isinstance(model.fc_norm, nn.Identity),
    }


def find_mlp_ratio(hidden: int, width: int) -> float:
    """Find the ratio from which timm computes the hidden channels of an MLP: their quotient by the width.

    timm rounds width x ratio down. If the rounded quotient is too small for that, it is the next larger number.
    """
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _odd_parts(model: Any, block_classes: tuple[type[Any], ...]) -> list[str]:
    """List parts that compute something else than the rebuilt network's, though names and shapes are the same."""
    if odd := [f"block {type(block).__name__}" for block in model.blocks if type(block) not in block_classes][:1]:
        return odd
    odd = [
        f"{name} {type(part).__name__}"
        for block in model.blocks
        for name, kind in (("attn", Attention), ("mlp", Mlp), ("mlp.act", nn.GELU))
        if type(part := attrgetter(name)(block)) is not kind
    ][:1]
    odd += [
        f"mlp.act {block.mlp.act}" for block in model.blocks if getattr(block.mlp.act, "approximate", "none") != "none"
    ][:1]
    # Prefix tokens are class and register tokens. A mean over them too has no name in a spec.
    if model.global_pool == "avg" and model.num_prefix_tokens and getattr(model, "pool_include_prefix", False):
        odd.append("pooling 'avg' over prefix tokens too")
    norms = [part for part in model.modules() if isinstance(part, nn.LayerNorm)]
    odd += [f"norm eps {norm.eps}" for norm in norms if norm.eps != 1e-6 or not isinstance(norm, LayerNorm)][:1]
    if type(model.patch_embed) is not PatchEmbed or model.global_pool not in ("avg", "token"):
        odd.append(f"stem {type(model.patch_embed).__name__} or pooling '{model.global_pool}'")
    return odd


def _shape_text(value: Any) -> str:
    """Return a shape as `64 x 32`; a number of heads stays as it is."""
    if value is None:
        return "none"
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _shapes_and_heads(model: Any) -> dict[str, Any]:
    """Map tensor names to shapes, and each block to its number of heads, which no shape shows."""
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return {**shapes, **{f"blocks.{index} heads": block.attn.num_heads for index, block in enumerate(model.blocks)}}


def _resize_positions(table: Tensor, source: TransformerSpec, target: TransformerSpec) -> Tensor:
    prefix = 0 if source.no_embed_class else source.prefix_tokens
    side = target.image_size // target.patch_size
    resized: Tensor = resample_abs_pos_embed(table, [side, side], num_prefix_tokens=prefix)
    return resized


@lru_cache(maxsize=64)  # the same few specs are asked for again and again
def _find_parts(architecture: TransformerArchitecture[Any], spec: TransformerSpec) -> Parts:
    return architecture._find_parts(spec)
