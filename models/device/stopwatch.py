"""Milliseconds by stage of a frame, by the host's clock or by CUDA events."""

from __future__ import annotations

import time
from itertools import pairwise

import torch


class Stopwatch:
    """Measure the stages of a frame.

    On CUDA it records events in the device's stream, because a launch returns before its work ends. No lap
    waits for the device; `finish` reads the events after the frame's one wait, when the picture is on the
    host. clock: of the host, in seconds. mark: makes a CUDA event.
    """

    def __init__(self, device: torch.device, *, clock=time.perf_counter, mark=torch.cuda.Event):
        self.stage_ms: dict[str, float] = {}
        self._device, self._cuda, self._clock, self._mark = device, device.type == "cuda", clock, mark
        self._begin = self._last = clock()
        self._marks = [("", self._marked())] if self._cuda else []

    def lap(self, stage: str) -> None:
        """End a stage; several laps of one stage add up."""
        before, now = self._last, self._clock()
        self.stage_ms.setdefault(stage, 0.0)
        if self._cuda:
            self._marks.append((stage, self._marked()))
        else:
            self.stage_ms[stage] += (now - before) * 1e3
        self._last = now

    def finish(self, stage: str) -> None:
        """End the last stage, after the wait for the device; it gets the time of no other stage."""
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
        event.record(torch.cuda.current_stream(self._device))  # the current device may be another one
        return event
