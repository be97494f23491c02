"""An image file, saved paper or OpenRaster file -> the edit that lays it on the canvas, decoded already.

Takes up to a second for large files: call it on a thread.
"""

from __future__ import annotations

import numpy as np

from renderer.actions import OpenDocument, Paste
from renderer.canvas.materials import from_colors
from renderer.canvas.open_raster import is_open_raster, read_document
from renderer.files.images import decode, fit, fit_labels, nearest_size
from renderer.files.png import read_about, read_materials


def read_import(data: bytes, size: tuple[int, int]) -> tuple[Paste | OpenDocument, dict]:
    """(the edit for a canvas of this size (width, height), the settings inside the file, if any).

    Raises InputError for what cannot be read.
    """
    if is_open_raster(data):
        document = read_document(data, size)
        return OpenDocument(data, document.stack), document.about
    pixels, materials = decode_paper(data, size)
    return Paste(data, pixels, materials), read_about(data)


def decode_paper(data: bytes, size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W, 4) and materials (H, W), both uint8, of an image file at this size, by default at
    its own or the nearest that a paper can have.

    The materials are those inside a saved paper, else those of exact palette colours.
    """
    image = decode(data)
    held = read_materials(data)
    labels = held if held is not None and held.shape == image.shape[:2] else from_colors(image)
    width, height = size or nearest_size(image.shape[1], image.shape[0])
    pixels = np.ascontiguousarray(fit(image, width, height))
    return pixels, np.ascontiguousarray(fit_labels(labels, width, height) * (pixels[..., 3] > 0))
