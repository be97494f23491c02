"""One slot between the hand and the model: the latest request wins, and what changed adds up."""

from __future__ import annotations

import threading
from dataclasses import replace

from models.api import NOTHING, Rect, Request


class Mailbox:
    """`put` never waits; `take` waits. Requests are whole: the newest has all the paint."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._slot: Request | None = None
        self._owed: Rect = NOTHING  # dirt of requests that brought no picture
        self.closed = False

    def put(self, request: Request) -> None:
        with self._ready:
            dirty = request.dirty.union(self._owed)
            if self._slot is not None:
                dirty = dirty.union(self._slot.dirty)
            self._owed = NOTHING
            self._slot = replace(request, dirty=dirty)
            self._ready.notify()

    def take(self, timeout_s: float | None = None) -> Request | None:
        """The waiting request, or None after the timeout or the close."""
        with self._ready:
            self._ready.wait_for(lambda: self._slot is not None or self.closed, timeout_s)
            request, self._slot = self._slot, None
            return None if self.closed else request

    def give_back(self, dirty: Rect) -> None:
        """A request failed: what it should have shown is still to be shown."""
        with self._ready:
            self._owed = self._owed.union(dirty)

    @property
    def waiting(self) -> bool:
        with self._ready:
            return self._slot is not None

    def close(self) -> None:
        with self._ready:
            self.closed = True
            self._slot = None
            self._ready.notify_all()
