"""What `germline inspect` prints of a network: what it is, and what each method can make of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from germline.cli.options import announce

if TYPE_CHECKING:
    from germline.network import Network


def inspect_network(place: str, model: str | None, *, brief: bool, quiet: bool) -> None:
    """Print the facts of a network, then its sizes and the methods that can condense it.

    Args:
        place: Model folder, `timm:NAME`, or a weight file.
        model: Name in timm of the architecture of a weight file.
        brief: Whether to print only what the files say.
        quiet: Whether to print no progress.
    """
    from germline.cli.artefact_facts import print_facts, read_model_facts

    facts = read_model_facts(Path(place)) if Path(place).is_dir() else None
    if facts is not None:
        print_facts(facts)
        if brief:
            return
    announce(f"Loading {place}", quiet=quiet)
    from germline.loading import load_network

    network = load_network(place, model, weights=not place.startswith("timm:"))
    if facts is None:
        print_facts(_describe(network))
    if not brief:
        _print_methods(network)


def _describe(network: Network) -> dict[str, str]:
    images, classes = network.preprocess, network.classes
    count = sum(parameter.numel() for parameter in network.model.parameters())
    return {
        "architecture": type(network.model).__name__,
        "source": network.source,
        "head": f"{len(classes)} classes: {', '.join(classes[:3])} ..." if classes else "none",
        "images": f"{images.channels} x {images.image_size} x {images.image_size}",
        "licence": network.licence,
        "holds": f"{count:,} parameters",
    }


def _print_methods(network: Network) -> None:
    """Print the network's sizes in the size language, and what each method can grow of it."""
    from germline.catalogue import list_methods_for
    from germline.cli.suggested_sizes import suggest_sizes
    from germline.registry import architecture_of

    for note in network.notes:
        print(f"note: {note}")
    if network.spec is None:
        print(f"No architecture rebuilds it: {network.reason}. It can still be the teacher of a descendant.")
        return
    architecture = architecture_of(network.spec)
    fields = network.spec.model_dump(exclude={"image_size", "channels", "classes"})
    print(f"{architecture.name}: {', '.join(f'{key}={value}' for key, value in fields.items())}")
    print(f"{architecture.flops(network.spec) / 1e6:,.1f} MFLOP per image\n")
    print("methods and controls for it, and what they grow")
    for name, facts in list_methods_for(architecture.name).items():
        print(f"{name:18} {facts.sizes(architecture.name)}")
    sizes = " ".join(size for size in suggest_sizes(network.spec))
    print(f"\nsizes are written as {sizes}")
