"""Save canvases and pictures: OpenRaster with layers, PNG with embedded settings, JPEG, WebP."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from renderer.actions import InputError
from renderer.canvas.canvas import Canvas
from renderer.canvas.open_raster import document_bytes
from renderer.files.outputs import write_whole
from renderer.files.png import png_bytes

PAPERS = (".ora", ".png")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
QUALITY = 92


def check_paper_output(path: Path | None) -> None:
    """Raise InputError for a file name to which a canvas cannot be saved."""
    if path is not None and path.suffix.lower() not in PAPERS:
        raise InputError(f"{path} must end in {' or '.join(PAPERS)}")


def write_paper(path: Path, canvas: Canvas, about: dict, *, overwrite: bool = False) -> None:
    """Save the canvas with materials and settings: .ora with all layers, .png flattened. Raises InputError.

    about: the settings, including "model".
    """
    check_paper_output(path)
    if path.suffix.lower() == ".ora":
        data = document_bytes(canvas.stack, about)
    else:
        data = png_bytes(canvas.pixels, about, canvas.materials)
    write_whole(path, data, overwrite=overwrite)


def write_picture(
    path: Path, pixels: np.ndarray, about: dict | None = None, *, overwrite: bool = False
) -> None:
    """Save (H, W, 3) or (H, W, 4) uint8; the suffix selects the format. Only PNG stores `about`.

    Raises InputError.
    """
    from PIL import Image

    suffix = path.suffix.lower()
    if suffix not in PICTURES:
        raise InputError(f"{path} must end in {', '.join(PICTURES)}")
    if suffix == ".png":
        data = png_bytes(pixels, about)
    else:
        made = io.BytesIO()
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if suffix == ".webp":
            image.save(made, "WEBP", quality=QUALITY)
        else:
            image.convert("RGB").save(made, "JPEG", quality=QUALITY)
        data = made.getvalue()
    write_whole(path, data, overwrite=overwrite)
