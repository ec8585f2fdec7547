"""Settings whose dumps do not change when settings are added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import SerializerFunctionWrapHandler, model_serializer

from germline.setting_problems import CheckedSettings


class StableDump(CheckedSettings):
    """Settings that are left out of a dump while they have no effect.

    Stores are keyed by dumps. A setting that came later is left out at its first value, so that keys stay the same.

    Attributes:
        omitted: Value by name of a setting with which it is left out.
    """

    omitted: ClassVar[Mapping[str, Any]] = {}

    @model_serializer(mode="wrap")
    def _dump_stable(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = dump(self)
        left = {name: value for one in type(self).__mro__ for name, value in vars(one).get("omitted", {}).items()}
        kept = {key: value for key, value in settings.items() if key not in left or value != left[key]}
        return self.complete_dump(kept)

    def complete_dump(self, dumped: dict[str, Any]) -> dict[str, Any]:
        """Return a dump with further settings that it needs, so that the same ones are read from it."""
        return dumped
