"""Models of timm and of the hub, by name."""

from __future__ import annotations

from germline.loading.build import build_timm_model, describe_network, read_preprocess
from germline.loading.labels import number_classes, read_class_names
from germline.network import Network

IMAGENET_CLASSES = 1000


def load_timm_model(name: str, weights: bool) -> Network:
    """Load a model of timm or of the hub.

    Args:
        name: Name that `timm.create_model` accepts.
        weights: Whether to fetch its weights.

    Raises:
        ArtefactError: timm cannot build the model, or cannot fetch its weights.
        UnknownNameError: timm has no such model.
    """
    from timm.data import ImageNetInfo

    built = build_timm_model(name, pretrained=weights)
    count = built.num_classes
    labels = read_class_names(built.pretrained_cfg, count, name)
    if labels is None and count == IMAGENET_CLASSES:
        info = ImageNetInfo()
        labels = tuple(info.index_to_label_name(index) for index in range(count))
    preprocess = read_preprocess(built.pretrained_cfg)
    spec, reason = describe_network(built, preprocess)
    return Network(
        model=built,
        preprocess=preprocess,
        classes=number_classes(count) if labels is None else labels,
        spec=spec,
        licence=built.pretrained_cfg.get("license") or "unknown",
        source=f"timm {name}",
        reason=reason,
        assumed=frozenset() if labels is not None else frozenset({"classes"}),
    )
