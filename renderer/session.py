"""The stroke log: every action with its time, one JSON line each, enough to paint the same picture again.

Line 1 is the header, an object. Every other line is a list: milliseconds since the line before, a letter for the
kind of action, and its numbers. Points of a stroke are differences, in tenths of a pixel and hundredths of pressure.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from renderer.actions import (
    Action,
    Begin,
    Brush,
    Change,
    Clear,
    Command,
    End,
    Event,
    Extend,
    Fill,
    InputError,
    Line,
    Paste,
    Point,
    Redo,
    Undo,
)

FORMAT = 1
SYNC_EVERY_S = 1.0
MAX_LINE_BYTES = 128 << 20
PLAIN = {"z": Undo, "y": Redo, "c": Clear, "x": End}


@dataclass(frozen=True)
class Header:
    """What the log's first line holds. settings: strength, steps, seed, prompt and mood at the start."""

    width: int
    height: int
    model: str = "painter"
    weights: str = ""
    settings: dict = field(default_factory=dict)


def rounded(action: Action) -> Action:
    """The action as the log can hold it. The loop applies this one, so that a replay is the same to the bit."""
    match action:
        case Begin(brush, point):
            return Begin(rounded_brush(brush), rounded_point(point))
        case Extend(points):
            return Extend(tuple(rounded_point(point) for point in points))
        case Line(brush, (ax, ay), (bx, by)):
            return Line(rounded_brush(brush), (round(ax, 1), round(ay, 1)), (round(bx, 1), round(by, 1)))
        case Fill(color, x, y, tolerance):
            return Fill(color, round(x, 1), round(y, 1), tolerance)
    return action


def rounded_point(point: Point) -> Point:
    return round(point[0], 1), round(point[1], 1), round(point[2], 2)


def rounded_brush(brush: Brush) -> Brush:
    size, hardness, opacity = round(brush.size_px, 1), round(brush.hardness, 2), round(brush.opacity, 2)
    return Brush(tuple(int(c) for c in brush.color), size, hardness, opacity, brush.erase)


class SessionWriter:
    """Appends events to a file; each is in the system's hands when `write` returns, on the disk within a second."""

    def __init__(self, path: Path, header: Header):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise InputError(f"the session cannot be written to {path}: {error.strerror}") from error
        self.path, self.error = path, ""
        self._codec = Codec()
        self._last_ms: int | None = None
        self._synced_s = time.monotonic()
        self._put({"flowbrush": FORMAT, **header.__dict__})

    def write(self, event: Event) -> None:
        """Log one event; commands are passed by. A full disk sets `error` and stops the log, not the painting."""
        if isinstance(event.action, Command) or self._file.closed:
            return
        now_ms = round(event.time_s * 1000)
        wait_ms = 0 if self._last_ms is None else max(0, now_ms - self._last_ms)
        self._last_ms = now_ms
        self._put([wait_ms, *self._codec.encode(event.action)])

    def _put(self, line: dict | list) -> None:
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()
            if time.monotonic() - self._synced_s > SYNC_EVERY_S:
                os.fsync(self._file.fileno())
                self._synced_s = time.monotonic()
        except OSError as error:
            self.error = f"the session log stopped: {error.strerror}"
            self.close()

    def close(self) -> None:
        """Idempotent."""
        with contextlib.suppress(OSError):
            self._file.close()


class Codec:
    """Actions <-> lists of letters and numbers. Keeps the last point, from which the next is told."""

    def __init__(self) -> None:
        self._at = (0, 0, 0)

    def encode(self, action: Action) -> list:
        match action:
            case Begin(brush, point):
                self._at = tenths(point)
                return ["b", *brush_fields(brush), *self._at]
            case Extend(points):
                numbers = []
                for point in points:
                    at = tenths(point)
                    numbers += [a - b for a, b in zip(at, self._at, strict=True)]
                    self._at = at
                return ["e", *numbers]
            case Line(brush, start, stop):
                return ["l", *brush_fields(brush), *start, *stop]
            case Fill(color, x, y, tolerance):
                return ["f", *color, x, y, tolerance]
            case Paste(png):
                return ["p", base64.b64encode(png).decode()]
            case Change(name, value):
                return ["s", name, value]
        for letter, kind in PLAIN.items():
            if isinstance(action, kind):
                return [letter]
        raise TypeError(f"not an action for the log: {action!r}")

    def decode(self, fields: list) -> Action:
        """Raises ValueError or TypeError for anything that `encode` does not write."""
        letter, rest = fields[0], fields[1:]
        if letter == "e":
            if len(rest) % 3 or not all(isinstance(n, int) for n in rest):
                raise ValueError("points come in threes of whole numbers")
            points = []
            for i in range(0, len(rest), 3):
                self._at = tuple(a + limited(b) for a, b in zip(self._at, rest[i : i + 3], strict=True))
                points.append(point_of(self._at))
            return Extend(tuple(points))
        if letter == "b":
            *brush, x, y, p = rest
            self._at = tuple(int(limited(v)) for v in (x, y, p))
            return Begin(brush_of(brush), point_of(self._at))
        if letter == "l":
            *brush, ax, ay, bx, by = rest
            return Line(brush_of(brush), (limited(ax), limited(ay)), (limited(bx), limited(by)))
        if letter == "f":
            r, g, b, x, y, tolerance = rest
            return Fill(color_of((r, g, b)), limited(x), limited(y), int(limited(tolerance)))
        if letter == "p":
            return Paste(base64.b64decode(rest[0], validate=True))
        if letter == "s":
            name, value = rest
            if not isinstance(name, str) or not isinstance(value, str | int | float):
                raise ValueError("a setting is a name and a value")
            return Change(name, value)
        if letter in PLAIN and not rest:
            return PLAIN[letter]()
        raise ValueError(f"unknown action {letter!r}")


def tenths(point: Point) -> tuple[int, int, int]:
    return round(point[0] * 10), round(point[1] * 10), round(point[2] * 100)


def point_of(at: tuple[int, int, int]) -> Point:
    return round(at[0] / 10, 1), round(at[1] / 10, 1), round(at[2] / 100, 2)


def brush_fields(brush: Brush) -> list:
    return [*brush.color, brush.size_px, brush.hardness, brush.opacity, int(brush.erase)]


def brush_of(fields: list) -> Brush:
    r, g, b, size, hardness, opacity, erase = fields
    return Brush(color_of((r, g, b)), limited(size), limited(hardness), limited(opacity), bool(erase))


def color_of(values: tuple) -> tuple[int, int, int]:
    if not all(isinstance(v, int) and 0 <= v <= 255 for v in values):
        raise ValueError("a colour is three whole numbers from 0 to 255")
    return values


def limited(value: float) -> float:
    """The number, if it is one that a canvas can mean."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise ValueError(f"not a number that a log holds: {value!r}")
    return value


@dataclass
class Session:
    """A log that was read: its header, its events with seconds from the start, and the first fault, if any."""

    header: Header
    events: list[Event]
    fault: str = ""

    @property
    def seconds(self) -> float:
        return self.events[-1].time_s if self.events else 0.0


def read(path: Path) -> Session:
    """Read as far as the log is valid. Raises InputError if even the header cannot be used."""
    try:
        lines = open(path, "rb")
    except OSError as error:
        raise InputError(f"the session {path} cannot be read: {error.strerror}") from error
    with lines:
        header = read_header(path, lines.readline(MAX_LINE_BYTES))
        session = Session(header, [])
        try:
            for event in read_events(lines):
                session.events.append(event)
        except ValueError as error:
            session.fault = f"{path}, {error}; what stands before it is used"
    return session


def read_header(path: Path, line: bytes) -> Header:
    try:
        fields = json.loads(line)
        version = fields.pop("flowbrush")
        header = Header(**fields)
        sizes = all(isinstance(v, int) and 1 <= v <= 8192 for v in (header.width, header.height))
        if not sizes or not isinstance(header.settings, dict) or not isinstance(header.model, str):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a Flowbrush session") from error
    if version != FORMAT:
        raise InputError(f"{path} has session format {version}; this Flowbrush reads {FORMAT}: update it")
    return header


def read_events(lines) -> Iterator[Event]:
    """Yield events; raises ValueError that names the line of the first fault."""
    codec, now_ms, number = Codec(), 0, 1
    while line := lines.readline(MAX_LINE_BYTES):
        number += 1
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line is cut short")
            wait_ms, *fields = json.loads(line)
            now_ms += int(limited(wait_ms))
            action = codec.decode(fields)
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
        yield Event(action, now_ms / 1000)
