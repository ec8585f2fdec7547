"""The `vit` anatomy: timm's own VisionTransformer, so that descendants carry no germline code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar, Literal

import torch
from timm.layers import LayerNorm, Mlp, PatchEmbed, resample_abs_pos_embed
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from germline.anatomy.base import Parts, Spec, TimmForm, to_channels
from germline.anatomy.channels import Group
from germline.anatomy.size import Size
from germline.anatomy.vit_channels import vit_groups
from germline.errors import ArtefactError, SettingError
from germline.ledger import Ledger

MAX_DEPTH = 1000
_FRAME_NORM = ("norm", "fc_norm")
_PATCHES = "patch_embed.proj"


class VitSpec(Spec):
    """All that is needed to build one ViT; the names are timm's where timm has one.

    Attributes:
        depth: Number of blocks.
        width: Length of a token, timm's `embed_dim`.
        heads: Attention heads; `width` is a multiple of it.
        patch_size: Side of a patch, in pixels.
        init_values: LayerScale's first value; None for no LayerScale.
        norm_first: Final norm before pooling (ours and the auxiliary model's); False pools first, timm's `fc_norm`.
    """

    depth: int
    width: int
    heads: int
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

    def model_post_init(self, _: Any) -> None:
        """Refuse what cannot be built."""
        _check(1 <= self.depth <= MAX_DEPTH, f"depth={self.depth}", f"a depth is between 1 and {MAX_DEPTH}")
        _check(self.width >= 1 and self.heads >= 1, f"width={self.width}, heads={self.heads}", "both are at least 1")
        near = max(self.heads, round(self.width / self.heads) * self.heads)
        _check(
            self.width % self.heads == 0,
            f"width={self.width} with heads={self.heads}",
            "the width is not divisible by the heads",
            f"use for example width={near}",
        )
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


def _check(good: bool, what: str, why: str = "", fix: str = "") -> None:
    if not good:
        raise SettingError(what, why, fix)


class Vit:
    """How a ViT is put together."""

    name: ClassVar[str] = "vit"
    spec_type = VitSpec

    def build(self, spec: VitSpec) -> VisionTransformer:
        """A freshly initialised timm ViT."""
        return VisionTransformer(**_timm_args(spec))

    def frame(self, spec: VitSpec) -> VisionTransformer:
        """The ViT without its blocks."""
        return VisionTransformer(**{**_timm_args(spec), "depth": 0})

    def block(self, spec: VitSpec, index: int = 0) -> Block:
        """One block, initialised as inside a whole ViT; all are alike."""
        one = self.build(spec.model_copy(update={"depth": 1, "drop_path": 0.0}))
        return one.blocks[0]

    def describe(self, model: nn.Module) -> VitSpec:
        """The spec of a timm ViT.

        Raises:
            ArtefactError: It is another architecture, or has a part that this anatomy does not rebuild.
        """
        if type(model) is not VisionTransformer:
            raise ArtefactError(
                f"a {type(model).__name__} is not a plain timm VisionTransformer",
                fix="choose a `vit_*` or `deit_*` name; as a teacher any classifier will do",
            )
        odd = _odd_parts(model)
        if odd:
            raise _cannot_rebuild(odd)
        spec = _read_spec(model)
        with torch.device("meta"):
            rebuilt = {name: tensor.shape for name, tensor in self.build(spec).state_dict().items()}
        found = {name: tensor.shape for name, tensor in model.state_dict().items()}
        odd = sorted(name for name in rebuilt.keys() | found.keys() if rebuilt.get(name) != found.get(name))
        if odd:
            raise _cannot_rebuild(odd)
        return spec

    def resize(self, spec: VitSpec, size: Size) -> VitSpec:
        """The spec with depth, width or heads changed.

        Raises:
            SettingError: A key that a ViT has not, or a size that cannot be built.
        """
        unknown = sorted(set(size) - {"depth", "width", "heads"})
        _check(
            not unknown,
            f"size key '{', '.join(unknown)}'",
            "the vit anatomy has none of that name",
            "use depth, width or heads",
        )
        return VitSpec(**{**spec.model_dump(), **size})

    def parts(self, spec: VitSpec) -> Parts:
        """Names of the tensors of such a ViT."""
        with torch.device("meta"):
            frame = [name for name, _ in self.frame(spec).named_parameters()]
            block = [name for name, _ in self.block(spec).named_parameters()]
        norm = tuple(name for name in frame if name.split(".")[0] in _FRAME_NORM)
        head = tuple(name for name in frame if name.split(".")[0] == "head")
        return Parts(
            stem=tuple(name for name in frame if name not in norm + head),
            blocks=tuple({name: f"blocks.{index}.{name}" for name in block} for index in range(spec.depth)),
            norm=norm,
            head=head,
            stages=(spec.depth,),
            pictures=(f"{_PATCHES}.weight",),
        )

    def groups(self, spec: VitSpec) -> tuple[Group, ...]:
        """The stream of tokens, and each block's heads and hidden channels; within a head none are told apart."""
        return vit_groups(self.parts(spec), spec.width, spec.heads, int(spec.width * spec.mlp_ratio))

    def taps(self, spec: VitSpec) -> tuple[str, ...]:
        """The blocks: tokens [B, tokens, width], not yet normalised."""
        return tuple(f"blocks.{index}" for index in range(spec.depth))

    def adapt(
        self, tensors: Mapping[str, Tensor], source: VitSpec, target: VitSpec, ledger: Ledger
    ) -> dict[str, Tensor]:
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

    def flops(self, spec: VitSpec) -> int:
        """Operations of one picture's forward pass in the linear layers, the two attention products and the stem."""
        patches, width = (spec.image_size // spec.patch_size) ** 2, spec.width
        weights = (4 + 2 * spec.mlp_ratio) * width**2
        block = spec.tokens * weights + 2 * spec.tokens**2 * width
        stem = patches * width * spec.channels * spec.patch_size**2
        return int(2 * (spec.depth * block + stem + width * spec.classes))

    def export_config(self, spec: VitSpec) -> TimmForm:
        """timm's name and arguments; every argument is given, so the name's own defaults do not matter."""
        arguments = _timm_args(spec)
        # The class count stands elsewhere in the folder; dropped paths are a training setting, not the network's.
        del arguments["num_classes"], arguments["drop_path_rate"]
        facts = {"first_conv": _PATCHES, "classifier": "head", "fixed_input_size": True}
        return TimmForm("vit_base_patch16_224", arguments, facts)


def _cannot_rebuild(odd: list[str]) -> ArtefactError:
    return ArtefactError(
        "this ViT has parts that the vit anatomy does not rebuild",
        ", ".join(odd[:4]),
        "choose a plain `vit_*` or `deit_*` name; as a teacher any classifier will do",
    )


def _timm_args(spec: VitSpec) -> dict[str, Any]:
    return {
        "img_size": spec.image_size,
        "patch_size": spec.patch_size,
        "in_chans": spec.channels,
        "num_classes": spec.classes,
        "global_pool": spec.global_pool,
        "embed_dim": spec.width,
        "depth": spec.depth,
        "num_heads": spec.heads,
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


def _read_spec(model: VisionTransformer) -> VitSpec:
    block = model.blocks[0]
    scale = getattr(block.ls1, "gamma", None)
    return VitSpec(
        image_size=model.patch_embed.img_size[0],
        channels=model.patch_embed.proj.in_channels,
        classes=model.num_classes,
        depth=len(model.blocks),
        width=model.embed_dim,
        heads=block.attn.num_heads,
        patch_size=model.patch_embed.patch_size[0],
        mlp_ratio=block.mlp.fc1.out_features / model.embed_dim,
        qkv_bias=block.attn.qkv.bias is not None,
        qk_norm=not isinstance(block.attn.q_norm, nn.Identity),
        class_token=model.cls_token is not None,
        reg_tokens=model.num_reg_tokens,
        no_embed_class=model.no_embed_class,
        global_pool=model.global_pool,
        # The value itself is a start, not a fact of the trained net; any number makes timm build LayerScale.
        init_values=None if scale is None else 1e-5,
        norm_first=isinstance(model.fc_norm, nn.Identity),
    )


def _odd_parts(model: VisionTransformer) -> list[str]:
    """Parts that hold no tensor of an odd name or shape, yet compute something else than the rebuilt network."""
    if odd := [f"block {type(block).__name__}" for block in model.blocks if type(block) is not Block][:1]:
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


def _resize_positions(table: Tensor, source: VitSpec, target: VitSpec) -> Tensor:
    prefix = 0 if source.no_embed_class else int(source.class_token) + source.reg_tokens
    side = target.image_size // target.patch_size
    resized: Tensor = resample_abs_pos_embed(table, [side, side], num_prefix_tokens=prefix)
    return resized
