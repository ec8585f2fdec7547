"""Rules of selection: those of today, and those of the published sources as germline first read them.

By the published rules scores are normalised per task, and each tournament has a critic task of its own. One critic
judges a gene by its accuracy. Winners enter the pool only in place of others. Nothing is protected. With as many tasks
as tournaments all winners then have the same score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Rules = Literal["current", "published"]

# What `rules=published` sets, where nothing else is given.
PUBLISHED: Mapping[str, Any] = {
    "scores": "per-task",
    "breeders": "pool",
    "fitness": "critic",
    "tasks_per_gene": 1,
    "critic_seeds": 1,
    "protected_steps": 0,
    "inherited_rate": 1.0,
}
# Settings that came after the first genes were saved; `fitness` is older.
NEW_SETTINGS = frozenset({"rules", *PUBLISHED} - {"fitness"})


def fill_in_rules(given: Mapping[str, Any], fields: frozenset[str]) -> dict[str, Any]:
    """Fill in the settings of the published rules.

    A saved gene of the first release has every setting of that release and none of the later ones. It evolved by the
    published rules.

    Args:
        given: Settings as given or saved.
        fields: Names of all settings.
    """
    is_old = fields - NEW_SETTINGS <= given.keys() and not NEW_SETTINGS & given.keys()
    if not is_old and given.get("rules") != "published":
        return dict(given)
    return {**PUBLISHED, "rules": "published", **given}


def drop_published_rules(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the later settings of a dump if all are published, so that it equals a dump of the first release."""
    dropped = NEW_SETTINGS if follows_published(settings) else frozenset()
    return {key: value for key, value in settings.items() if key not in dropped}


def follows_published(settings: Mapping[str, Any]) -> bool:
    """Tell whether settings name the published rules and change none of them; the measure of fitness is free."""
    changed = (key for key in PUBLISHED.keys() & NEW_SETTINGS if settings[key] != PUBLISHED[key])
    return settings["rules"] == "published" and next(changed, None) is None
