"""Work of many phases goes on as it was begun."""

from __future__ import annotations

from germline.architectures import Spec
from germline.data import DataSet
from germline.errors import ArtefactError, DataError, SettingError
from germline.methods.base import Method
from germline.network import Network
from germline.training import Run


def check_resume_settings(method: Method, data: DataSet, run: Run) -> None:
    """Keep with what a run was begun, or refuse to go on with it otherwise.

    Raises:
        SettingError: Names the setting that is another.
    """
    asked = {**method.model_dump(mode="json"), "data": data.fingerprint()}
    begun = run.keep("begun", lambda: ({}, asked))[1]
    for key in sorted(asked):
        if begun.get(key) != asked[key]:
            raise SettingError(
                f"'{run.folder}' was begun with {key}={begun.get(key)}, now {asked[key]}",
                f"what {method.name} does goes on as it was begun",
                "take that back, or start anew with --overwrite",
            )


def require_ancestor(method: str, ancestor: Network | None) -> tuple[Network, Spec]:
    """An ancestor that a method cannot do without, and its form.

    Raises:
        SettingError: There is none.
        ArtefactError: No architecture knows it.
    """
    if ancestor is None:
        raise SettingError(f"{method} without an ancestor", fix="pass --ancestor")
    if ancestor.spec is None:
        raise ArtefactError("this ancestor cannot be rebuilt", "no architecture knows it")
    return ancestor, ancestor.spec


def label_mismatch_error(ancestor: Network, data: DataSet) -> DataError:
    """The error for an ancestor whose classes are not the data's."""
    return DataError(
        f"the ancestor knows {len(ancestor.classes)} classes, '{data.name}' has {len(data.classes)} or other names",
        f"the first are {', '.join(ancestor.classes[:3])} against {', '.join(data.classes[:3])}",
        "use data with the ancestor's own classes, or train an ancestor on these",
    )
