"""Read pickles of plain data only: containers, numbers, text and arrays."""

from __future__ import annotations

import io
import pickle  # Only its parser is used: every name in a file must be in the list below.
from pathlib import Path
from typing import Any

from germline.errors import DataError

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"It contains {module}.{name}")
        # NumPy has moved these names.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_plain_pickle(path: Path) -> Any:
    """Read the content of a pickle; text of Python 2 becomes bytes.

    Raises:
        DataError: The file is unreadable or truncated, or contains more than plain data.
    """
    try:
        return _Plain(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    # A crafted pickle can make the allowed parts fail in any way.
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as plain data", str(error), "Use a fresh download, or the binary version"
        ) from error
