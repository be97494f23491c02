"""Folder of stroke logs, limited in size; finds logs left by a crash.

The name of a log being written ends in `.open`, and the file is locked. On closing it is renamed without
that suffix. So an unlocked log that ends in `.open` was left by a crash.
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
DATA_VARIABLE = "FLOWBRUSH_DATA"  # environment variable that overrides the data folder
LOCKED_BYTE = 1 << 40  # far beyond the end: Windows forbids reading locked bytes


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
        """Logs left by a crash, the oldest first."""
        return [path for path in self.logs() if path.name.endswith(OPEN) and not locked(path)]

    def find(self, name: str) -> Path | None:
        """The log with a name as printed by `sessions`, or None."""
        return next((path for path in self.logs() if log_name(path) == name), None)

    def begin(self, header: LogHeader) -> StoredLog:
        stem = time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}"
        return StoredLog(self.folder / (stem + OPEN), header)

    def prune(self, most_bytes: float) -> None:
        """Remove the oldest logs until the rest fits. Open logs and the last one left by a crash are kept."""
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
        """Stop offering logs left by crashes; they stay in the folder."""
        for path in self.crashed():
            mark_closed(path)


class StoredLog:
    """A log in the store. Its file is created at the first event; a run without events leaves none."""

    def __init__(self, path: Path, header: LogHeader):
        self.path, self.error = path, ""
        self._header = header
        self._writer: LogWriter | None = None

    def write(self, event: Event) -> None:
        """As LogWriter.write."""
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
        """Close the log and remove its `.open` suffix. Idempotent."""
        if self._writer is not None:
            self._writer.close()
            mark_closed(self.path)
            self._writer = None


def log_name(path: Path) -> str:
    return path.name.removesuffix(".open").removesuffix(SUFFIX)


def mark_closed(path: Path) -> None:
    """Rename a log so that it counts as closed."""
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
    """Whether a process, including this one, is writing the log."""
    try:
        with open(path, "r+b") as file:
            return not lock(file.fileno())
    except OSError:
        return False


def find_log(name: str) -> Path:
    """Find a stroke log by path, by name among the samples, or by a name printed by `sessions`."""
    inside, kept = SAMPLES / f"{name}.jsonl", LogStore().find(name)
    for path in (Path(name), inside, kept):
        if path is not None and path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in SAMPLES.glob("*.jsonl")))
    raise InputError(f"there is no stroke log {name!r}; name a file, one that `sessions` lists, or {known}")
