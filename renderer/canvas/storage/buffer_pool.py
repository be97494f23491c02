"""Memory outside the heap, for long-lived data and for arrays that are passed between threads.

A model allocates and frees large tensors with every frame. Small long-lived blocks between them would
fragment the heap, and the process would grow by memory that it cannot reuse.
"""

from __future__ import annotations

import math
import mmap
import weakref

import numpy as np

Kept = bytes | mmap.mmap


def outside_heap(data: bytes) -> Kept:
    """Copy bytes to separately mapped pages; data smaller than a page is returned unchanged."""
    if len(data) < mmap.PAGESIZE:
        return data
    pages = mmap.mmap(-1, len(data))
    pages[:] = data
    return pages


class BufferPool:
    """Pool of uint8 arrays of one shape. Memory is reused once no array or view of it is referenced."""

    def __init__(self, shape: tuple[int, ...]):
        self._shape = shape
        self._free: list[mmap.mmap] = []

    def take(self) -> np.ndarray:
        """An array with undefined contents."""
        pages = self._free.pop() if self._free else mmap.mmap(-1, math.prod(self._shape))
        array = np.ndarray(self._shape, np.uint8, buffer=pages)
        weakref.finalize(array, self._free.append, pages).atexit = False
        return array
