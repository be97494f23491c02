"""Demo mode: plays the events of a stroke log in real time, in a loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from renderer.actions import (
    Action,
    Begin,
    Clear,
    Event,
    Extend,
    Fill,
    Line,
    MoveSelection,
    PlaceImage,
    Select,
)
from renderer.picture_params import PictureParams
from renderer.stroke_log.log import StrokeLog

PAUSE_S = 4.0  # the finished painting is shown this long


def scale_action(action: Action, x: float, y: float) -> Action:
    """Scale an action to a canvas x times as wide and y times as high; strokes are redrawn, not stretched."""
    if (x, y) == (1, 1):
        return action
    size = min(x, y)
    match action:
        case Begin(brush, (px, py, pressure)):
            return Begin(replace(brush, size_px=brush.size_px * size), (px * x, py * y, pressure))
        case Extend(points):
            return Extend(tuple((px * x, py * y, pressure) for px, py, pressure in points))
        case Line(brush, (ax, ay), (bx, by)):
            return Line(replace(brush, size_px=brush.size_px * size), (ax * x, ay * y), (bx * x, by * y))
        case Fill(color, px, py, tolerance, material):
            return Fill(color, px * x, py * y, tolerance, material)
        case PlaceImage(png, px, py, scale, angle):
            return PlaceImage(png, px * x, py * y, scale, angle)
        case Select(shape, points, material, mode):
            return Select(shape, tuple((px * x, py * y) for px, py in points), material, mode)
        case MoveSelection(dx, dy):
            return MoveSelection(round(dx * x), round(dy * y))
    return action


def demo_settings(log: StrokeLog, params: PictureParams) -> dict[str, Any]:
    """Settings of the log, by name, for those of `params` that have their default value."""
    logged, plain = PictureParams.from_dict(log.header.settings, params.model), PictureParams(params.model)
    names = ("strength", "seed", "prompt", "mood")
    return {name: getattr(logged, name) for name in names if getattr(params, name) == getattr(plain, name)}


class DemoPlayer:
    """Plays the events of a log in real time; PAUSE_S after the last one it restarts on blank paper."""

    def __init__(self, session: StrokeLog, size: tuple[int, int]):
        x, y = size[0] / session.header.width, size[1] / session.header.height
        self._events = [Event(scale_action(e.action, x, y), e.time_s) for e in session.events]
        self._began_s: float | None = None
        self._next = 0

    def due(self, now_s: float) -> list[Event]:
        """Events due since the last call, each with its due time."""
        if self._began_s is None:
            self._began_s = now_s
        made: list[Event] = []
        while self._next < len(self._events):
            event = self._events[self._next]
            if self._began_s + event.time_s > now_s:
                return made
            made.append(Event(event.action, self._began_s + event.time_s))
            self._next += 1
        if self._events and now_s > self._began_s + self._events[-1].time_s + PAUSE_S:
            self._began_s, self._next = now_s, 0
            made.append(Event(Clear(), now_s))
        return made
