"""Memory that is used again: fresh memory costs more time than some layers."""

import sys

import numpy as np

SMALLEST = 2**16  # bytes; below it numpy is as quick
SLACK = 1.25


class Memory:
    """Gives arrays out of memory that no array uses any more.

    An array may be kept for as long as wanted: its memory is taken again when nothing refers to it.
    """

    def __init__(self):
        self._buffers: list[np.ndarray] = [np.empty(0, np.uint8)]
        self._unused = sys.getrefcount(self._buffers[0])

    def empty(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array whose numbers are not set.

        Args:
            shape (tuple[int, ...]): Its shape.
            dtype (type): Of numpy.
        """
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size < SMALLEST:
            return np.empty(shape, dtype)
        buffer = self._find(size)
        return buffer[:size].view(dtype).reshape(shape)

    def _find(self, size: int) -> np.ndarray:
        free = [
            number
            for number in range(len(self._buffers))
            if sys.getrefcount(self._buffers[number]) == self._unused
        ]
        fitting = [n for n in free if size <= self._buffers[n].size <= 4 * size]
        if fitting:
            return self._buffers[min(fitting, key=lambda n: self._buffers[n].size)]
        # A buffer that has become too small makes room for the new one.
        small = [n for n in free if size / 4 < self._buffers[n].size < size]
        if small:
            del self._buffers[small[-1]]
        self._buffers.append(np.empty(int(size * SLACK), np.uint8))
        return self._buffers[-1]
