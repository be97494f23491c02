"""PNG files with embedded settings, stored as text that `render` reads back."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np

from renderer.actions import InputError
from renderer.files.outputs import write_whole

KEYWORD = "flowbrush"
MATERIALS_CHUNK = b"fbMt"  # ancillary, private: a PNG of the materials; other programs ignore it
COMPRESSION = 1  # zlib level; higher levels take several times as long to save a tenth of the size
MAX_FILE_BYTES = 512 << 20
MAX_TEXT_BYTES = 1 << 20
IEND_BYTES = 12  # size of the chunk that ends a PNG


def png_bytes(pixels: np.ndarray, about: dict | None = None, materials: np.ndarray | None = None) -> bytes:
    """Encode (H, W), (H, W, 3) or (H, W, 4) uint8 as PNG, with `about` as JSON in an iTXt chunk.

    materials: (H, W) uint8 of a canvas, stored in a separate chunk.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if about is not None:
        info.add_itxt(KEYWORD, json.dumps(about, sort_keys=True))
    if materials is not None:
        info.add(MATERIALS_CHUNK, png_bytes(materials))
    made = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(made, "PNG", compress_level=COMPRESSION, pnginfo=info)
    return made.getvalue()


def with_about(data: bytes, about: dict) -> bytes:
    """Add `about` to the PNG as another iTXt chunk (PNG specification, 11.3.4.5)."""
    body = b"iTXt" + KEYWORD.encode() + b"\0\0\0\0\0" + json.dumps(about, sort_keys=True).encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:-IEND_BYTES] + chunk + data[-IEND_BYTES:]


def write_png(
    path: Path,
    pixels: np.ndarray,
    about: dict | None = None,
    *,
    materials: np.ndarray | None = None,
    overwrite: bool = False,
) -> None:
    """Write a PNG made by `png_bytes` atomically.

    Raises InputError if it cannot be written or would replace a file that this run did not write.
    """
    write_whole(path, png_bytes(pixels, about, materials), overwrite=overwrite)


def read_about(data: bytes) -> dict:
    """Read the settings embedded in a PNG's bytes; empty if there are none."""
    from PIL import Image, PngImagePlugin

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("PNG",))
            if not isinstance(image, PngImagePlugin.PngImageFile):
                return {}
            text = image.info.get(KEYWORD) or image.text.get(KEYWORD, "")
        found = json.loads(text) if isinstance(text, str) and len(text) <= MAX_TEXT_BYTES else {}
    except Exception:  # not a PNG, or damaged: decoding the pixels reports that
        return {}
    return found if isinstance(found, dict) else {}


def read_materials(data: bytes) -> np.ndarray | None:
    """Read the materials (H, W) uint8 embedded in a saved canvas; None if there are none or unreadable."""
    from PIL import Image

    from renderer.files.images import read_labels

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("PNG",))
        chunks = dict(getattr(image, "private_chunks", []))
        return read_labels(chunks[MATERIALS_CHUNK]) if MATERIALS_CHUNK in chunks else None
    except Exception:  # not a PNG, or damaged
        return None


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises InputError with a one-line message if it cannot be read."""
    if path.exists() and not path.is_file():  # reading a device or pipe may never end
        raise InputError(f"{path} cannot be read: it is no file")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} is over {MAX_FILE_BYTES >> 20} MiB; make it smaller first")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
