"""The images that a DataLoader reads: its data set, or the subset that its sampler names."""

from __future__ import annotations

from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
)

from germline.errors import DataError

_FIX = "Pass the DataLoader's dataset, or a torch.utils.data.Subset of it"


def open_data_loader(loader: DataLoader[Any]) -> Any:
    """Return the map-style data set of exactly the images that a DataLoader gives in an epoch.

    The order is no part of it, because germline shuffles images itself.

    Raises:
        DataError: The sampler repeats or drops images, or the loader changes the items.
    """
    if isinstance(loader.dataset, IterableDataset):
        raise DataError(
            f"A DataLoader of a {type(loader.dataset).__name__} cannot be indexed",
            "Images are read by their position",
            "Pass a map-style Dataset",
        )
    if loader.collate_fn not in (default_collate, _default_convert()):
        name = getattr(loader.collate_fn, "__name__", type(loader.collate_fn).__name__)
        raise DataError(
            f"The DataLoader has a collate_fn '{name}'", "It may change images or labels, and germline skips it", _FIX
        )
    batches = loader.batch_sampler
    if batches is not None and type(batches) is not BatchSampler:
        raise _refuse(batches)
    # A BatchSampler that the user passes has its own sampler, and loader.sampler then says nothing.
    sampler = loader.sampler if batches is None else batches.sampler
    if type(sampler) is SequentialSampler:
        return loader.dataset
    if type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(sampler.data_source):
        return loader.dataset
    if type(sampler) is SubsetRandomSampler:
        return Subset(loader.dataset, sorted(int(index) for index in sampler.indices))
    raise _refuse(sampler)


def _default_convert() -> Any:
    from torch.utils.data._utils.collate import default_convert

    return default_convert


def _refuse(sampler: Any) -> DataError:
    return DataError(
        f"The DataLoader has a {type(sampler).__name__}",
        "It may repeat or drop images, and germline reads every image once per epoch",
        _FIX,
    )
