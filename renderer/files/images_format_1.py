"""Image decoding and fitting of stroke log format 1, so that those logs replay byte for byte."""

from __future__ import annotations

import cv2
import numpy as np

from renderer.actions import InputError
from renderer.files.images import MAX_IMAGE_PIXELS, check_pixels


def decode_format_1(data: bytes) -> np.ndarray:
    """Decode the bytes of an image file to (H, W, 4) uint8 RGBA with OpenCV: not rotated, not in sRGB."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:
        raise InputError(f"this image is over {MAX_IMAGE_PIXELS / 1e6:.0f} megapixels") from error
    if image is None:
        raise InputError("this file is not an image that can be read")
    check_pixels(image.shape[1], image.shape[0])
    if image.dtype != np.uint8:
        top = 65535 if image.dtype == np.uint16 else 1.0
        image = np.rint(np.clip(image / top, 0, 1) * 255).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] <= 2:
        gray, alpha = image[..., :1], image[..., 1:]
        image = np.concatenate((gray, gray, gray, alpha), 2)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    image[image[..., 3] == 0] = 0
    return image


def fit_format_1(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale an image to cover width x height and crop it centrally.

    An image so long that scaling would exceed MAX_IMAGE_PIXELS is cropped first; it could never be opened.
    """
    rows, columns = image.shape[:2]
    if (columns, rows) == (width, height):
        return image
    scale = max(width / columns, height / rows)
    if columns * scale * rows * scale > MAX_IMAGE_PIXELS:
        wide, high = max(1, round(width / scale)), max(1, round(height / scale))
        x, y = (columns - wide) // 2, (rows - high) // 2
        image = image[y : y + high, x : x + wide]
        rows, columns = image.shape[:2]
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    weights = image[..., 3:].astype(np.float32) * (1 / 255)
    alpha = cv2.resize(weights, size, interpolation=how)
    paint = cv2.resize(image[..., :3] * weights, size, interpolation=how) / np.maximum(alpha, 1e-3)[..., None]
    image = np.clip(np.rint(np.dstack((paint, alpha * 255))), 0, 255).astype(np.uint8)
    image[image[..., 3] == 0] = 0
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    return image[y : y + height, x : x + width]
