"""Time of each stage of a frame, on CUDA by the events of the device."""

from __future__ import annotations

import time
from itertools import pairwise

import torch


class Stopwatch:
    """Milliseconds by stage: on CUDA by the device's own clock, for a launch is over before its work.

    Laps are marks in the device's stream, which nothing waits for; `finish` reads them once the frame's one
    wait, for the picture on the host, is over. clock: of the host, in seconds. mark: makes an event of CUDA.
    """

    def __init__(self, device: torch.device, *, clock=time.perf_counter, mark=torch.cuda.Event):
        self.stage_ms: dict[str, float] = {}
        self._cuda, self._clock, self._mark = device.type == "cuda", clock, mark
        self._begin = self._last = clock()
        self._marks = [("", self._marked())] if self._cuda else []

    def lap(self, stage: str) -> None:
        """The end of a stage, or of another part of it."""
        before, now = self._last, self._clock()
        self.stage_ms.setdefault(stage, 0.0)
        if self._cuda:
            self._marks.append((stage, self._marked()))
        else:
            self.stage_ms[stage] += (now - before) * 1e3
        self._last = now

    def finish(self, stage: str) -> None:
        """The end of the last stage, behind the wait for the device: what the marks left of the time."""
        if not self._cuda:
            return self.lap(stage)
        spent = 0.0
        for (_, before), (name, after) in pairwise(self._marks):
            ms = before.elapsed_time(after)
            self.stage_ms[name] += ms
            spent += ms
        self.stage_ms[stage] = max(0.0, (self._clock() - self._begin) * 1e3 - spent)

    def _marked(self) -> torch.cuda.Event:
        event = self._mark(enable_timing=True)
        event.record()
        return event
