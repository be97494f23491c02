"""Files that a command will write: whether that can be done is told before the work, not after it."""

from __future__ import annotations

from pathlib import Path

from renderer.actions import InputError

FILMS = (".mkv", ".mp4")
LAYOUTS = ("side", "picture", "paper", "window")  # what a film can show


def check_plain(path: Path) -> None:
    """Raise InputError for a device, a pipe or a folder: it would be replaced by a file."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file that can be replaced; name another")


def writable(path: Path | None) -> None:
    """Raise InputError now if the file could not be written at the end. Leaves what is there as it is."""
    if path is None:
        return
    check_plain(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(path.name + ".part")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def check_new(path: Path | None) -> None:
    """Raise InputError where a file of this name is there already: a painting is not replaced in silence."""
    if path is not None and path.exists():
        check_plain(path)
        raise InputError(f"{path} is there already; name another, or remove it first")


def check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise InputError(f"no layout is named {layout!r}; choose {', '.join(LAYOUTS)}")


def check_film(path: Path | None, layout: str) -> None:
    """Raise InputError for a film that cannot be made: a name with another suffix, an unknown layout."""
    check_layout(layout)
    if path is not None and path.suffix.lower() not in FILMS:
        raise InputError(f"{path} must end in {' or '.join(FILMS)}")
    writable(path)
