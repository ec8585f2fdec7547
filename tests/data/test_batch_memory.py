"""Memory of float batches: values are exact, and no memory is overwritten while a tensor uses it."""

import torch

from germline.data.batch_memory import BatchMemory


def test_values_equal_those_of_a_new_tensor():
    memory, pixels = BatchMemory(), torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    for count in (4, 2, 4):
        converted = memory.convert(pixels[:count])
        assert converted.dtype == torch.float32
        assert converted.is_contiguous()
        assert torch.equal(converted, pixels[:count].float().div_(255))


def test_memory_is_reused_only_when_no_tensor_uses_it():
    memory, pixels = BatchMemory(), torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)
    first = memory.convert(pixels)
    place, view = first.data_ptr(), first[1].flatten()
    del first
    second = memory.convert(pixels // 2)
    assert second.data_ptr() != place
    assert view.eq(1).all()
    del view
    assert memory.convert(pixels).data_ptr() == place


def test_one_unused_batch_is_kept_and_sizes_may_differ():
    memory, pixels = BatchMemory(), torch.ones(3, 3, 4, 4, dtype=torch.uint8)
    batches = [memory.convert(pixels[:1]), memory.convert(pixels), memory.convert(pixels)]
    assert len({batch.data_ptr() for batch in batches}) == 3
    batches.clear()
    assert len(memory._unused) == 1
    assert memory.convert(pixels).shape == pixels.shape
