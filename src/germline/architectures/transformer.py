"""Base class of `vit` and `stitched`: timm's blocks over a stream of tokens, in one segment or several."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from timm.layers import LayerNorm, Mlp, PatchEmbed, resample_abs_pos_embed
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from germline.architectures.base import Parts, Spec, TimmArguments, adapt_kernel
from germline.architectures.channel_groups import ChannelGroup
from germline.architectures.meta_device import on_meta_device
from germline.architectures.size import Size
from germline.errors import ArtefactError, SettingError
from germline.ledger import Ledger

if TYPE_CHECKING:
    from germline.architectures.vit import VitSpec
from collections.abc import Sequence

from germline.architectures.channel_groups import GroupMember, list_readers, list_writers

_TABLES = ("cls_token", "reg_token", "pos_embed")
_STITCH_WEIGHT = "stitch.weight"
_STREAM_READERS = ("attn.qkv.weight", "mlp.fc1.weight")
# Tensors of a block that lie in no stream: biases of what reads it, and norms of one head's length.
_APART = ("attn.qkv.bias", "mlp.fc1.bias", "attn.q_norm", "attn.k_norm")


def list_vit_groups(parts: Parts, sizes: Sequence[tuple[int, int, int, int]]) -> tuple[ChannelGroup, ...]:
    """One group for each segment's stream of tokens, and for each block one of heads and one of hidden channels.

    Args:
        parts: Names of the tensors.
        sizes: Depth, width, heads and hidden channels of each segment; where there are several, the first block of a
            later one reads the stream before it through its stitch.
    """
    streams: list[list[GroupMember]] = [[] for _ in sizes]
    for name in parts.stem:
        # Tokens and positions are [1, count, width].
        streams[0] += list_writers(2 if name in _TABLES else 0, name)
    streams[-1] += list_writers(0, *parts.norm)
    inside: list[ChannelGroup] = []
    places = [place for place, (depth, *_) in enumerate(sizes) for _ in range(depth)]
    for index, (block, place) in enumerate(zip(parts.blocks, places, strict=True)):
        _, width, heads, hidden = sizes[place]
        if _STITCH_WEIGHT in block:
            streams[place - 1] += list_readers(1, block[_STITCH_WEIGHT])
        streams[place] += list_readers(1, *(block[name] for name in _STREAM_READERS))
        makers = [full for name, full in block.items() if not name.startswith(_STREAM_READERS + _APART)]
        streams[place] += list_writers(0, *makers)
        inside += [
            ChannelGroup(f"blocks.{index}.heads", heads, _heads(block, width // heads)),
            ChannelGroup(f"blocks.{index}.hidden", hidden, _hidden(block)),
        ]
    streams[-1] += list_readers(1, *(name for name in parts.head if name.endswith("weight")))
    outer = [
        ChannelGroup("stream" if len(sizes) == 1 else f"streams.{place}", size[1], tuple(members))
        for place, (size, members) in enumerate(zip(sizes, streams, strict=True))
    ]
    return (*outer, *inside)


def _heads(block: Mapping[str, str], length: int) -> tuple[GroupMember, ...]:
    qkv = [block[name] for name in ("attn.qkv.weight", "attn.qkv.bias") if name in block]
    return (*list_writers(0, *qkv, outer=3, inner=length), *list_readers(1, block["attn.proj.weight"], inner=length))


def _hidden(block: Mapping[str, str]) -> tuple[GroupMember, ...]:
    return (*list_writers(0, block["mlp.fc1.weight"], block["mlp.fc1.bias"]), *list_readers(1, block["mlp.fc2.weight"]))


MAX_DEPTH = 1000


class TransformerSpec(Spec, ABC):
    """What plain and stitched ViTs have besides their size; the names are timm's where timm has one.

    Attributes:
        patch_size: Side of a patch, in pixels.
        init_values: LayerScale's first value; None for no LayerScale.
        norm_first: Final norm before pooling (ours and the auxiliary model's); False pools first, timm's `fc_norm`.
    """

    patch_size: int
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    qk_norm: bool = False
    class_token: bool = False
    reg_tokens: int = 0
    no_embed_class: bool = False
    global_pool: Literal["avg", "token"] = "avg"
    init_values: float | None = None
    norm_first: bool = True
    drop_path: float = 0.0

    @property
    @abstractmethod
    def segments(self) -> tuple[VitSpec, ...]:
        """The plain ViTs whose blocks stand one after another; a plain ViT is its own only one."""

    @property
    @abstractmethod
    def _sizes(self) -> tuple[tuple[int, int, int], ...]:
        """Depth, width and heads of each segment."""

    def model_post_init(self, _: Any) -> None:
        """Refuse what cannot be built."""
        several = len(self._sizes) > 1
        for number, size in enumerate(self._sizes, 1):
            _check_size(*size, str(number) if several else "")
        _check(
            self.image_size % self.patch_size == 0 and self.image_size >= self.patch_size,
            f"image_size={self.image_size} with patch_size={self.patch_size}",
            "a picture is a whole number of patches",
            f"the least size is {self.patch_size}, the next {math.ceil(self.image_size / self.patch_size)} patches",
        )
        _check(
            self.class_token or self.global_pool != "token",
            "global_pool=token without a class token",
            fix="use global_pool=avg",
        )

    @property
    def tokens(self) -> int:
        """Tokens in a block, class and register tokens included."""
        return (self.image_size // self.patch_size) ** 2 + int(self.class_token) + self.reg_tokens

    @property
    def starts(self) -> tuple[int, ...]:
        """Index of the first block of each segment; from the second on it begins with a stitch."""
        return (0, *accumulate(depth for depth, _, _ in self._sizes[:-1]))


def _check_size(depth: int, width: int, heads: int, number: str) -> None:
    """Refuse one segment's size; `number` is behind its keys where there are several."""
    _check(1 <= depth <= MAX_DEPTH, f"depth{number}={depth}", f"a depth is between 1 and {MAX_DEPTH}")
    _check(width >= 1 and heads >= 1, f"width{number}={width}, heads{number}={heads}", "both are at least 1")
    near = max(heads, round(width / heads) * heads)
    _check(
        width % heads == 0,
        f"width{number}={width} with heads{number}={heads}",
        "the width is not divisible by the heads",
        f"use for example width{number}={near}",
    )


def _check(good: bool, what: str, why: str = "", fix: str = "") -> None:
    if not good:
        raise SettingError(what, why, fix)


_FRAME_NORM = ("norm", "fc_norm")
_PATCHES = "patch_embed.proj"
_STITCH_NAMES = ("stitch.weight", "stitch.bias")


TransformerT = TypeVar("TransformerT", bound=TransformerSpec)


class TransformerArchitecture(ABC, Generic[TransformerT]):
    """How blocks over tokens are put together; what plain or stitched ViTs do otherwise stands in their own class."""

    name: ClassVar[str]
    timm_name: ClassVar[str]
    noun: ClassVar[str]
    module: ClassVar[type[Any]]
    blocks: ClassVar[tuple[type[Any], ...]]  # classes that a block may have
    spec_type: type[TransformerT]

    @abstractmethod
    def arguments(self, spec: TransformerT, *, blocks: bool = True) -> dict[str, Any]:
        """What the module's class is called with for its size, JSON-able; without blocks, for its frame alone."""

    @abstractmethod
    def read(self, model: Any) -> TransformerT:
        """The spec of a network of this architecture's own class."""

    @abstractmethod
    def block(self, spec: TransformerT, index: int = 0) -> Any:
        """The block at `index`, freshly initialised."""

    @abstractmethod
    def resize(self, spec: TransformerT, size: Size) -> TransformerT:
        """The spec with its segments' depths, widths or heads changed."""

    def build(self, spec: TransformerT) -> Any:
        """A freshly initialised network, one of timm's VisionTransformers."""
        return self.module(**_timm_args(spec, self.arguments(spec)))

    def frame(self, spec: TransformerT) -> Any:
        """The network without its blocks."""
        return self.module(**_timm_args(spec, self.arguments(spec, blocks=False)))

    def describe(self, model: nn.Module) -> TransformerT:
        """The spec of a network of the architecture's own class.

        Raises:
            ArtefactError: It is another architecture, or has a part that this architecture does not rebuild.
        """
        if type(model) is not self.module:
            raise ArtefactError(
                f"a {type(model).__name__} is not a {self.noun}",
                fix="choose a `vit_*` or `deit_*` name, `resnet18` or `resnet34`; as a teacher any classifier will do",
            )
        odd = _odd_parts(model, self.blocks)
        if odd:
            raise self._cannot_rebuild(odd)
        spec = self.read(model)
        with on_meta_device():
            rebuilt = _form(self.build(spec))
        found = _form(model)
        odd = sorted(name for name in rebuilt.keys() | found.keys() if rebuilt.get(name) != found.get(name))
        if odd:
            raise self._cannot_rebuild(odd)
        return spec

    def _cannot_rebuild(self, odd: list[str]) -> ArtefactError:
        return ArtefactError(
            f"this ViT has parts that the {self.name} architecture does not rebuild",
            ", ".join(odd[:4]),
            "choose a plain `vit_*` or `deit_*` name; as a teacher any classifier will do",
        )

    def parts(self, spec: TransformerT) -> Parts:
        """Names of the tensors of such a network; a stitch belongs to the block behind it."""
        with on_meta_device():
            frame = [name for name, _ in self.frame(spec).named_parameters()]
            block = [name for name, _ in self.block(spec).named_parameters()]
        norm = tuple(name for name in frame if name.split(".")[0] in _FRAME_NORM)
        head = tuple(name for name in frame if name.split(".")[0] == "head")
        taps, stitched = self.feature_names(spec), spec.starts[1:]
        return Parts(
            stem=tuple(name for name in frame if name not in norm + head),
            blocks=tuple(
                {name: f"{tap}.{name}" for name in (*block, *(_STITCH_NAMES if index in stitched else ()))}
                for index, tap in enumerate(taps)
            ),
            norm=norm,
            head=head,
            stages=(len(taps),),
            image_kernels=(f"{_PATCHES}.weight",),
        )

    def groups(self, spec: TransformerT) -> tuple[ChannelGroup, ...]:
        """Each segment's stream of tokens, each block's heads and hidden channels; within a head none are told apart.

        A stitch reads one segment's stream and writes the next one's.
        """
        sizes = [(one.depth, one.width, one.heads, int(one.width * one.mlp_ratio)) for one in spec.segments]
        return list_vit_groups(self.parts(spec), sizes)

    def feature_names(self, spec: TransformerT) -> tuple[str, ...]:
        """The blocks: tokens [B, tokens, width], not yet normalised."""
        return tuple(f"blocks.{index}" for index in range(sum(one.depth for one in spec.segments)))

    def attention_names(self, spec: TransformerT) -> tuple[str, ...]:
        """For each block its attention: tokens [B, tokens, width] after the projection, before they are added."""
        return tuple(f"{tap}.attn" for tap in self.feature_names(spec))

    def adapt(
        self, tensors: Mapping[str, Tensor], source: TransformerT, target: TransformerT, ledger: Ledger
    ) -> dict[str, Tensor]:
        """Stem and norm brought to the target's channels and picture size.

        Grey to colour repeats the patch kernel and divides by 3, colour to grey sums over the channels; the position
        table is resized bicubically.
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
        """Operations of one picture's forward pass in the linear layers, the two attention products and the stem."""
        patches, widths = (spec.image_size // spec.patch_size) ** 2, [one.width for one in spec.segments]
        stem = patches * widths[0] * spec.channels * spec.patch_size**2
        stitches = spec.tokens * sum(before * after for before, after in pairwise(widths))
        blocks = 0
        for one in spec.segments:
            weights = 4 * one.width + 2 * int(one.width * one.mlp_ratio)
            blocks += one.depth * one.width * (spec.tokens * weights + 2 * spec.tokens**2)
        return 2 * (blocks + stem + stitches + widths[-1] * spec.classes)

    def export_config(self, spec: TransformerT) -> TimmArguments:
        """timm's name and arguments; every argument is given, so the name's own defaults do not matter."""
        arguments = _timm_args(spec, self.arguments(spec))
        # The class count stands elsewhere in the folder; dropped paths are a training setting, not the network's.
        del arguments["num_classes"], arguments["drop_path_rate"]
        facts = {"first_conv": _PATCHES, "classifier": "head", "fixed_input_size": True}
        return TimmArguments(self.timm_name, arguments, facts)


def _timm_args(spec: TransformerSpec, size: dict[str, Any]) -> dict[str, Any]:
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


def read_spec_fields(model: VisionTransformer) -> dict[str, Any]:
    """What a spec holds besides depth, width, heads and the MLP's ratio."""
    block = model.blocks[0]
    return {
        "image_size": model.patch_embed.img_size[0],
        "channels": model.patch_embed.proj.in_channels,
        "classes": model.num_classes,
        "patch_size": model.patch_embed.patch_size[0],
        "qkv_bias": block.attn.qkv.bias is not None,
        "qk_norm": not isinstance(block.attn.q_norm, nn.Identity),
        "class_token": model.cls_token is not None,
        "reg_tokens": model.num_reg_tokens,
        "no_embed_class": model.no_embed_class,
        "global_pool": model.global_pool,
        # The value itself is a start, not a fact of the trained net; any number makes timm build LayerScale.
        "init_values": None if getattr(block.ls1, "gamma", None) is None else 1e-5,
        "norm_first": isinstance(model.fc_norm, nn.Identity),
    }


def _odd_parts(model: Any, blocks: tuple[type[Any], ...]) -> list[str]:
    """Parts that hold no tensor of an odd name or shape, yet compute something else than the rebuilt network."""
    if odd := [f"block {type(block).__name__}" for block in model.blocks if type(block) not in blocks][:1]:
        return odd
    odd = [
        f"{name} {type(part).__name__}"
        for block in model.blocks
        for name, kind in (("attn", Attention), ("mlp", Mlp), ("mlp.act", nn.GELU))
        if type(part := attrgetter(name)(block)) is not kind
    ][:1]
    norms = [part for part in model.modules() if isinstance(part, nn.LayerNorm)]
    odd += [f"norm eps {norm.eps}" for norm in norms if norm.eps != 1e-6 or not isinstance(norm, LayerNorm)][:1]
    if type(model.patch_embed) is not PatchEmbed or model.global_pool not in ("avg", "token"):
        odd.append(f"stem {type(model.patch_embed).__name__} or pooling '{model.global_pool}'")
    return odd


def _form(model: Any) -> dict[str, Any]:
    """Shapes of the tensors by name; heads leave no trace in them."""
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return {**shapes, **{f"blocks.{index} heads": block.attn.num_heads for index, block in enumerate(model.blocks)}}


def _resize_positions(table: Tensor, source: TransformerSpec, target: TransformerSpec) -> Tensor:
    prefix = 0 if source.no_embed_class else int(source.class_token) + source.reg_tokens
    side = target.image_size // target.patch_size
    resized: Tensor = resample_abs_pos_embed(table, [side, side], num_prefix_tokens=prefix)
    return resized
