"""Models of timm and of the hub, by name."""

from __future__ import annotations

from germline.loading.build import build_timm_model, describe_network, number_classes, read_preprocess
from germline.network import Network


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
    labels = number_classes(built.num_classes)
    if built.num_classes == 1000:
        info = ImageNetInfo()
        labels = tuple(info.index_to_label_name(index) for index in range(1000))
    preprocess = read_preprocess(built.pretrained_cfg)
    return Network(
        model=built,
        preprocess=preprocess,
        classes=labels,
        spec=describe_network(built, preprocess),
        licence=built.pretrained_cfg.get("license") or "unknown",
        source=f"timm {name}",
    )
