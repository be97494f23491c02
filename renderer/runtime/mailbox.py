"""One-slot mailbox between loop and model: a newer request replaces a waiting one, dirty areas are merged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from models.api import NOTHING, Rect, Request


def never() -> bool:
    return False


class Mailbox:
    """One-slot mailbox. `put` never waits, `take` does. Each request contains the whole paper."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._slot: Request | None = None
        self._owed: Rect = NOTHING  # dirty area of failed requests
        self.closed = False

    def put(self, request: Request) -> None:
        with self._ready:
            dirty = request.dirty.union(self._owed)
            if self._slot is not None:
                dirty = dirty.union(self._slot.dirty)
            self._owed = NOTHING
            self._slot = replace(request, dirty=dirty)
            self._ready.notify_all()

    def take(self, timeout_s: float | None = None, *, stop: Callable[[], bool] = never) -> Request | None:
        """Wait for a request; None after the timeout, after `close`, or as soon as `stop` returns True.

        stop: called under the mailbox's lock whenever something is put or `wake` is called.
        """
        with self._ready:
            self._ready.wait_for(lambda: self.closed or stop() or self._slot is not None, timeout_s)
            if self.closed or stop():
                return None
            request, self._slot = self._slot, None
            return request

    def wake(self) -> None:
        """Make every waiting `take` call `stop` again."""
        with self._ready:
            self._ready.notify_all()

    def give_back(self, dirty: Rect) -> None:
        """Add the dirty area of a failed request to that of the next one."""
        with self._ready:
            self._owed = self._owed.union(dirty)

    def put_back(self, request: Request) -> None:
        """Put a request back for another attempt, unless a newer one waits."""
        with self._ready:
            if self._slot is None:
                self._slot = request
            else:
                self._slot = replace(self._slot, dirty=self._slot.dirty.union(request.dirty))

    @property
    def waiting(self) -> bool:
        with self._ready:
            return self._slot is not None

    def close(self) -> None:
        with self._ready:
            self.closed = True
            self._slot = None
            self._ready.notify_all()
