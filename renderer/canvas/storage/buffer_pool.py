"""Memory outside the heap, for what is kept for minutes and for arrays that pass from thread to thread.

A model takes and frees large tensors with every frame. Small blocks between them that stay would split the
heap into gaps that fit nothing, and the process would grow by what it never uses.
"""

from __future__ import annotations

import math
import mmap
import weakref

import numpy as np

Kept = bytes | mmap.mmap


def outside_heap(data: bytes) -> Kept:
    """The same bytes in pages of their own; less than a page is returned as it is."""
    if len(data) < mmap.PAGESIZE:
        return data
    pages = mmap.mmap(-1, len(data))
    pages[:] = data
    return pages


class BufferPool:
    """uint8 arrays of one shape, whose memory is used again once neither they nor a view of them is held."""

    def __init__(self, shape: tuple[int, ...]):
        self._shape = shape
        self._free: list[mmap.mmap] = []

    def take(self) -> np.ndarray:
        """An array with undefined contents."""
        pages = self._free.pop() if self._free else mmap.mmap(-1, math.prod(self._shape))
        array = np.ndarray(self._shape, np.uint8, buffer=pages)
        weakref.finalize(array, self._free.append, pages).atexit = False
        return array
