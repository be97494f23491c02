"""Parse `--source`: webcam[:N], screen[:REGION], a URL, a video file, or a folder of pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.api import Rect
from renderer.actions import InputError

Kind = Literal["webcam", "screen", "url", "file", "folder"]
PROTOCOLS = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "tcp", "srt")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
GEOMETRY = re.compile(r"(\d+)x(\d+)(?:\+(\d+)\+(\d+))?")


@dataclass(frozen=True)
class SourceSpec:
    """A parsed source: kind, location, and for a screen its region.

    target: path or URL; "" for cameras and screens. index: number of the camera or monitor. region: part of
    the screen in pixels; empty for the whole monitor.
    """

    kind: Kind
    target: str = ""
    index: int = 0
    region: Rect = Rect()

    @property
    def live(self) -> bool:
        """Whether the source is live: frames arrive in real time, without seeking and without an end."""
        return self.kind in ("webcam", "screen", "url")

    @property
    def name(self) -> str:
        """Short name for messages."""
        if self.kind == "webcam":
            return f"camera {self.index}"
        if self.kind == "screen":
            return "the screen"
        return without_secrets(self.target) if self.kind == "url" else Path(self.target).name


def without_secrets(url: str) -> str:
    """The URL for messages, without user, password and query."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2] or host}{slash}{path.partition('?')[0]}"


def parse_source(text: str) -> SourceSpec:
    """Parse the value of `--source`. Raises InputError for an invalid one."""
    head, colon, rest = text.partition(":")
    if head.lower() == "webcam":
        if colon and not rest.isdecimal():
            raise InputError(f"webcam:{rest} names no camera; write webcam:0, webcam:1, ...")
        return SourceSpec("webcam", index=int(rest or 0))
    if head.lower() == "screen":
        if not colon:
            return SourceSpec("screen", index=1)
        if rest.isdecimal():
            return SourceSpec("screen", index=int(rest))
        return SourceSpec("screen", index=1, region=parse_geometry(rest, "the screen's region"))
    if "://" in text:
        scheme = text.partition("://")[0].lower()
        if scheme not in PROTOCOLS:
            raise InputError(f"{scheme}:// is not a protocol that can be read; use {', '.join(PROTOCOLS)}")
        return SourceSpec("url", text)
    path = Path(text).expanduser()
    if path.is_dir():
        if not pictures_in(path):
            raise InputError(f"there is no picture in {path}; put PNG, JPEG, WebP, BMP or TIFF files there")
        return SourceSpec("folder", str(path))
    if not path.exists():
        raise InputError(
            f"the source {text} is not there; name a video, a folder of pictures, a URL, webcam or screen"
        )
    return SourceSpec("file", str(path))


def parse_geometry(text: str, what: str) -> Rect:
    """Parse WIDTHxHEIGHT+X+Y, or WIDTHxHEIGHT at the top left, to a Rect. Raises InputError."""
    match = GEOMETRY.fullmatch(text)
    if match is None:
        raise InputError(f"{what} must be WIDTHxHEIGHT+X+Y, such as 1280x720+0+0, not {text!r}")
    width, height, x, y = (int(number or 0) for number in match.groups())
    if not width or not height:
        raise InputError(f"{what} is empty: {text}")
    return Rect(x, y, x + width, y + height)


def pictures_in(folder: Path) -> list[Path]:
    """Picture files of a folder in natural order of their names: 2 before 10."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file())
    return sorted(files, key=lambda path: natural(path.name))


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key for natural order, which compares digits as numbers."""
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", name)]
