"""Random draws keyed by what they are for, so that they do not depend on device, resume point or process count."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def derive(seed: int, *keys: str | int) -> int:
    """A seed for one purpose: the first 63 bits of sha256 over `seed` and `keys`."""
    text = "/".join(str(part) for part in (seed, *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *keys: str | int) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *keys))


@contextlib.contextmanager
def use_generator(source: torch.Generator) -> Iterator[None]:
    """Draw the global generator's numbers from `source` within the block; it is put back afterwards.

    Initialisers of torch and timm draw from the global generator, which nobody else should feel.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (1,), generator=source)))
        yield
