"""Output files: paths are checked before the work starts, and files are written atomically.

Files that this run did not write are replaced only with --overwrite.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from renderer.actions import InputError

FILMS = (".mkv", ".mp4")
LAYOUTS = ("side", "picture", "paper", "window")  # layouts of an exported video
_written: set[Path] = set()  # files written by this run
_reserved: set[Path] = set()


def check_plain(path: Path) -> None:
    """Raise InputError if the path is a device, pipe or folder, which a file would replace."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file that can be replaced; name another")


def check_free(path: Path, *, overwrite: bool = False) -> None:
    """Raise InputError if a file exists that this run did not write, unless overwriting is allowed."""
    check_plain(path)
    if path.exists() and not overwrite and path.resolve() not in _written:
        raise InputError(f"{path} is there already; name another, or add --overwrite")


def writable(path: Path | None, *, overwrite: bool = False) -> None:
    """Raise InputError early if the file could not be written later. Existing files are not changed."""
    if path is None:
        return
    check_free(path, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = part_of(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def part_of(path: Path) -> Path:
    """Temporary path to which a file is written before it is renamed."""
    return path.with_name(path.name + ".part")


def write_whole(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file through a temporary file, which is removed on failure. Raises InputError."""
    check_free(path, overwrite=overwrite)
    temporary = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    wrote(path)


def wrote(path: Path) -> None:
    """Record that this run wrote the file, so that it may overwrite it."""
    _written.add(path.resolve())


def reserve(folder: Path, name: str, endings: list[str]) -> list[Path]:
    """Reserve paths for files that belong together, such as NAME.png and NAME-paper.png.

    If one of them exists, a number is added to the name. A path is reserved only once in a run, so that
    files that are still being written are not replaced.
    """
    number, stem = 2, name
    while any((folder / (stem + end)).exists() or (folder / (stem + end)) in _reserved for end in endings):
        stem, number = f"{name}-{number}", number + 1
    made = [folder / (stem + end) for end in endings]
    _reserved.update(made)
    return made


def free_path(path: Path) -> Path:
    """The path itself, or with a number before its suffix if the file exists."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return free


def check_new(path: Path | None) -> None:
    """Raise InputError if the file exists, so that a painting is not overwritten silently."""
    if path is not None and path.exists():
        check_plain(path)
        raise InputError(f"{path} is there already; name another, or remove it first")


def check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise InputError(f"no layout is named {layout!r}; choose {', '.join(LAYOUTS)}")


def check_film(path: Path | None, layout: str, *, overwrite: bool = False) -> None:
    """Raise InputError for a video with an unsupported suffix or an unknown layout."""
    check_layout(layout)
    if path is not None and path.suffix.lower() not in FILMS:
        raise InputError(f"{path} must end in {' or '.join(FILMS)}")
    writable(path, overwrite=overwrite)
