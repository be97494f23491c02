"""A model that is asked for the papers of a real painting: what a benchmark renders instead of one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models.api import Frame, Img2Img, Request, never
from renderer.actions import InputError
from renderer.stroke_log.log import read
from renderer.stroke_log.playback import Playback

MOST_BYTES = 256 << 20  # of papers that are made before the clock runs


class StrokeLogBenchmark:
    """The model itself, but every request gets the next moment of a log: its paper, seed, prompt and mood."""

    def __init__(self, model: Img2Img, log: Path, size: tuple[int, int], frames: int):
        """size: (width, height) of the paper. Raises InputError for a log in which nothing was painted."""
        self.card = model.card
        self._model, self._next = model, 0
        session = read(log)
        if not session.events:
            raise InputError(f"nothing was painted in {log}")
        count = max(2, min(frames, MOST_BYTES // (4 * size[0] * size[1])))
        playback = Playback(session, size)
        self.moments: list[Request] = []
        for number in range(count):
            playback.to(session.seconds * number / (count - 1))
            self.moments.append(playback.request(1))

    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """Make the picture of the next moment, with the request's own steps."""
        moment = self.moments[self._next % len(self.moments)]
        self._next += 1
        return self._model.render(replace(moment, steps=request.steps), cancelled=cancelled)

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        return self._model.gflop(height_px, width_px, steps)

    def forget(self) -> None:
        """Have the next frame worked out as a whole, so that what is counted of it is what was done."""
        getattr(self._model, "forget", lambda: None)()

    def close(self) -> None:
        self._model.close()
