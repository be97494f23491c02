"""Looking back: an earlier paper lies on the desk until one paints on from it, or comes back to now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from renderer.actions import End, Event, InputError, OpenDocument
from renderer.canvas.open_raster import document_bytes

if TYPE_CHECKING:
    from renderer.app import App


@dataclass(eq=False)
class Rewind:
    """What the window shows of it, in seconds."""

    begin_s: float
    end_s: float
    at_s: float
    pins: list[float] = field(default_factory=list)


def enter(app: App, time_s: float) -> None:
    """Begin to look back. Raises InputError where there is nothing to look back at."""
    span = app.persistence.history.span
    if span is None:
        raise InputError("nothing was painted yet: there is nothing to go back to")
    if app.canvas.drawing:
        app.apply(Event(End(), time_s))
    app.scene.rewind = Rewind(*span, span[1], app.persistence.history.pins)


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
    app.scene.rewind = None
    app.lay(None, time_s)


def branch(app: App, time_s: float) -> None:
    """Paint on from the paper that lies there: one edit, which the log holds and undo takes back."""
    app.scene.rewind, chosen = None, app.canvas.stack
    app.canvas.show_own()
    app.apply(Event(OpenDocument(document_bytes(chosen), chosen), time_s))


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
