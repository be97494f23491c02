"""Playback of a stroke log without a window: paper and settings at any moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from models.api import ModelError, Request
from renderer.actions import EDITS, Action, Change, InputError
from renderer.canvas.canvas import Canvas
from renderer.picture_params import PictureParams
from renderer.runtime import pacing
from renderer.stroke_log.demo import scale_action
from renderer.stroke_log.log import StrokeLog


class Playback:
    """Plays a stroke log on a canvas, forward only.

    canvas, params: state at the moment reached by `advance`.

    Strokes are redrawn at the canvas's size; at the log's own size the paper is identical, byte for byte.
    faults: actions that failed, as in the window. version: incremented with every change.
    """

    def __init__(self, session: StrokeLog, size: tuple[int, int] | None = None):
        """size: (width, height) of the canvas in pixels; by default the log's own."""
        header = session.header
        self.canvas = Canvas(*(size or (header.width, header.height)), format=session.format)
        self.params = PictureParams.from_dict(header.settings, header.model)
        self.faults = self.version = 0
        self.edited_s = 0.0
        self.seconds = session.seconds
        self._events, self._next = session.events, 0
        self._scale = self.canvas.width / header.width, self.canvas.height / header.height

    def advance(self, time_s: float) -> None:
        """Apply all events up to this second of the log."""
        while self._next < len(self._events) and self._events[self._next].time_s <= time_s:
            event = self._events[self._next]
            self._next += 1
            try:
                changed = self._do(event.action)
            except (InputError, ModelError):
                self.faults += 1
                continue
            if changed:
                self.version += 1
                self.edited_s = event.time_s

    def request(self, steps: int) -> Request:
        """The model request for this moment."""
        materials = self.canvas.snapshot_materials()
        paper = self.canvas.snapshot()
        return self.params.request(paper, materials=materials, sequence=self.version, steps=steps)

    def steps(self, time_s: float, offered: Iterable[int]) -> int:
        """Steps of the picture that the window showed at that time: more while the pen was idle."""
        finer = [steps for steps in pacing.REFINED_STEPS if steps in offered]
        rests = time_s - self.edited_s >= pacing.REST_S
        return max([self.params.steps, *finer]) if rests else self.params.steps

    def _do(self, action: Action) -> bool:
        """Apply one action. Returns whether paper or settings changed."""
        if isinstance(action, Change):
            before, self.params = self.params, self.params.change(action.name, action.value)
            return self.params != before
        if isinstance(action, EDITS):
            scaled: Any = scale_action(action, *self._scale)  # an edit again
            return not self.canvas.apply(scaled).empty
        return False
