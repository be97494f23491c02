"""Everything a hand can do, as values: what events become, the canvas applies, and the stroke log keeps."""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, float, float]
"""x and y in canvas pixels, pressure 0..1."""


@dataclass(frozen=True)
class Brush:
    """color: (r, g, b) in 0..255. hardness, opacity: 0..1. erase: takes paint away, back to blank paper."""

    color: tuple[int, int, int] = (118, 169, 222)
    size_px: float = 40.0
    hardness: float = 0.8
    opacity: float = 1.0
    erase: bool = False


@dataclass(frozen=True)
class Begin:
    brush: Brush
    point: Point


@dataclass(frozen=True)
class Extend:
    points: tuple[Point, ...]


@dataclass(frozen=True)
class End:
    pass


@dataclass(frozen=True)
class Line:
    brush: Brush
    start: tuple[float, float]
    stop: tuple[float, float]


@dataclass(frozen=True)
class Fill:
    """tolerance: 0..255, the largest difference in any channel that still counts as the same colour."""

    color: tuple[int, int, int]
    x: float
    y: float
    tolerance: int = 24


@dataclass(frozen=True)
class Clear:
    pass


@dataclass(frozen=True)
class Undo:
    pass


@dataclass(frozen=True)
class Redo:
    pass


@dataclass(frozen=True)
class Paste:
    """png: an image file's bytes, of any format that OpenCV reads; it is fitted to the canvas."""

    png: bytes


@dataclass(frozen=True)
class Change:
    """A setting of the picture: prompt, seed, strength, steps, model, target_fps, or mood.<axis>."""

    name: str
    value: str | int | float


@dataclass(frozen=True)
class Command:
    """A wish that changes no picture and is not logged: a view, help, save, quit ..."""

    name: str
    value: object = None


Edit = Begin | Extend | End | Line | Fill | Clear | Undo | Redo | Paste
Action = Edit | Change | Command
EDITS = (Begin, Extend, End, Line, Fill, Clear, Undo, Redo, Paste)


@dataclass(frozen=True)
class Event:
    """An action and the monotonic time, in seconds, at which the hand did it."""

    action: Action
    time_s: float


class InputError(Exception):
    """What a person gave cannot be used. The message is one line that says what is wrong and what to do."""
