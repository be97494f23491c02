"""Latency and frame-rate statistics of a run: input to frame, frames a second, refused results."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence

import numpy as np

GRAPH = 240  # newest latencies that the HUD draws
WINDOW_S = 2.0  # window of the frame-rate counts


class RunStatistics:
    """Counts and times of one run. Times are given by the caller, in seconds of `time.perf_counter`."""

    def __init__(self) -> None:
        self.latency_ms = array("d")
        self.recent_ms: deque[float] = deque(maxlen=GRAPH)
        self.tick_ms = array("d")  # eight bytes per number: 2 MB per hour of painting
        self.stage_ms: dict[str, array] = {}
        self.frame_ms = array("d")
        self.stale = self.errors = self.model_frames = self.flips = self.idle_calls = 0
        self._flips: deque[float] = deque()
        self._frames: deque[float] = deque()
        self._waiting: deque[tuple[float, int]] = deque()  # (input time, sequence that shows it)

    def input(self, time_s: float, sequence: int) -> None:
        """Record an input event that changed the paper; the frame of `sequence` will show it."""
        self._waiting.append((time_s, sequence))

    def frame(self, now_s: float, stage_ms: dict[str, float]) -> None:
        """Record a distinct frame of the model."""
        self.model_frames += 1
        self._frames.append(now_s)
        self.frame_ms.append(sum(stage_ms.values()))
        for stage, ms in stage_ms.items():
            self.stage_ms.setdefault(stage, array("d")).append(ms)

    def flip(self, end_s: float, shown: int) -> None:
        """Record a window update that shows the frame of sequence `shown`; -1 before the first frame."""
        self.flips += 1
        self._flips.append(end_s)
        while self._waiting and self._waiting[0][1] <= shown:
            ms = (end_s - self._waiting.popleft()[0]) * 1e3
            self.latency_ms.append(ms)
            self.recent_ms.append(ms)

    def rate(self, times: deque[float], now_s: float) -> float:
        while times and times[0] < now_s - WINDOW_S:
            times.popleft()
        return len(times) / WINDOW_S

    def shown_fps(self, now_s: float) -> float:
        return self.rate(self._flips, now_s)

    def model_fps(self, now_s: float) -> float:
        return self.rate(self._frames, now_s)

    def stage_medians(self, newest: int = 0) -> dict[str, float]:
        """Median times of the stages over the `newest` frames, or over all for 0."""
        return {stage: round(float(np.median(ms[-newest:])), 3) for stage, ms in self.stage_ms.items()}


def percentiles(values_ms: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99; None each if there are no values."""
    names = (50, 95, 99)
    if not values_ms:
        return {f"p{p}": None for p in names}
    return {f"p{p}": round(float(np.percentile(values_ms, p)), 3) for p in names}
