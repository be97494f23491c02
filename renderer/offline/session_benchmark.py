"""Benchmark on a stroke log: a model wrapper that renders moments of the log instead of one fixed image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models.api import Frame, Img2Img, Request, never
from renderer.actions import InputError
from renderer.stroke_log.log import read
from renderer.stroke_log.playback import Playback

MOST_BYTES = 256 << 20  # of papers, prepared before the measurement


class StrokeLogBenchmark:
    """Model wrapper that replaces paper, seed, prompt and mood of requests by those of moments of a log."""

    def __init__(self, model: Img2Img, log: Path, size: tuple[int, int], frames: int):
        """size: (width, height) of the paper. Raises InputError for a log without paint."""
        self.card = model.card
        self._model, self._next = model, 0
        session = read(log)
        if not session.events:
            raise InputError(f"nothing was painted in {log}")
        count = max(2, min(frames, MOST_BYTES // (4 * size[0] * size[1])))
        playback = Playback(session, size)
        self.moments: list[Request] = []
        for number in range(count):
            playback.advance(session.seconds * number / (count - 1))
            self.moments.append(playback.request(1))

    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """Render the next moment, with the steps of the request."""
        moment = self.moments[self._next % len(self.moments)]
        self._next += 1
        return self._model.render(replace(moment, steps=request.steps), cancelled=cancelled)

    def rest(self) -> bool:
        return self._model.rest()

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        return self._model.gflop(height_px, width_px, steps)

    def forget(self) -> None:
        """Make the model compute the next frame as a whole, so that the work of a whole frame is counted."""
        getattr(self._model, "forget", lambda: None)()

    def close(self) -> None:
        self._model.close()
