"""Work of many phases goes on as it was begun."""

from __future__ import annotations

from germline.data import DataSet
from germline.errors import SettingError
from germline.methods.base import Method
from germline.training import Run


def check_begun(method: Method, data: DataSet, run: Run) -> None:
    """Keep with what a run was begun, or refuse to go on with it otherwise.

    Raises:
        SettingError: Names the setting that is another.
    """
    asked = {**method.dump(), "data": data.fingerprint()}
    begun = run.keep("begun", lambda: ({}, asked))[1]
    for key in sorted(asked):
        if begun.get(key) != asked[key]:
            raise SettingError(
                f"'{run.folder}' was begun with {key}={begun.get(key)}, now {asked[key]}",
                f"what {method.name} does goes on as it was begun",
                "take that back, or start anew with --overwrite",
            )
