"""Checks that several methods share."""

from __future__ import annotations

from typing import Literal

from germline.architectures import Spec
from germline.data import DataSet
from germline.errors import ArtefactError, DataError, SettingError
from germline.methods.base import Method
from germline.network import Network
from germline.registry import architecture_of
from germline.training import Run


def check_resume_settings(method: Method, data: DataSet, run: Run) -> None:
    """Refuse to resume a run with other settings or data than its own.

    Raises:
        SettingError: Names the setting that differs.
    """
    settings = {**method.model_dump(mode="json"), "data": data.fingerprint()}
    saved = run.keep("begun", lambda: ({}, settings))[1]
    for key in sorted(settings):
        if saved.get(key) != settings[key]:
            raise SettingError(
                f"'{run.folder}' was started with {key}={saved.get(key)}, now {key}={settings[key]}",
                f"Method '{method.name}' resumes only with the settings of its start",
                "Use those settings, or pass --overwrite to start again",
            )


def require_ancestor(method: str, ancestor: Network | None) -> tuple[Network, Spec]:
    """Return the ancestor, which a method must have, with float32 weights; and its spec.

    Raises:
        SettingError: There is no ancestor.
        ArtefactError: No architecture describes it.
    """
    if ancestor is None:
        raise SettingError(f"Method '{method}' needs an ancestor", fix="Pass --ancestor")
    if ancestor.spec is None:
        raise ArtefactError(
            "This ancestor cannot be rebuilt",
            ancestor.reason or "No architecture describes it",
            f"Use a model of `germline list models`; {method} cannot use a network as teacher alone",
        )
    return ancestor.in_float32(), ancestor.spec


def check_architecture(method: Method, spec: Spec, step: Literal["condense", "grow"] = "condense") -> None:
    """Refuse an ancestor or a descendant of an architecture that a method does not have.

    Args:
        method: The method.
        spec: Spec of the network.
        step: What the method does with the network, for the message.

    Raises:
        SettingError: Names the architectures that it has.
    """
    family = architecture_of(spec).name
    if family not in method.architectures:
        raise SettingError(
            f"Method '{method.name}' cannot {step} a {family}",
            f"It knows the channels and blocks of {', '.join(method.architectures)}",
            f"Use a {' or a '.join(method.architectures)}",
        )


def label_mismatch_error(ancestor: Network, data: DataSet) -> DataError:
    """Return the error for an ancestor whose classes are not those of the data."""
    return DataError(
        f"The ancestor has {len(ancestor.classes)} classes, '{data.name}' has {len(data.classes)} or other names",
        f"The first are {', '.join(ancestor.classes[:3])} against {', '.join(data.classes[:3])}",
        "Use data with the ancestor's own classes, or train an ancestor on these",
    )
