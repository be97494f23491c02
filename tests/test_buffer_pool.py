"""Tests of the buffer pool: a paper is reused only when nothing references it."""

from __future__ import annotations

import mmap
import zlib

import numpy as np
import pytest

from renderer.canvas.canvas import Canvas
from renderer.canvas.storage.buffer_pool import BufferPool, outside_heap


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_once_the_last_view_is_gone():
    pool = BufferPool((8, 8, 4))
    first = pool.take()
    first[:] = 7
    where, part = address(first), first[2:4].reshape(-1)[::2]
    del first
    other = pool.take()
    other[:] = 9
    assert address(other) != where and (part == 7).all()
    del part
    assert address(pool.take()) == where


def test_a_snapshot_outlives_edits_and_other_snapshots():
    canvas = Canvas(64, 64)
    kept = canvas.snapshot()
    rows = kept[10:20]
    del kept
    for value in range(1, 5):
        canvas.pixels[:] = value
        assert (canvas.snapshot() == value).all()
    assert not rows.any()
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 1


@pytest.mark.parametrize("size", [0, 1, mmap.PAGESIZE - 1, mmap.PAGESIZE, 3 * mmap.PAGESIZE + 5])
def test_what_lies_outside_the_heap_is_the_same(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    packed = outside_heap(zlib.compress(data))
    assert (
        zlib.decompress(packed) == data
        and bytes(outside_heap(data)) == data
        and len(outside_heap(data)) == size
    )
