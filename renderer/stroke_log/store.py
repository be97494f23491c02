"""The folder in which stroke logs are stored: bounded in size, and searched for logs that a crash left.

A log that is being written ends in `.open` and is locked; when it is closed it is renamed without that
ending. So a log that ends in `.open` and is not locked was left by a crash.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from platformdirs import user_data_dir

from assets import ASSETS
from renderer.actions import Event, InputError
from renderer.stroke_log.log import LogHeader, LogWriter

SAMPLES = ASSETS / "sessions"
SUFFIX, OPEN = ".jsonl", ".jsonl.open"
DATA_VARIABLE = "FLOWBRUSH_DATA"  # environment variable: another data folder
LOCKED_BYTE = 1 << 40  # far behind the end: Windows forbids reading what is locked


def data_folder() -> Path:
    return Path(os.environ.get(DATA_VARIABLE) or user_data_dir("flowbrush", appauthor=False))


class LogStore:
    """A folder of stroke logs."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or data_folder() / "sessions"

    def logs(self) -> list[Path]:
        """All logs, the oldest first."""
        with suppress(OSError):
            found = [path for path in self.folder.iterdir() if path.name.endswith((SUFFIX, OPEN))]
            return sorted((path for path in found if path.is_file()), key=lambda path: path.stat().st_mtime)
        return []

    def crashed(self) -> list[Path]:
        """Logs that a crash left, the oldest first."""
        return [path for path in self.logs() if path.name.endswith(OPEN) and not locked(path)]

    def find(self, name: str) -> Path | None:
        """The log with the name that `sessions` prints, or None."""
        return next((path for path in self.logs() if log_name(path) == name), None)

    def begin(self, header: LogHeader) -> StoredLog:
        stem = time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}"
        return StoredLog(self.folder / (stem + OPEN), header)

    def prune(self, most_bytes: float) -> None:
        """Remove the oldest logs until the rest fits. Open ones, and the last that a crash left, are kept."""
        kept = self.crashed()[-1:]
        logs = [(path, path.stat().st_size) for path in self.logs()]
        too_many = sum(size for _, size in logs) - most_bytes
        for path, size in logs:
            if too_many <= 0:
                return
            if path in kept or (path.name.endswith(OPEN) and locked(path)):
                continue
            with suppress(OSError):
                path.unlink()
                too_many -= size

    def close(self) -> None:
        """Logs that crashes left are no longer offered; they stay in the folder."""
        for path in self.crashed():
            mark_closed(path)


class StoredLog:
    """A log in the store. Its file is created with the first event, so that a run without one leaves none."""

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
            mark_closed(self.path)
            self._writer = None


def log_name(path: Path) -> str:
    return path.name.removesuffix(".open").removesuffix(SUFFIX)


def mark_closed(path: Path) -> None:
    """Rename an open log to one that is closed."""
    with suppress(OSError):
        os.replace(path, path.with_name(path.name.removesuffix(".open")))


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed or the process ends; False if it is locked already."""
    if sys.platform == "win32":
        import msvcrt

        try:
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_END)
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def locked(path: Path) -> bool:
    """Whether a process, this one too, is writing the log."""
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
