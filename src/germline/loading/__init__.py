"""Networks that users bring: model folders, names of timm, weight files, and modules in Python."""

from germline.loading.load import load_network
from germline.loading.module import wrap_module

__all__ = ["load_network", "wrap_module"]
