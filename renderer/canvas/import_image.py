"""Import an image, saved canvas or OpenRaster file as an edit with decoded pixels.

Large files take up to a second, so call it on a worker thread.
"""

from __future__ import annotations

import numpy as np

from renderer.actions import OpenDocument, Paste
from renderer.canvas.materials import from_colors
from renderer.canvas.open_raster import is_open_raster, read_document
from renderer.files.images import decode, fit, fit_labels, nearest_size
from renderer.files.png import read_about, read_materials


def read_import(data: bytes, size: tuple[int, int]) -> tuple[Paste | OpenDocument, dict]:
    """Read a file as an edit for a canvas of this size (width, height).

    Returns the edit and the embedded settings, if any. Raises InputError for a file that cannot be read.
    """
    if is_open_raster(data):
        document = read_document(data, size)
        return OpenDocument(data, document.stack), document.about
    pixels, materials = decode_paper(data, size)
    return Paste(data, pixels, materials), read_about(data)


def decode_paper(data: bytes, size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Decode an image file to pixels (H, W, 4) and materials (H, W), both uint8.

    The default size is the image's own or the nearest valid canvas size. The materials are those embedded
    in a saved canvas, otherwise those of exact palette colours.
    """
    image = decode(data)
    held = read_materials(data)
    labels = held if held is not None and held.shape == image.shape[:2] else from_colors(image)
    width, height = size or nearest_size(image.shape[1], image.shape[0])
    pixels = np.ascontiguousarray(fit(image, width, height))
    return pixels, np.ascontiguousarray(fit_labels(labels, width, height) * (pixels[..., 3] > 0))
