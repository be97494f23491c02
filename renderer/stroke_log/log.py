"""The stroke log file: every action with its time as one JSON line. A replay paints the same picture.

The first line is the header, an object. Each other line is an action as `codec` encodes it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from renderer.actions import Action, Command, Event, InputError, OpenDocument, Paste
from renderer.canvas.canvas import FORMAT
from renderer.stroke_log.codec import MOST_WAIT_MS, Codec

SYNC_EVERY_S = 1.0
LATE_FROM_BYTES = 1 << 16  # smaller files are encoded and written in under a millisecond
CLOSE_S = 20.0  # longest wait for late events in `close`
MAX_LINE_BYTES = 128 << 20


@dataclass(frozen=True)
class LogHeader:
    """Header, the first line of a log. settings: strength, steps, seed, prompt and mood at the start."""

    width: int
    height: int
    model: str = "painter"
    weights: str = ""
    settings: dict = field(default_factory=dict)


class LogWriter:
    """Appends events to a file: handed to the system when `write` returns, on the disk within a second.

    An event with a large file in it, and those that follow until it is written, are written on a thread:
    base64 and JSON of 16 MB (a noisy paper of 2048 pixels) take 100 ms.
    """

    def __init__(self, path: Path, header: LogHeader):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115 closed by close()
        except OSError as error:
            raise InputError(f"the session cannot be written to {path}: {error.strerror}") from error
        self.path, self.error = path, ""
        self._codec = Codec()
        self._last_ms: int | None = None
        self._lock = threading.Lock()
        self._late: deque[tuple[int, Action]] = deque()  # queue of (wait, action), in order
        self._late_writer: threading.Thread | None = None  # runs while `_late` is not empty
        self._owed, self._ended = threading.Event(), threading.Event()
        self._syncer = threading.Thread(target=self._sync, name="session", daemon=True)
        self._syncer.start()
        self._put({"flowbrush": FORMAT, **header.__dict__})

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, event: Event) -> None:
        """Log one event; commands are ignored. A full disk sets `error` and ends the log."""
        if isinstance(event.action, Command) or self._file.closed:
            return
        now_ms = round(event.time_s * 1000)
        wait_ms = 0 if self._last_ms is None else min(int(MOST_WAIT_MS), max(0, now_ms - self._last_ms))
        self._last_ms = now_ms
        with self._lock:
            if self._late_writer is not None or file_bytes(event.action) > LATE_FROM_BYTES:
                self._late.append((wait_ms, event.action))
                if self._late_writer is None:
                    self._late_writer = threading.Thread(target=self._write_late, name="session", daemon=True)
                    self._late_writer.start()
                return
        self._put(self._codec.encode(wait_ms, event.action))

    def _write_late(self) -> None:
        while True:
            with self._lock:
                if not self._late:
                    self._late_writer = None
                    return
                wait_ms, action = self._late.popleft()
            if not self._file.closed:
                self._put(self._codec.encode(wait_ms, action))

    def _put(self, line: dict | list | str) -> None:
        try:
            data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._owed.set()
        except OSError as error:
            self.error = f"the session log stopped: {error.strerror}"
            self._end()

    def _sync(self) -> None:
        """Flush to the disk once a second, on a thread."""
        while not self._ended.wait(SYNC_EVERY_S):
            if self._owed.is_set():
                self._owed.clear()
                with contextlib.suppress(OSError, ValueError):  # fsync not supported, or file closed
                    os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write the late events and close the file. Idempotent."""
        writer = self._late_writer
        if writer is not None:
            writer.join(CLOSE_S)
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self._syncer.join(SYNC_EVERY_S)
        with contextlib.suppress(OSError, ValueError):
            os.fsync(self._file.fileno())
        with contextlib.suppress(OSError):
            self._file.close()


def file_bytes(action: Action) -> int:
    """Size of the file that an action carries; 0 for most."""
    match action:
        case Paste(png=data) | OpenDocument(ora=data):
            return len(data)
    return 0


@dataclass
class StrokeLog:
    """A log in memory: header, events with seconds from the start, and the first fault, if any."""

    header: LogHeader
    events: list[Event]
    fault: str = ""
    format: int = FORMAT

    @property
    def seconds(self) -> float:
        return self.events[-1].time_s if self.events else 0.0


def read(path: Path) -> StrokeLog:
    """Read the valid part of a log. Raises InputError if the header is invalid."""
    try:
        lines = open(path, "rb")  # noqa: SIM115 closed below
    except OSError as error:
        raise InputError(f"the session {path} cannot be read: {error.strerror}") from error
    with lines:
        header, version = read_header(path, lines.readline(MAX_LINE_BYTES))
        session = StrokeLog(header, [], format=version)
        try:
            for event in read_events(lines):
                session.events.append(event)
        except ValueError as error:
            session.fault = f"{path}, {error}; the lines before it are used"
    return session


def read_header(path: Path, line: bytes) -> tuple[LogHeader, int]:
    """Parse the header. Returns (header, format version)."""
    try:
        fields = json.loads(line)
        version = fields.pop("flowbrush")
        if isinstance(version, int) and version > FORMAT:
            raise InputError(
                f"{path} has session format {version}; this Flowbrush reads up to {FORMAT}: update it"
            )
        header = LogHeader(**fields)
        sizes = all(isinstance(v, int) and 1 <= v <= 8192 for v in (header.width, header.height))
        kinds = isinstance(header.settings, dict) and isinstance(header.model, str)
        if not sizes or not kinds or version not in range(1, FORMAT + 1):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a Flowbrush session") from error
    return header, version


def read_events(lines) -> Iterator[Event]:
    """Yield events; raises ValueError that names the line of the first fault."""
    codec, now_ms, number = Codec(), 0, 1
    while line := lines.readline(MAX_LINE_BYTES):
        number += 1
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line is cut short")
            wait_ms, action = codec.decode(json.loads(line))
            now_ms += wait_ms
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
        yield Event(action, now_ms / 1000)
