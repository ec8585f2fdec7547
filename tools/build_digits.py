"""Build the `digits` pack from the 8x8 digits of scikit-learn: `python tools/build_digits.py [PACK]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

PACK = Path(__file__).parents[1] / "src/germline/data/packs/digits.npz"


def main(pack: Path) -> None:
    """Write images (17 greys, 0..16) and labels."""
    digits = load_digits()
    np.savez_compressed(pack, pictures=digits.images.astype(np.uint8), labels=digits.target.astype(np.uint8))
    print(f"{len(digits.target)} images, {pack.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACK)
