"""A fair lock: models share one machine, one network evaluation at a time, least-served model first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import replace

from models.api import Cancelled, Frame, Img2Img, ModelCard, Request, never


class FairLock:
    """Fair mutual exclusion between threads. Times are in seconds.

    Threads call `begin`, then `rest` between two pieces of work, then `end`.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock, self._lock = clock, threading.Lock()
        self._used: dict[Hashable, float] = {}  # time held; `begin` raises it to the others' minimum
        self._held: dict[Hashable, float] = {}  # time held since the thread's `begin`
        self._waiting: dict[Hashable, threading.Condition] = {}  # wakes one thread at a time
        self._holder: Hashable | None = None
        self._since = 0.0
        self.closed = False

    def begin(self, key: Hashable) -> None:
        """Wait for the lock. Idle time gives a thread no priority."""
        with self._lock:
            others = [self._used[other] for other in self._held]
            self._used[key] = max([self._used.get(key, 0.0), *([min(others)] if others else [])])
            self._held[key] = 0.0
            self._take(key)

    def rest(self, key: Hashable) -> None:
        """Yield the lock to a waiting thread that has held it for less time, if there is one."""
        with self._lock:
            self._waiting[key] = threading.Condition(self._lock)  # before the release, so that it competes
            self._release(key)
            self._take(key)

    def end(self, key: Hashable) -> float:
        """Release the lock; returns the time it was held since `begin`."""
        with self._lock:
            if self._holder == key:
                self._release(key)
            return self._held.pop(key, 0.0)

    def close(self) -> None:
        """Raise Cancelled in every thread that waits now or later."""
        with self._lock:
            self.closed = True
            for waiting in self._waiting.values():
                waiting.notify()

    def _take(self, key: Hashable) -> None:
        waiting = self._waiting.setdefault(key, threading.Condition(self._lock))
        waiting.wait_for(lambda: self.closed or (self._holder is None and self._next() == key))
        del self._waiting[key]
        if self.closed:
            raise Cancelled
        self._holder, self._since = key, self._clock()

    def _release(self, key: Hashable) -> None:
        spent = self._clock() - self._since
        self._used[key] += spent
        self._held[key] += spent
        self._holder = None
        if self._waiting:
            self._waiting[self._next()].notify()

    def _next(self) -> Hashable:
        return min(self._waiting, key=lambda key: self._used[key])


class LockedModel:
    """Wraps a model so that it holds the lock while it computes; frames report that time as stage `own`."""

    def __init__(self, model: Img2Img, lock: FairLock, key: Hashable):
        self._model, self._lock, self._key = model, lock, key

    @property
    def card(self) -> ModelCard:
        return self._model.card

    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """The model's `render`, which may yield the lock whenever the model polls `cancelled`."""
        try:
            self._lock.begin(self._key)
            frame = self._model.render(request, cancelled=lambda: self._between(cancelled))
        finally:
            held_s = self._lock.end(self._key)
        return replace(frame, stage_ms={"own": held_s * 1e3})

    def _between(self, cancelled: Callable[[], bool]) -> bool:
        self._lock.rest(self._key)
        return cancelled()

    def rest(self) -> bool:
        """The model's `rest`, called while the lock is held."""
        try:
            self._lock.begin(self._key)
            return self._model.rest()
        finally:
            self._lock.end(self._key)

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        return self._model.gflop(height_px, width_px, steps)

    def close(self) -> None:
        self._model.close()
