"""Memory that a frame gives back stays with the process, for the next frame takes the same again."""

from __future__ import annotations

import ctypes
import mmap
import sys

import torch
from torch import Tensor

# parameters of mallopt, from glibc's malloc.h
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
KEPT_BYTES = 1 << 30
GROWTH_BYTES = 64 << 20


def keep() -> bool:
    """Have glibc's malloc serve large tensors from its heap. Returns whether it could be asked.

    By default each goes back to the system when it is freed, and the next one's pages are zeroed anew: at
    2048x2048 that took 100 of 245 ms a frame. One arena, for a second thread's own may not grow so large.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    wanted = {ARENA_MAX: 1, MMAP_MAX: 0, TRIM_THRESHOLD: KEPT_BYTES, TOP_PAD: GROWTH_BYTES}
    taken = [mallopt(name, value) for name, value in wanted.items()]
    return all(taken)


def trim() -> bool:
    """Give the system what lies free between what is in use. Returns whether it could be asked.

    The pages come back when they are touched: some ten milliseconds in the next frame.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):  # another C library
        return False


def apart(like: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape, dtype and layout in pages of its own, beside the heap.

    What stays between frames would lie among what they take and give back, and split it into gaps.
    """
    pages = torch.frombuffer(mmap.mmap(-1, like.numel() * like.element_size()), dtype=like.dtype)
    return pages.as_strided(like.shape, like.stride())
