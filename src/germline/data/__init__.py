"""Data sets by name, and anything that a user already has."""

from germline.data.augment import Augment
from germline.data.loader import Batch, Loader, in_order
from germline.data.pictures import Augmentation, DataSet, Pictures, Split
from germline.data.sources import data, known_data

__all__ = [
    "Augment",
    "Augmentation",
    "Batch",
    "DataSet",
    "Loader",
    "Pictures",
    "Split",
    "data",
    "in_order",
    "known_data",
]
