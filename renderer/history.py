"""The last minutes of the paper: the edits, and whole papers in between, packed on a thread of their own."""

from __future__ import annotations

import threading
import zlib
from bisect import bisect_right
from collections import deque
from queue import SimpleQueue

import numpy as np

from renderer.actions import EDITS, Event, InputError, Paste, Redo, Undo
from renderer.canvas import Canvas

REACH_S = 600.0
FIRST_S = 0.1  # so long before the first edit one can go back, to the blank paper
MARK_EVERY_S = 4.0
MOST_BYTES = 96 << 20


class Mark:
    """The whole paper after the first `count` edits. data: (H, W, 4) uint8 until it is packed, then zlib."""

    def __init__(self, time_s: float, count: int, pixels: np.ndarray):
        self.time_s, self.count, self.shape = time_s, count, pixels.shape
        self.data: np.ndarray | bytes = pixels

    def pack(self) -> None:
        self.data = zlib.compress(self.data.tobytes(), 1)

    def pixels(self) -> np.ndarray:
        data = self.data
        if isinstance(data, bytes):
            return np.frombuffer(zlib.decompress(data), np.uint8).reshape(self.shape).copy()
        return data.copy()

    @property
    def bytes(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else self.data.nbytes


class History:
    """Told of every edit after it was made. pins: times that were marked by hand."""

    def __init__(self, width: int, height: int):
        self.pins: list[float] = []
        self._size = width, height
        self._events: deque[Event] = deque()
        self._dropped = 0  # edits older than the first mark
        self._marks: deque[Mark] = deque()
        self._packing: SimpleQueue[Mark | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def span(self) -> tuple[float, float] | None:
        """First and last moment that can be gone back to, monotonic seconds; None before the first edit."""
        if not self._events:
            return None
        return self._marks[0].time_s, self._events[-1].time_s

    def event(self, event: Event, canvas: Canvas) -> None:
        """An edit was made at the time of the event; the canvas is as it was left by it."""
        if not isinstance(event.action, EDITS):
            return
        if not self._marks:
            self._mark(event.time_s - FIRST_S, np.zeros_like(canvas.pixels))
        self._events.append(event)
        jumps = isinstance(event.action, Undo | Redo | Paste)  # these lean on more than the paper before
        old = event.time_s - self._marks[-1].time_s > MARK_EVERY_S
        if not canvas.drawing and (jumps or old):
            self._mark(event.time_s, canvas.pixels.copy())
            self._forget(event.time_s)

    def at(self, time_s: float) -> np.ndarray:
        """(H, W, 4) uint8: the paper at this moment. Raises InputError before the first edit."""
        if not self._marks:
            raise InputError("nothing was painted yet")
        done = bisect_right(self._events, time_s, key=lambda event: event.time_s) + self._dropped
        mark = next((mark for mark in reversed(self._marks) if mark.count <= done), self._marks[0])
        canvas = Canvas(*self._size)
        canvas.pixels[:] = mark.pixels()
        for at in range(mark.count - self._dropped, done - self._dropped):
            try:
                canvas.apply(self._events[at].action)
            except InputError:  # an image that could not be read then either
                continue
        return canvas.pixels

    def close(self) -> None:
        """Idempotent."""
        self._packing.put(None)

    def _mark(self, time_s: float, pixels: np.ndarray) -> None:
        mark = Mark(time_s, self._dropped + len(self._events), pixels)
        self._marks.append(mark)
        if self._thread is None:
            self._thread = threading.Thread(target=self._pack, name="history", daemon=True)
            self._thread.start()
        self._packing.put(mark)

    def _pack(self) -> None:
        while (mark := self._packing.get()) is not None:
            mark.pack()

    def _forget(self, now_s: float) -> None:
        marks = self._marks
        while len(marks) > 2 and (
            marks[1].time_s < now_s - REACH_S or sum(mark.bytes for mark in marks) > MOST_BYTES
        ):
            marks.popleft()
            while self._dropped < marks[0].count:
                self._events.popleft()
                self._dropped += 1
        self.pins = [pin for pin in self.pins if pin >= marks[0].time_s]
