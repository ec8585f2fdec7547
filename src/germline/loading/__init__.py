"""Networks that users bring: model folders, names of timm, weight files, and modules in Python."""

from germline.loading.accuracy import MeasuredAncestor, measure_ancestor
from germline.loading.load import load_network
from germline.loading.look import look_at, read_ancestor
from germline.loading.module import wrap_module
from germline.loading.rebuild import rebuild_network

__all__ = [
    "MeasuredAncestor",
    "load_network",
    "look_at",
    "measure_ancestor",
    "read_ancestor",
    "rebuild_network",
    "wrap_module",
]
