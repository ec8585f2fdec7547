"""Model cards of genes and networks: metadata in the hub's format, then what people ask first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from germline.card_metadata import Measurement, is_accuracy, make_front_matter
from germline.errors import GermlineError
from germline.hub import PLACE
from germline.registry import architecture_of
from germline.sharing import hide_places, name_data

_UNKNOWN = "unknown"
_LARGEST_GROWN = 2**24  # bytes of a gene that is grown once for the ledger in its card
_BAR_LENGTH = 20
_GENE_PYTHON = """import germline as gl

gene = gl.Learngene.from_pretrained("{place}")
child = gene.inherit(classes={classes})
child.save_pretrained("descendant")"""
_GENE_COMMANDS = """germline inspect {place}
germline inherit {place} --classes {classes} --out descendant"""
_NETWORK_PYTHON = """import timm
{package}
model = timm.create_model("local-dir:{place}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"""
_OWN_PACKAGE = "import germline.timm  # After `import germline.timm`, timm knows this architecture.\n"
_NETWORK_COMMANDS = """germline inspect {place}
germline predict {place} photos/ --out classes.csv"""
_TEMPLATE = """# {title}

{summary}

## Size

| what | how much |
|---|---|
{sizes}
{ledger}
## How to use

```python
{python}
```

```
{commands}
```

## Source and licence

{sources}

## Measured

{measured}

## Unknown

{unknown}
"""
_LEDGER = """
## Ledger

{lead}

```
{bars}
```
"""


def draw_bars(shares: Mapping[Any, float]) -> str:
    """Draw shares of 1 as lines of text: a name, a percentage, and a bar of characters."""
    width = max(map(len, shares), default=0)
    rows = []
    for name, share in shares.items():
        filled = round(_BAR_LENGTH * share)
        rows.append(f"{name:{width}} {100 * share:5.1f} %  {'█' * filled}{'░' * (_BAR_LENGTH - filled)}")
    return "\n".join(rows)


# Genes and networks write their cards with this module, so it does not import their classes.
def make_gene_card(gene: Any) -> str:
    """Return the card of a `Learngene`."""
    origin = gene.provenance
    data = name_data(origin.data)
    count = sum(tensor.numel() for tensor in gene.tensors.values())
    measured = [Measurement(value, data, name) for name, value in origin.metrics.items() if is_accuracy(name, value)]
    facts = {f"{gene.spec.__class__.__name__[:-4]} {key}": value for key, value in _size_of(gene.spec).items()}
    names = {"place": PLACE, "classes": gene.spec.classes or 10}
    is_known = {
        "the licence of the ancestor's weights": origin.ancestor_licence != _UNKNOWN,
        "the data and their licence": _UNKNOWN not in (data, origin.data_licence),
        "an accuracy of the gene": bool(measured),
        "the accuracy of its descendants after training": False,
    }
    sources = {
        "ancestor": f"{origin.ancestor} (licence: {origin.ancestor_licence})",
        "data": f"{data} (licence: {origin.data_licence})",
        "fingerprint of the images": origin.data_fingerprint,
        "made with": ", ".join(f"{name} {version}" for name, version in origin.versions.items()) or _UNKNOWN,
    }
    body = _TEMPLATE.format(
        title=f"A learngene (`{gene.method}`, `{gene.architecture}`)",
        summary="This is a learngene: a small part of a trained network, from which networks of other sizes grow. "
        f"The method `{gene.method}` made it, and it grows {gene.describe_sizes()}.",
        sizes=_rows({"elements": f"{count:,}", "bytes": f"{gene.count_bytes():,}", **facts}),
        ledger=_ledger(_grown_shares(gene), "The origin of each element of a descendant at the gene's own size:"),
        python=_GENE_PYTHON.format(**names),
        commands=_GENE_COMMANDS.format(**names),
        sources=_lines(sources),
        measured=_lines({name: f"{value:.4f}" for name, value in origin.metrics.items()}, "Nothing."),
        unknown=_list_unknown(is_known),
    )
    tags = ["learngene", gene.method]
    head = make_front_matter("germline", tags, origin.ancestor_licence, origin.ancestor, [data], measured)
    return head + hide_places(body)


def make_network_card(network: Any, shares: Mapping[Any, float] | None = None, data: str = "") -> str:
    """Return the card of a network.

    Args:
        network: `Network` with a spec.
        shares: Share of each origin in its elements; None if it did not grow from a gene.
        data: Name of the data set that its gene was condensed on.
    """
    spec = network.spec
    count = sum(parameter.numel() for parameter in network.model.parameters())
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.model.state_dict().values())
    architecture = network.timm_config()["architecture"]
    is_own = architecture.startswith("germline_")
    side, channels = network.preprocess.image_size, network.preprocess.channels
    is_known = {
        "the licence of its weights": network.licence != _UNKNOWN,
        "the source of its weights": network.source != _UNKNOWN,
        "the names of its classes": "classes" not in network.assumed,
        "its accuracy": bool(network.measured),
    }
    what = "a descendant, grown from a learngene" if shares else "a classifier of images"
    measured = {f"{one.name} on {name_data(one.data)} ({one.split})": f"{one.value:.4f}" for one in network.measured}
    body = _TEMPLATE.format(
        title=f"{'A descendant' if shares else 'A network'} (`{architecture_of(spec).name if spec else architecture}`)",
        summary=f"This is {what}: it reads images of {channels} x {side} x {side} pixels. "
        f"It is a plain timm model for {len(network.classes)} classes: `{architecture}` with the sizes below.",
        sizes=_rows({"parameters": f"{count:,}", "bytes": f"{size:,}", **(_size_of(spec) if spec else {})}),
        ledger=_ledger(shares, "The origin of each element before any training:"),
        python=_NETWORK_PYTHON.format(place=PLACE, package=_OWN_PACKAGE * is_own),
        commands=_NETWORK_COMMANDS.format(place=PLACE),
        sources=_lines({"weights": network.source, "licence": network.licence}),
        measured=_lines(measured, "Nothing."),
        unknown=_list_unknown(is_known),
    )
    names = [data, *(one.data for one in network.measured)]
    tags = ["germline", "learngene"] if shares else ["germline"]
    head = make_front_matter("timm", tags, network.licence, network.source, names, network.measured)
    return head + hide_places(body)


def _grown_shares(gene: Any) -> Mapping[Any, float] | None:
    """Return the ledger's shares at the gene's own size; None if it is large or cannot grow to that size."""
    if gene.count_bytes() > _LARGEST_GROWN:
        return None
    try:
        # Cards draw no number of the training's random state.
        with torch.random.fork_rng(devices=[]):
            shares: Mapping[Any, float] = gene.inherit(classes=gene.classes or gene.spec.classes or 1).ledger.shares()
            return shares
    except GermlineError:
        return None


def _ledger(shares: Mapping[Any, float] | None, lead: str) -> str:
    return _LEDGER.format(lead=lead, bars=draw_bars(shares)) if shares else ""


def _size_of(spec: Any) -> dict[str, str]:
    keys = ("depth", "depths", "width", "widths", "heads", "image_size", "classes")
    return {key: f"{value}" for key, value in spec.model_dump(mode="json").items() if key in keys}


def _rows(facts: Mapping[str, str]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in facts.items())


def _lines(facts: Mapping[str, str], nothing: str = "") -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items()) or nothing


def _list_unknown(is_known: Mapping[str, bool]) -> str:
    return "\n".join(f"- {name}" for name, known in is_known.items() if not known) or "Nothing of the above."
