"""Read a pickle that holds nothing but containers, numbers, text and arrays; refuse every other one unopened."""

from __future__ import annotations

import io
import pickle  # only its parser: every name that a file asks for is looked up in the list below
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
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        # one home for names that NumPy has moved
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_plain_pickle(path: Path) -> Any:
    """What the pickle holds; text of Python 2 comes as bytes.

    Raises:
        DataError: The file is unreadable or truncated, or asks for anything but plain data.
    """
    try:
        return _Plain(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    # a hand-made pickle can make the allowed parts fail in any way
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as plain data", str(error), "fetch the file again, or use the binary version"
        ) from error
