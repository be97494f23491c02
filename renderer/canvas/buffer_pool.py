"""Memory outside the heap, for what is kept for minutes and for papers that pass from thread to thread.

Among the large tensors that a model takes and gives back for every frame, small blocks that stay and papers
that come and go would split the heap into gaps that fit nothing, and the program would grow by what it never
uses.
"""

from __future__ import annotations

import math
import mmap
import weakref

import numpy as np

Kept = bytes | mmap.mmap


def aside(data: bytes) -> Kept:
    """The same bytes, in pages of their own; those of less than a page are given back as they are."""
    if len(data) < mmap.PAGESIZE:
        return data
    pages = mmap.mmap(-1, len(data))
    pages[:] = data
    return pages


class Pool:
    """uint8 arrays of one shape, whose memory is taken again once nobody holds them or a view of them."""

    def __init__(self, shape: tuple[int, ...]):
        self._shape = shape
        self._free: list[mmap.mmap] = []

    def take(self) -> np.ndarray:
        """An array with whatever stood there before."""
        pages = self._free.pop() if self._free else mmap.mmap(-1, math.prod(self._shape))
        array = np.ndarray(self._shape, np.uint8, buffer=pages)
        weakref.finalize(array, self._free.append, pages).atexit = False
        return array
