"""History of the last minutes for rewinding: snapshots of the canvas and the edits between them."""

from __future__ import annotations

import contextlib
import pickle
import zlib
from collections import deque

from renderer.actions import EDITS, Event, InputError, OpenDocument, Paste, Redo, Undo
from renderer.canvas.canvas import Canvas
from renderer.canvas.layers import Layer, LayerStack
from renderer.canvas.storage.buffer_pool import Kept, outside_heap
from renderer.canvas.storage.compression import PackedArray, pack_later

REACH_S = 600.0
FIRST_S = 0.1  # rewinding reaches this long before the first edit, to the blank canvas
MARK_EVERY_S = 20.0
MOST_BYTES = 96 << 20


class Mark:
    """A snapshot of the canvas at `time_s`, and the edits from there until the next snapshot."""

    def __init__(self, time_s: float, stack: LayerStack):
        self.time_s = time_s
        self._layers = [
            (PackedArray(one.pixels), PackedArray(one.materials), one.settings) for one in stack.layers
        ]
        self._active = stack.active
        self._selection = None if stack.selection is None else PackedArray(stack.selection)
        self._edits: list[Event] | Kept = []

    def add(self, event: Event) -> None:
        if isinstance(self._edits, list):
            self._edits.append(event)

    def pack(self) -> None:
        """Compress the edits once no more follow. Uncompressed, ten minutes of edits took 20 MB."""
        if isinstance(self._edits, list):
            packed = zlib.compress(pickle.dumps(self._edits, pickle.HIGHEST_PROTOCOL), 1)
            self._edits = outside_heap(packed)

    def stack(self) -> LayerStack:
        """The layers at `time_s`."""
        layers = [
            Layer(pixels.unpack().copy(), materials.unpack().copy(), settings)
            for pixels, materials, settings in self._layers
        ]
        made = LayerStack(layers, self._active)
        made.selection = None if self._selection is None else self._selection.unpack().copy()
        return made

    def edits(self) -> list[Event]:
        data = self._edits
        return data if isinstance(data, list) else pickle.loads(zlib.decompress(data))

    @property
    def nbytes(self) -> int:
        layers = sum(pixels.nbytes + materials.nbytes for pixels, materials, _ in self._layers)
        return layers + (0 if isinstance(self._edits, list) else len(self._edits))


class History:
    """The canvas of the last minutes. pins: times that the user marked."""

    def __init__(self, width: int, height: int):
        self.pins: list[float] = []
        self.size = width, height
        self._marks: deque[Mark] = deque()
        self._newest_s = 0.0

    @property
    def span(self) -> tuple[float, float] | None:
        """First and last time that can be rewound to, in seconds; None before the first edit."""
        return (self._marks[0].time_s, self._newest_s) if self._marks else None

    def event(self, event: Event, canvas: Canvas) -> None:
        """Record an edit made at the event's time; `canvas` is in the state after it."""
        if not isinstance(event.action, EDITS):
            return
        if not self._marks:
            self._mark(event.time_s - FIRST_S, LayerStack([Layer.blank(*self.size)]))
        self._marks[-1].add(event)
        self._newest_s = event.time_s
        jumps = isinstance(
            event.action, Undo | Redo | Paste | OpenDocument
        )  # cannot be replayed from the canvas alone
        old = event.time_s - self._marks[-1].time_s > MARK_EVERY_S
        if not canvas.drawing and (jumps or old):
            self._mark(event.time_s, canvas.stack)
            self._forget(event.time_s)

    def at(self, time_s: float) -> LayerStack:
        """The layers at this time. Raises InputError before the first edit."""
        return HistoryReader(self).at(time_s)

    def mark_at(self, time_s: float) -> Mark:
        """The last snapshot up to this time, or the first one. Raises InputError before the first edit."""
        marks = list(self._marks)  # the main loop may append concurrently
        if not marks:
            raise InputError("nothing was painted yet")
        return next((mark for mark in reversed(marks) if mark.time_s <= time_s), marks[0])

    def _mark(self, time_s: float, stack: LayerStack) -> None:
        if self._marks:
            pack_later(self._marks[-1])
        self._marks.append(Mark(time_s, stack))

    def _forget(self, now_s: float) -> None:
        marks = self._marks
        while len(marks) > 2 and (
            marks[1].time_s < now_s - REACH_S or sum(mark.nbytes for mark in marks) > MOST_BYTES
        ):
            marks.popleft()
        self.pins = [pin for pin in self.pins if pin >= marks[0].time_s]


class HistoryReader:
    """Rebuilds earlier states of the canvas while nothing is painted.

    A later state after the same snapshot continues from the last state, so that moving forwards along the
    timeline replays no edit twice.
    """

    def __init__(self, history: History):
        self._history = history
        self._mark: Mark | None = None
        self._canvas = Canvas(*history.size)
        self._edits: list[Event] = []
        self._next = 0  # index of the next edit to apply

    def at(self, time_s: float) -> LayerStack:
        """A copy of the layers at this time. Raises InputError before the first edit."""
        mark = self._history.mark_at(time_s)
        if mark is not self._mark or (self._next and self._edits[self._next - 1].time_s > time_s):
            self._mark, self._edits, self._next = mark, mark.edits(), 0
            self._canvas = Canvas(*self._history.size)
            self._canvas.show(mark.stack())
        while self._next < len(self._edits) and self._edits[self._next].time_s <= time_s:
            action = self._edits[self._next].action
            with contextlib.suppress(InputError):  # an edit that also failed when it was made
                if isinstance(action, EDITS):
                    self._canvas.apply(action)
            self._next += 1
        stack = self._canvas.stack
        made = LayerStack([layer.copy() for layer in stack.layers], stack.active)
        made.selection = None if stack.selection is None else stack.selection.copy()
        return made
