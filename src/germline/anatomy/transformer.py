"""What the `vit` and `stitched` anatomies share: timm's blocks over a stream of tokens, in one segment or several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from operator import attrgetter
from typing import Any, ClassVar, Generic, TypeVar

from timm.layers import LayerNorm, Mlp, PatchEmbed, resample_abs_pos_embed
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from germline.anatomy.base import Parts, TimmForm, to_channels
from germline.anatomy.channels import Group
from germline.anatomy.hollow import hollow
from germline.anatomy.size import Size
from germline.anatomy.transformer_spec import TransformerSpec
from germline.anatomy.vit_channels import vit_groups
from germline.errors import ArtefactError
from germline.ledger import Ledger

_FRAME_NORM = ("norm", "fc_norm")
_PATCHES = "patch_embed.proj"
_STITCH = ("stitch.weight", "stitch.bias")


SpecT = TypeVar("SpecT", bound=TransformerSpec)


class Transformer(ABC, Generic[SpecT]):
    """How blocks over tokens are put together; what plain or stitched ViTs do otherwise stands in their own class."""

    name: ClassVar[str]
    architecture: ClassVar[str]
    noun: ClassVar[str]
    module: ClassVar[type[Any]]
    blocks: ClassVar[tuple[type[Any], ...]]  # classes that a block may have
    spec_type: type[SpecT]

    @abstractmethod
    def arguments(self, spec: SpecT, *, blocks: bool = True) -> dict[str, Any]:
        """What the module's class is called with for its size, JSON-able; without blocks, for its frame alone."""

    @abstractmethod
    def read(self, model: Any) -> SpecT:
        """The spec of a network of this anatomy's own class."""

    @abstractmethod
    def block(self, spec: SpecT, index: int = 0) -> Any:
        """The block at `index`, freshly initialised."""

    @abstractmethod
    def resize(self, spec: SpecT, size: Size) -> SpecT:
        """The spec with its segments' depths, widths or heads changed."""

    def build(self, spec: SpecT) -> Any:
        """A freshly initialised network, one of timm's VisionTransformers."""
        return self.module(**_timm_args(spec, self.arguments(spec)))

    def frame(self, spec: SpecT) -> Any:
        """The network without its blocks."""
        return self.module(**_timm_args(spec, self.arguments(spec, blocks=False)))

    def describe(self, model: nn.Module) -> SpecT:
        """The spec of a network of the anatomy's own class.

        Raises:
            ArtefactError: It is another architecture, or has a part that this anatomy does not rebuild.
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
        with hollow():
            rebuilt = _form(self.build(spec))
        found = _form(model)
        odd = sorted(name for name in rebuilt.keys() | found.keys() if rebuilt.get(name) != found.get(name))
        if odd:
            raise self._cannot_rebuild(odd)
        return spec

    def _cannot_rebuild(self, odd: list[str]) -> ArtefactError:
        return ArtefactError(
            f"this ViT has parts that the {self.name} anatomy does not rebuild",
            ", ".join(odd[:4]),
            "choose a plain `vit_*` or `deit_*` name; as a teacher any classifier will do",
        )

    def parts(self, spec: SpecT) -> Parts:
        """Names of the tensors of such a network; a stitch belongs to the block behind it."""
        with hollow():
            frame = [name for name, _ in self.frame(spec).named_parameters()]
            block = [name for name, _ in self.block(spec).named_parameters()]
        norm = tuple(name for name in frame if name.split(".")[0] in _FRAME_NORM)
        head = tuple(name for name in frame if name.split(".")[0] == "head")
        taps, stitched = self.taps(spec), spec.starts[1:]
        return Parts(
            stem=tuple(name for name in frame if name not in norm + head),
            blocks=tuple(
                {name: f"{tap}.{name}" for name in (*block, *(_STITCH if index in stitched else ()))}
                for index, tap in enumerate(taps)
            ),
            norm=norm,
            head=head,
            stages=(len(taps),),
            pictures=(f"{_PATCHES}.weight",),
        )

    def groups(self, spec: SpecT) -> tuple[Group, ...]:
        """Each segment's stream of tokens, each block's heads and hidden channels; within a head none are told apart.

        A stitch reads one segment's stream and writes the next one's.
        """
        sizes = [(one.depth, one.width, one.heads, int(one.width * one.mlp_ratio)) for one in spec.segments]
        return vit_groups(self.parts(spec), sizes)

    def taps(self, spec: SpecT) -> tuple[str, ...]:
        """The blocks: tokens [B, tokens, width], not yet normalised."""
        return tuple(f"blocks.{index}" for index in range(sum(one.depth for one in spec.segments)))

    def attention_taps(self, spec: SpecT) -> tuple[str, ...]:
        """For each block its attention: tokens [B, tokens, width] after the projection, before they are added."""
        return tuple(f"{tap}.attn" for tap in self.taps(spec))

    def adapt(self, tensors: Mapping[str, Tensor], source: SpecT, target: SpecT, ledger: Ledger) -> dict[str, Tensor]:
        """Stem and norm brought to the target's channels and picture size.

        Grey to colour repeats the patch kernel and divides by 3, colour to grey sums over the channels; the position
        table is resized bicubically.
        """
        adapted = {}
        for name, tensor in tensors.items():
            origin, value = "copied", tensor
            if name == f"{_PATCHES}.weight" and source.channels != target.channels:
                origin, value = "adapted", to_channels(tensor, target.channels)
            elif name == "pos_embed" and source.image_size != target.image_size:
                origin, value = "resized", _resize_positions(tensor, source, target)
            ledger.add(name, origin, value.numel())  # type: ignore[arg-type]
            adapted[name] = value.clone()
        return adapted

    def flops(self, spec: SpecT) -> int:
        """Operations of one picture's forward pass in the linear layers, the two attention products and the stem."""
        patches, widths = (spec.image_size // spec.patch_size) ** 2, [one.width for one in spec.segments]
        stem = patches * widths[0] * spec.channels * spec.patch_size**2
        stitches = spec.tokens * sum(before * after for before, after in pairwise(widths))
        blocks = 0
        for one in spec.segments:
            weights = 4 * one.width + 2 * int(one.width * one.mlp_ratio)
            blocks += one.depth * one.width * (spec.tokens * weights + 2 * spec.tokens**2)
        return 2 * (blocks + stem + stitches + widths[-1] * spec.classes)

    def export_config(self, spec: SpecT) -> TimmForm:
        """timm's name and arguments; every argument is given, so the name's own defaults do not matter."""
        arguments = _timm_args(spec, self.arguments(spec))
        # The class count stands elsewhere in the folder; dropped paths are a training setting, not the network's.
        del arguments["num_classes"], arguments["drop_path_rate"]
        facts = {"first_conv": _PATCHES, "classifier": "head", "fixed_input_size": True}
        return TimmForm(self.architecture, arguments, facts)


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


def read_fields(model: VisionTransformer) -> dict[str, Any]:
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
