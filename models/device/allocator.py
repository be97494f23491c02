"""Tune glibc malloc so that freed tensor memory is reused by the next frame."""

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
    """Let glibc's malloc serve large tensors from its heap. Returns whether it accepted the settings.

    By default each large tensor's memory is returned to the system when it is freed, and the pages of the
    next one are zeroed again: at 2048x2048 that took 100 of 245 ms a frame. The number of arenas is limited
    to one, because the arena of a second thread may not grow so large.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc
        return False
    wanted = {ARENA_MAX: 1, MMAP_MAX: 0, TRIM_THRESHOLD: KEPT_BYTES, TOP_PAD: GROWTH_BYTES}
    taken = [mallopt(name, value) for name, value in wanted.items()]
    return all(taken)


def trim() -> bool:
    """Return unused heap memory to the system (malloc_trim). Returns whether the call was available.

    The pages are mapped again when they are touched, which costs some ten milliseconds in the next frame.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):  # no glibc
        return False


def apart(like: Tensor) -> Tensor:
    """Create an uninitialised tensor of the same shape, dtype and layout in its own pages, outside the heap.

    Inside the heap, tensors kept between frames would fragment the memory that frames take and free.
    """
    pages = torch.frombuffer(mmap.mmap(-1, like.numel() * like.element_size()), dtype=like.dtype)
    return pages.as_strided(like.shape, like.stride())
