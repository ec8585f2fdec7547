"""Tasks that worker processes of a Ray cluster import."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class NamedTask:
    """Task that leaves a file in the store, raises an error, or ends its worker process."""

    name: str
    error: type[BaseException] | None = None

    def __call__(self, store):
        if self.error is SystemExit:
            os._exit(1)
        if self.error is not None:
            raise self.error("The loss is nan")
        (store.folder / self.name).write_text(str(store.out))
