"""Bytes that are kept for minutes lie in pages of their own.

Among papers and pictures that come and go many times a second, small blocks that stay would split the heap
into gaps that fit nothing, and the program would grow by what it never uses.
"""

from __future__ import annotations

import mmap

Kept = bytes | mmap.mmap


def aside(data: bytes) -> Kept:
    """The same bytes, outside the heap; those of less than a page are given back as they are."""
    if len(data) < mmap.PAGESIZE:
        return data
    pages = mmap.mmap(-1, len(data))
    pages[:] = data
    return pages
