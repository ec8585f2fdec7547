"""Random generators keyed by purpose, so that draws do not depend on device, resume point or process count."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def derive(seed: int, *keys: str | int) -> int:
    """Derive a seed for one purpose: the first 63 bits of sha256 over `seed` and `keys`."""
    text = "/".join(str(part) for part in (seed, *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *keys: str | int) -> torch.Generator:
    """Make a CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *keys))


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the global generators of the CPU and of one device; the others keep their state.

    `torch.manual_seed` also asks for all kinds of devices that are not there, which takes longer than a small layer.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextlib.contextmanager
def use_generator(source: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator from `source` within the block, and restore it afterwards.

    Initialisers of torch and timm draw from the global generator. Its state outside the block does not change.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (1,), generator=source)))
        yield
