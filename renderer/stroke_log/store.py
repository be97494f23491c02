"""Where stroke logs are kept: a folder of the platform's, bounded in size; what a crash left is found there.

A log that is being written ends in `.open` and is locked; it loses that ending when it is closed in order.
So a log that ends in `.open` and that nobody has locked was left by a crash.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from platformdirs import user_data_dir

from assets import ASSETS
from renderer.actions import Event, InputError
from renderer.stroke_log.log import LogHeader, LogWriter

SAMPLES = ASSETS / "sessions"
SUFFIX, OPEN = ".jsonl", ".jsonl.open"
PLACE = "FLOWBRUSH_DATA"  # environment: another data folder
LOCKED_BYTE = 1 << 40  # far behind the end: where locks bind, the log can be read all the same


def data_folder() -> Path:
    return Path(os.environ.get(PLACE) or user_data_dir("flowbrush", appauthor=False))


class LogStore:
    """The folder of logs."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or data_folder() / "sessions"

    def logs(self) -> list[Path]:
        """All logs, the oldest first."""
        with suppress(OSError):
            found = [path for path in self.folder.iterdir() if path.name.endswith((SUFFIX, OPEN))]
            return sorted((path for path in found if path.is_file()), key=lambda path: path.stat().st_mtime)
        return []

    def left(self) -> list[Path]:
        """Logs that a crash left, the oldest first."""
        return [path for path in self.logs() if path.name.endswith(OPEN) and not locked(path)]

    def find(self, name: str) -> Path | None:
        """A log by the name that `sessions` prints."""
        return next((path for path in self.logs() if name_of(path) == name), None)

    def begin(self, header: LogHeader) -> StoredLog:
        stem = time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}"
        return StoredLog(self.folder / (stem + OPEN), header)

    def tidy(self, most_bytes: float) -> None:
        """Remove the oldest logs until the rest is no larger; what is open, or was left last, stays."""
        spared = self.left()[-1:]
        logs = [(path, path.stat().st_size) for path in self.logs()]
        too_many = sum(size for _, size in logs) - most_bytes
        for path, size in logs:
            if too_many <= 0:
                return
            if path in spared or (path.name.endswith(OPEN) and locked(path)):
                continue
            with suppress(OSError):
                path.unlink()
                too_many -= size

    def close(self) -> None:
        """What crashes left is no longer offered, but stays among the logs."""
        for path in self.left():
            finish(path)


class StoredLog:
    """A log in the folder. It comes into being with its first event, so that looking around leaves none."""

    def __init__(self, path: Path, header: LogHeader):
        self.path, self.error = path, ""
        self._header = header
        self._writer: LogWriter | None = None

    def write(self, event: Event) -> None:
        """As LogWriter."""
        if self._writer is None:
            try:
                self._writer = LogWriter(self.path, self._header)
            except InputError as error:
                self.error = str(error)
                return
            lock(self._writer.fileno())
        self._writer.write(event)
        self.error = self._writer.error

    def close(self) -> None:
        """Idempotent."""
        if self._writer is not None:
            self._writer.close()
            finish(self.path)
            self._writer = None


def name_of(path: Path) -> str:
    return path.name.removesuffix(".open").removesuffix(SUFFIX)


def finish(path: Path) -> None:
    """Take the ending of an open log off, in one step."""
    with suppress(OSError):
        os.replace(path, path.with_name(path.name.removesuffix(".open")))


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed or the process ends; False where another one has it."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_END)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def locked(path: Path) -> bool:
    """Another process, or this one, is writing the log."""
    try:
        with open(path, "r+b") as file:
            return not lock(file.fileno())
    except OSError:
        return False


def find_log(name: str) -> Path:
    """A stroke log by its file, by its name among the samples, or by the name that `sessions` prints."""
    inside, kept = SAMPLES / f"{name}.jsonl", LogStore().find(name)
    for path in (Path(name), inside, kept):
        if path is not None and path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in SAMPLES.glob("*.jsonl")))
    raise InputError(f"there is no stroke log {name!r}; name a file, one that `sessions` lists, or {known}")
