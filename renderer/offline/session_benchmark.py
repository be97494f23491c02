"""Benchmark on a real painting: a model that renders the moments of a stroke log in place of one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models.api import Frame, Img2Img, Request, never
from renderer.actions import InputError
from renderer.stroke_log.log import read
from renderer.stroke_log.playback import Playback

MOST_BYTES = 256 << 20  # of papers, which are made before anything is measured


class StrokeLogBenchmark:
    """A model whose requests are replaced by the moments of a log: paper, seed, prompt and mood."""

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
        """Have the next frame computed as a whole, so that the counted work is that of a whole frame."""
        getattr(self._model, "forget", lambda: None)()

    def close(self) -> None:
        self._model.close()
