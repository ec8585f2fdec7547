"""Metadata of model cards: what the hub lists and searches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from germline.sharing import name_data

HUB_DATA = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
# Ancestors with a repository on the hub: those named so, and those of timm with a tag after the dot.
_HUB_MODEL = re.compile(r"(?:^|from )timm (?:hf-hub:([\w.-]+/[\w.-]*\w)|(\w+\.\w+))")
_LICENCE = re.compile(r"[a-z0-9.\-]+")


@dataclass(frozen=True)
class Measurement:
    """An accuracy that a card gives.

    Attributes:
        value: Share of images that are classified rightly.
        data: Name of the data set.
        name: What was measured, in a phrase.
        split: Part of the data.
    """

    value: float
    data: str
    name: str = "accuracy"
    split: str = "validation"


def is_accuracy(name: str, value: float) -> bool:
    """Return whether a metric of a gene is an accuracy on images of its data."""
    return ("accuracy" in name or name.endswith("(val)")) and "joint" not in name and 0 <= value <= 1


def make_front_matter(
    library: str,
    tags: Sequence[str],
    licence: str,
    source: str,
    data: Sequence[str],
    measured: Sequence[Measurement],
) -> str:
    """Return a card's metadata as YAML; what the hub has no name for is left out.

    Args:
        library: Library that loads the artefact.
        tags: Tags of the artefact; the last one names it.
        licence: Licence of its weights.
        source: Origin of its weights, in one sentence.
        data: Names of its data sets.
        measured: Accuracies.
    """
    from huggingface_hub import EvalResult, ModelCardData

    is_hub_licence = _LICENCE.fullmatch(licence) is not None
    parts = [part.partition("@")[0] for name in data for part in re.split("[+,=]", name_data(name))]
    names = list(dict.fromkeys(HUB_DATA[part] for part in parts if part in HUB_DATA))
    found = _HUB_MODEL.search(source)
    base = None if found is None else found[1] or f"timm/{found[2]}"
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=HUB_DATA.get(name_data(one.data).partition("@")[0], name_data(one.data)),
            dataset_name=name_data(one.data),
            dataset_split=one.split,
            metric_type="accuracy",
            metric_name=one.name,
            metric_value=round(one.value, 4),
        )
        for one in measured
    ]
    more: dict[str, Any] = {"model_name": tags[-1], "eval_results": results, "metrics": ["accuracy"]} if results else {}
    if not is_hub_licence:
        more["license_name"] = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
    facts = ModelCardData(
        license=licence if is_hub_licence else "other",
        library_name=library,
        pipeline_tag="image-classification",
        tags=list(dict.fromkeys(tags)),
        datasets=names or None,
        base_model=base,
        **more,
    )
    return f"---\n{facts.to_yaml()}\n---\n\n"
