"""The last minutes of the paper: whole papers and the edits in between, packed on a thread of their own."""

from __future__ import annotations

import contextlib
import pickle
import threading
import zlib
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np

from renderer.actions import EDITS, Event, InputError, Paste, Redo, Undo
from renderer.canvas.buffer_pool import Kept, aside
from renderer.canvas.canvas import Canvas

REACH_S = 600.0
FIRST_S = 0.1  # so long before the first edit one can go back, to the blank paper
MARK_EVERY_S = 20.0
MOST_BYTES = 96 << 20


class Mark:
    """The whole paper after all edits up to `time_s`, and the edits that follow until the next mark."""

    def __init__(self, time_s: float, pixels: np.ndarray):
        self.time_s, self.shape = time_s, pixels.shape
        self._pixels: np.ndarray | Kept = pixels
        self._edits: list[Event] | Kept = []

    def add(self, event: Event) -> None:
        self._edits.append(event)

    def pack_pixels(self) -> None:
        self._pixels = aside(zlib.compress(self._pixels, 1))

    def pack_edits(self) -> None:
        """No more will follow. As objects those of ten minutes took 20 MB."""
        self._edits = aside(zlib.compress(pickle.dumps(self._edits, pickle.HIGHEST_PROTOCOL), 1))

    def pixels(self) -> np.ndarray:
        data = self._pixels
        if isinstance(data, np.ndarray):
            return data
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(self.shape)

    def edits(self) -> list[Event]:
        data = self._edits
        return data if isinstance(data, list) else pickle.loads(zlib.decompress(data))

    @property
    def bytes(self) -> int:
        data = self._pixels
        pixels = data.nbytes if isinstance(data, np.ndarray) else len(data)
        return pixels + (0 if isinstance(self._edits, list) else len(self._edits))


class History:
    """Told of every edit after it was made. pins: times that were marked by hand."""

    def __init__(self, width: int, height: int):
        self.pins: list[float] = []
        self._size = width, height
        self._marks: deque[Mark] = deque()
        self._newest_s = 0.0
        self._packing: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def span(self) -> tuple[float, float] | None:
        """First and last moment that can be gone back to, monotonic seconds; None before the first edit."""
        return (self._marks[0].time_s, self._newest_s) if self._marks else None

    def event(self, event: Event, canvas: Canvas) -> None:
        """An edit was made at the time of the event; the canvas is as it was left by it."""
        if not isinstance(event.action, EDITS):
            return
        if not self._marks:
            self._mark(event.time_s - FIRST_S, np.zeros_like(canvas.pixels))
        self._marks[-1].add(event)
        self._newest_s = event.time_s
        jumps = isinstance(event.action, Undo | Redo | Paste)  # these lean on more than the paper before
        old = event.time_s - self._marks[-1].time_s > MARK_EVERY_S
        if not canvas.drawing and (jumps or old):
            self._mark(event.time_s, canvas.snapshot())
            self._forget(event.time_s)

    def at(self, time_s: float) -> np.ndarray:
        """(H, W, 4) uint8: the paper at this moment. Raises InputError before the first edit."""
        if not self._marks:
            raise InputError("nothing was painted yet")
        mark = next((mark for mark in reversed(self._marks) if mark.time_s <= time_s), self._marks[0])
        canvas = Canvas(*self._size)
        canvas.pixels[:] = mark.pixels()
        for event in mark.edits():
            if event.time_s > time_s:
                break
            with contextlib.suppress(InputError):  # an image that could not be read then either
                canvas.apply(event.action)
        return canvas.pixels

    def close(self) -> None:
        """Idempotent."""
        self._packing.put(None)

    def _mark(self, time_s: float, pixels: np.ndarray) -> None:
        if self._marks:
            self._packing.put(self._marks[-1].pack_edits)
        self._marks.append(Mark(time_s, pixels))
        self._packing.put(self._marks[-1].pack_pixels)
        if self._thread is None:
            self._thread = threading.Thread(target=self._pack, name="history", daemon=True)
            self._thread.start()

    def _pack(self) -> None:
        while (pack := self._packing.get()) is not None:
            pack()

    def _forget(self, now_s: float) -> None:
        marks = self._marks
        while len(marks) > 2 and (
            marks[1].time_s < now_s - REACH_S or sum(mark.bytes for mark in marks) > MOST_BYTES
        ):
            marks.popleft()
        self.pins = [pin for pin in self.pins if pin >= marks[0].time_s]
