"""Memory is used again, and never while an array refers to it."""

import numpy as np

from mmptq.deploy.sparse_engine.memory import Memory


def address_of(array: np.ndarray) -> int:
    return array.__array_interface__['data'][0]


def test_memory_is_used_again_when_nothing_refers_to_it():
    memory = Memory()
    first = memory.empty((300, 100), np.float32)
    assert (first.shape, first.dtype) == ((300, 100), np.float32)
    place = address_of(first)
    part = first[5:].T
    del first
    other = memory.empty((300, 100), np.float32)  # a part of the first one is still there
    assert address_of(other) != place
    del part
    assert address_of(memory.empty((110, 1000), np.uint8)) == place
    kept = [memory.empty((300, 100), np.float32) for _ in range(3)]
    places = {address_of(array) for array in [*kept, other]}
    assert len(places) == 4


def test_sizes_that_grow_leave_no_buffers_behind():
    memory = Memory()
    for count in range(100_000, 3_000_000, 100_000):
        memory.empty((count,), np.uint8)
    assert len(memory._buffers) < 5
    assert memory.empty((3, 4), np.int16).shape == (3, 4)
