"""Background compression of long-lived arrays, so that the drawing thread never waits for zlib.

zlib takes 29 ms for a noisy canvas of 512 px and 461 ms for one of 2048 px; the copy before it takes 0.1
and 2 ms.
"""

from __future__ import annotations

import queue
import threading
import weakref
import zlib
from typing import Protocol

import numpy as np

from renderer.canvas.storage.buffer_pool import Kept, outside_heap

COMPRESS_FROM_BYTES = 1 << 14


class PackedArray:
    """A copy of a uint8 array, compressed in the background if it is large enough."""

    def __init__(self, array: np.ndarray):
        self.shape = array.shape
        self._data: np.ndarray | Kept = np.array(array, order="C")
        self._ready: np.ndarray | None = None  # uncompressed copy kept beside the packed data
        self._wanted = False  # whether the uncompressed copy is to be kept
        pack_later(self)

    @property
    def nbytes(self) -> int:
        """Current size in bytes, without the uncompressed copy of `prepare`."""
        data = self._data
        return data.nbytes if isinstance(data, np.ndarray) else len(data)

    @property
    def packed(self) -> bool:
        return not isinstance(self._data, np.ndarray)

    def unpack(self) -> np.ndarray:
        """The array, uint8; do not write to it."""
        data, ready = self._data, self._ready
        if ready is not None:
            return ready
        if isinstance(data, np.ndarray):
            return data
        size = int(np.prod(self.shape))
        raw = zlib.decompress(data) if size >= COMPRESS_FROM_BYTES else data
        return np.frombuffer(raw, np.uint8, size).reshape(self.shape)

    def prepare(self) -> None:
        """Keep an uncompressed copy, which saves `unpack` 70 ms for a noisy canvas of 2048 px."""
        self._wanted = True
        if self.packed and self._ready is None:
            pack_later(self)

    def release(self) -> None:
        """Drop the uncompressed copy."""
        self._wanted, self._ready = False, None

    def pack(self) -> None:
        """Compress the array, or decompress it after `prepare`; called on the compression thread."""
        data = self._data
        if not isinstance(data, np.ndarray):
            made = self.unpack() if self._wanted else None
            self._ready = made if self._wanted else None
        else:
            self._ready = data if self._wanted else None
            self._data = outside_heap(
                zlib.compress(data.data, 1) if data.nbytes >= COMPRESS_FROM_BYTES else data.tobytes()
            )
            # `prepare` and `release` may have been called meanwhile
            self._ready = data if self._wanted else None


class Packable(Protocol):
    def pack(self) -> None:
        """Compress the stored data; called on the compression thread."""
        ...


_waiting: queue.Queue[weakref.ref[Packable]] = queue.Queue()
_thread: threading.Thread | None = None
_starting = threading.Lock()


def pack_later(kept: Packable) -> None:
    """Queue an object for compression on the thread; skipped if it is garbage-collected before."""
    global _thread
    _waiting.put(weakref.ref(kept))
    if _thread is None:
        with _starting:
            if _thread is None:
                _thread = threading.Thread(target=_work, name="compression", daemon=True)
                _thread.start()


def _work() -> None:
    while True:
        kept = _waiting.get()()
        if kept is not None:
            kept.pack()
        del kept
        _waiting.task_done()


def wait_until_packed() -> None:
    """Wait until all arrays queued so far are compressed."""
    _waiting.join()
