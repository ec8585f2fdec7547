"""Data sets by name, and data that a user already has."""

import sys
from types import ModuleType
from typing import Any

from germline.data.augment import Augment
from germline.data.dataset import AnyImages, Augmentation, DataSet, ImageFiles, Images, Role, Split
from germline.data.final_readings import log_final_reading
from germline.data.loader import Batch, Loader, iterate_batches
from germline.data.lookup import list_data_sets, load_data, load_data_or_placeholder
from germline.data.placeholder import MissingDataError, make_placeholder
from germline.data.policy import Policy
from germline.data.sets.glyphs import read_final_glyphs
from germline.data.tasks import draw_disjoint_tasks, draw_task, draw_task_list, select_classes, split_classes
from germline.deprecation import warn_deprecated

__all__ = [
    "AnyImages",
    "Augment",
    "Augmentation",
    "Batch",
    "DataSet",
    "ImageFiles",
    "Images",
    "Loader",
    "MissingDataError",
    "Policy",
    "Role",
    "Split",
    "draw_disjoint_tasks",
    "draw_task",
    "draw_task_list",
    "iterate_batches",
    "list_data_sets",
    "load_data",
    "load_data_or_placeholder",
    "log_final_reading",
    "make_placeholder",
    "read_final_glyphs",
    "select_classes",
    "split_classes",
]


class _CallablePackage(ModuleType):
    """Lets `germline.data("digits")` work until germline 0.3, where this class is to be deleted.

    Python sets `germline.data` to this package when anything imports it, so only the package itself can be called.
    """

    def __call__(self, *args: Any, **keywords: Any) -> DataSet:
        warn_deprecated("germline.data(...)")
        return load_data(*args, **keywords)


sys.modules[__name__].__class__ = _CallablePackage
