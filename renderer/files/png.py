"""PNG files with the settings inside, as text that `render` reads back."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from renderer.actions import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = b"flowbrush"
MAX_FILE_BYTES = 512 << 20
MAX_TEXT_BYTES = 1 << 20


def write_png(path: Path, pixels: np.ndarray, about: dict | None = None) -> None:
    """Write (H, W, 3) or (H, W, 4) uint8 with `about` as an iTXt chunk, by way of a temporary file.

    Raises InputError where the folder cannot be written.
    """
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(pixels), order))[1].tobytes()
    if about is not None:
        data = data[:-12] + chunk(about) + data[-12:]  # before IEND, which is 12 bytes
    temporary = path.with_name(path.name + ".part")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file that can be replaced; name another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def chunk(about: dict) -> bytes:
    """An iTXt chunk (PNG specification, 11.3.4.5): keyword, no compression, no language, UTF-8 text."""
    body = b"iTXt" + KEYWORD + b"\0\0\0\0\0" + json.dumps(about, sort_keys=True).encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def read_about(data: bytes) -> dict:
    """The settings inside a PNG's bytes; empty where there are none."""
    if not data.startswith(SIGNATURE):
        return {}
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind == b"iTXt" and body.startswith(KEYWORD + b"\0") and length <= MAX_TEXT_BYTES:
            try:
                found = json.loads(body.split(b"\0", 5)[-1])
            except ValueError:
                return {}
            return found if isinstance(found, dict) else {}
        at += 12 + length
    return {}


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises InputError in one line where that cannot be."""
    if path.exists() and not path.is_file():  # a device or a pipe may never end
        raise InputError(f"{path} cannot be read: it is no file")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} is over {MAX_FILE_BYTES >> 20} MiB; make it smaller first")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
