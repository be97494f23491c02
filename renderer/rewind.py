"""Looking back: an earlier paper lies on the desk until one paints on from it, or comes back to now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from renderer.actions import End, Event, InputError, Paste

if TYPE_CHECKING:
    from renderer.app import App


@dataclass(eq=False)
class Rewind:
    """What the window shows of it, in monotonic seconds. now: the paper that was left, (H, W, 4) uint8."""

    begin_s: float
    end_s: float
    at_s: float
    now: np.ndarray
    pins: list[float] = field(default_factory=list)


def enter(app: App, time_s: float) -> None:
    """Begin to look back. Raises InputError where there is nothing to look back at."""
    span = app.persistence.history.span
    if span is None:
        raise InputError("nothing was painted yet: there is nothing to go back to")
    if app.canvas.drawing:
        app.apply(Event(End(), time_s))
    app.scene.rewind = Rewind(*span, span[1], app.canvas.pixels.copy(), app.persistence.history.pins)


def seek(app: App, at_s: float, time_s: float) -> None:
    """Lay the paper of that moment on the desk."""
    back = app.scene.rewind
    back.at_s = min(back.end_s, max(back.begin_s, at_s))
    app.lay(app.persistence.history.at(back.at_s), time_s)


def pin(app: App) -> None:
    """Mark the moment, or take its mark away."""
    back = app.scene.rewind
    near = [pin for pin in back.pins if abs(pin - back.at_s) < 0.05]
    if near:
        back.pins.remove(near[0])
    else:
        back.pins.append(back.at_s)
        back.pins.sort()


def leave(app: App, time_s: float) -> None:
    """Back to now: the paper is as it was."""
    back, app.scene.rewind = app.scene.rewind, None
    app.lay(back.now, time_s)


def branch(app: App, time_s: float) -> None:
    """Paint on from the paper that lies there: one edit, which the log holds and undo takes back."""
    back, app.scene.rewind = app.scene.rewind, None
    chosen = app.canvas.pixels.copy()
    app.canvas.pixels[:] = back.now
    order = cv2.cvtColor(chosen, cv2.COLOR_RGBA2BGRA)
    app.apply(Event(Paste(cv2.imencode(".png", order)[1].tobytes()), time_s))


def obey(app: App, name: str, value: object, time_s: float) -> None:
    """Carry out one of its commands: the part of the name behind `rewind`."""
    if app.scene.rewind is None:
        if name == "":
            enter(app, time_s)
        return
    match name:
        case "" | ".leave":
            leave(app, time_s)
        case ".seek":
            seek(app, float(value), time_s)
        case ".pin":
            pin(app)
        case ".branch":
            branch(app, time_s)
