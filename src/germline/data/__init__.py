"""Data sets by name, and data that a user already has."""

import sys
from types import ModuleType
from typing import Any

from germline.data.augment import Augment
from germline.data.dataset import AnyImages, Augmentation, DataSet, ImageFiles, Images, Role, Split
from germline.data.loader import Batch, Loader, iterate_batches
from germline.data.lookup import list_data_sets, load_data, load_data_or_placeholder
from germline.data.placeholder import MissingDataError, make_placeholder
from germline.data.sets.glyphs import read_final_glyphs
from germline.data.tasks import draw_disjoint_tasks, draw_task, draw_task_list, select_classes, split_classes

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
    "Role",
    "Split",
    "draw_disjoint_tasks",
    "draw_task",
    "draw_task_list",
    "iterate_batches",
    "list_data_sets",
    "load_data",
    "load_data_or_placeholder",
    "make_placeholder",
    "read_final_glyphs",
    "select_classes",
    "split_classes",
]


class _CallablePackage(ModuleType):
    """`germline.data("glyphs/base")` finds a data set, though the name is this package's."""

    def __call__(self, *args: Any, **keywords: Any) -> DataSet:
        """As the function `load_data`."""
        return load_data(*args, **keywords)


sys.modules[__name__].__class__ = _CallablePackage
