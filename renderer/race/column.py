"""A column of the race: one model on its own thread, with its newest picture and statistics."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from models.api import Failure, Img2Img, Request
from renderer.race.fair_lock import FairLock, LockedModel
from renderer.runtime.engine import Engine
from renderer.runtime.latency import RunStatistics, percentiles

MOST_COLUMNS = 6


class Column:
    """One model of the race. spec: the model as given by the user. picture: newest, (H, W, 3) uint8.

    new: the picture has not been drawn yet.
    """

    def __init__(self, spec: str, load: Callable[[], Img2Img], lock: FairLock):
        self.spec, self.engine, self.stats = spec, Engine(), RunStatistics()
        self.picture: np.ndarray | None = None
        self.new = True
        self.problem = ""
        self._shown = -1
        self._first_s = 0.0  # time of its first request
        self.engine.load(lambda: LockedModel(load(), lock, self))

    @property
    def ready(self) -> bool:
        return self.engine.state == "ready"

    @property
    def label(self) -> str:
        return self.engine.card.name if self.engine.card else self.spec

    def submit(self, request: Request, time_s: float) -> None:
        """Request a picture of what was painted at `time_s`; only the newest request is kept.

        For a column added after that stroke, latency is measured from the time at which it was ready.
        """
        if self.ready:
            self._first_s = self._first_s or time.perf_counter()
            self.stats.input(max(time_s, self._first_s), request.sequence)
            self.engine.submit(request)

    def collect(self, now_s: float) -> None:
        self.problem = self.engine.error
        while (result := self.engine.poll()) is not None:
            if isinstance(result, Failure):
                self.problem = result.message
                continue
            self.picture, self.new = result.picture, True
            self._shown = result.request.sequence
            self.stats.frame(now_s, result.stage_ms)

    def flipped(self, shown_s: float) -> None:
        self.stats.flip(shown_s, self._shown)

    def own_ms(self) -> float | None:
        """Median compute time of a frame without waiting for the lock; None before the first."""
        return self.stats.stage_medians().get("own")

    def figures(self, now_s: float, seconds: float) -> dict:
        """Statistics of the recent past and of the whole run: fields of `race --json`."""
        own = self.own_ms()
        card = self.engine.card
        return {
            "column": self.spec,
            "label": self.label,
            "path": card.path if card else None,
            "threads": card.threads if card else None,
            "own_ms": own,
            "own_fps": round(1e3 / own, 2) if own else None,
            "frames": self.stats.model_frames,
            "race_fps": round(self.stats.model_fps(now_s), 2),
            "race_fps_mean": round(self.stats.model_frames / seconds, 3) if seconds else None,
            "pen_to_picture_ms": percentiles(self.stats.latency_ms),
            "recent_pen_to_picture_ms": percentiles(list(self.stats.recent_ms)[-8:])["p50"],
            "problem": self.problem or None,
        }

    def close(self) -> bool:
        return self.engine.close()
