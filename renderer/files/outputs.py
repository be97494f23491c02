"""Files that a command or key writes: checked before the work, written whole or not at all.

No file is replaced that this run did not write, unless --overwrite says so.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from renderer.actions import InputError

FILMS = (".mkv", ".mp4")
LAYOUTS = ("side", "picture", "paper", "window")  # what a film can show
_written: set[Path] = set()  # by this run
_reserved: set[Path] = set()


def check_plain(path: Path) -> None:
    """Raise InputError for a device, a pipe or a folder: it would be replaced by a file."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file that can be replaced; name another")


def check_free(path: Path, *, overwrite: bool = False) -> None:
    """Raise InputError where a file is there that this run did not write, unless it may be replaced."""
    check_plain(path)
    if path.exists() and not overwrite and path.resolve() not in _written:
        raise InputError(f"{path} is there already; name another, or add --overwrite")


def writable(path: Path | None, *, overwrite: bool = False) -> None:
    """Raise InputError now if the file could not be written at the end. Leaves what is there as it is."""
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
    """Where a file is written before it gets its name."""
    return path.with_name(path.name + ".part")


def write_whole(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file by way of a temporary one, which is removed where that fails. Raises InputError."""
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
    """Remember that this run wrote the file, so that it may write it again."""
    _written.add(path.resolve())


def reserve(folder: Path, name: str, endings: list[str]) -> list[Path]:
    """Paths of files that belong together, as NAME.png and NAME-paper.png; a number where one is taken.

    They are not given again in this run, so that files being written are not replaced either.
    """
    number, stem = 2, name
    while any((folder / (stem + end)).exists() or (folder / (stem + end)) in _reserved for end in endings):
        stem, number = f"{name}-{number}", number + 1
    made = [folder / (stem + end) for end in endings]
    _reserved.update(made)
    return made


def free_path(path: Path) -> Path:
    """The path, or with a number before its suffix where a file of that name is there."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return free


def check_new(path: Path | None) -> None:
    """Raise InputError where a file of this name is there already: a painting is not replaced in silence."""
    if path is not None and path.exists():
        check_plain(path)
        raise InputError(f"{path} is there already; name another, or remove it first")


def check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise InputError(f"no layout is named {layout!r}; choose {', '.join(LAYOUTS)}")


def check_film(path: Path | None, layout: str, *, overwrite: bool = False) -> None:
    """Raise InputError for a film that cannot be made: a name with another suffix, an unknown layout."""
    check_layout(layout)
    if path is not None and path.suffix.lower() not in FILMS:
        raise InputError(f"{path} must end in {' or '.join(FILMS)}")
    writable(path, overwrite=overwrite)
