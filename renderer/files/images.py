"""Decode image files to upright sRGB arrays with alpha, through Pillow.

Pillow is imported at first use: the import takes 45 ms and is not needed at startup.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import cv2
import numpy as np

from models.api import MAX_SIZE_PX, MIN_SIZE_PX, SIZE_MULTIPLE_PX, ModelError, check_size
from renderer.actions import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_IMAGE_PIXELS = 64_000_000  # checked before decoding
MAX_SIDE_PX = MAX_SIZE_PX  # larger images are shrunk when decoded; no canvas is larger
LEAST_ALPHA = 3  # of 255; fainter pixels are invisible and count as unpainted
STRETCH = 0.05  # aspect ratios that differ by less are stretched instead of padded
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PSD", "PPM")


def decode(data: bytes) -> np.ndarray:
    """Decode the bytes of an image file to (H, W, 4) uint8 RGBA, longest side at most MAX_SIDE_PX.

    Raises InputError for other data, and before decoding for images of over MAX_IMAGE_PIXELS.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of Pillow's own size limit and of odd metadata
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            check_pixels(*image.size)
            image.draft(
                None, (MAX_SIDE_PX, MAX_SIDE_PX)
            )  # a JPEG is decoded at half the size where that is enough
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("L", "LA", "RGB", "RGBA", "CMYK") and "transparency" not in upright.info:
                upright = shrunk(upright)  # before conversion: 64 megapixels of RGBA take 256 MB
            array = np.array(shrunk(to_rgba(upright, image.info.get("icc_profile"))))
    except InputError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise InputError(
            f"this image is over {MAX_IMAGE_PIXELS / 1e6:.0f} megapixels; make it smaller first"
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(
            "this file is not an image that can be read; use PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF or PSD"
        ) from error
    except Exception as error:  # a damaged file raises OSError, SyntaxError, struct.error and others
        raise InputError(f"this image is damaged and cannot be read: {error}") from error
    array[array[..., 3] < LEAST_ALPHA] = 0
    return array


def check_pixels(width: int, height: int) -> None:
    """Raise InputError for an image of over MAX_IMAGE_PIXELS."""
    if width * height > MAX_IMAGE_PIXELS:
        raise InputError(
            f"this image is {width}x{height}, over {MAX_IMAGE_PIXELS / 1e6:.0f} megapixels; "
            "make it smaller first"
        )


def to_rgba(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image of any mode to sRGB RGBA; unusable colour profiles are ignored."""
    from PIL import Image, ImageCms

    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        levels = np.clip(np.asarray(image, np.float32) / 257, 0, 255)
        image = Image.fromarray(np.rint(levels).astype(np.uint8))
    elif image.mode == "F":
        levels = np.clip(np.asarray(image, np.float32), 0, 1) * 255
        image = Image.fromarray(np.rint(levels).astype(np.uint8))
    if image.mode in ("P", "PA", "1"):
        image = image.convert("RGBA")  # keeps the transparency of palette entries
    alpha = image.convert("RGBA").getchannel("A") if has_alpha(image) else None
    color = image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if getattr(source.profile, "xcolor_space", "").strip() == "GRAY":
                color = color.convert("L")
            elif color.mode == "L":
                color = color.convert("RGB")
            converted = ImageCms.profileToProfile(
                color, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            color = converted or color
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    color = color.convert("RGB")
    if alpha is not None:
        color.putalpha(alpha)
        return color
    return color.convert("RGBA")


def has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "La", "RGBa") or "transparency" in image.info


def shrunk(image: Image.Image) -> Image.Image:
    """Shrink an image to at most MAX_SIDE_PX on its longest side."""
    if max(image.size) > MAX_SIDE_PX:
        image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), reducing_gap=2.0)
    return image


def fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale (H, W, 4) uint8 to fit into width x height without cropping, centred, with blank margins."""
    rows, columns = image.shape[:2]
    if (columns, rows) == (width, height):
        return image
    scale = min(width / columns, height / rows)
    inner = max(1, round(columns * scale)), max(1, round(rows * scale))
    if inner[0] >= width * (1 - STRETCH) and inner[1] >= height * (1 - STRETCH):
        return resized(image, (width, height))
    made = np.zeros((height, width, 4), np.uint8)
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    made[y : y + inner[1], x : x + inner[0]] = resized(image, inner)
    return made


def fit_labels(labels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale (H, W) uint8 materials as `fit` scales pixels, with nearest-neighbour sampling."""
    rows, columns = labels.shape
    if (columns, rows) == (width, height):
        return labels
    scale = min(width / columns, height / rows)
    inner = max(1, round(columns * scale)), max(1, round(rows * scale))
    if inner[0] >= width * (1 - STRETCH) and inner[1] >= height * (1 - STRETCH):
        inner = width, height
    made = np.zeros((height, width), np.uint8)
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    made[y : y + inner[1], x : x + inner[0]] = cv2.resize(labels, inner, interpolation=cv2.INTER_NEAREST)
    return made


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, 4) uint8 to (width, height); colours of transparent pixels do not bleed."""
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    weights = image[..., 3:].astype(np.float32) * (1 / 255)
    alpha = cv2.resize(weights, size, interpolation=how)
    paint = cv2.resize(image[..., :3] * weights, size, interpolation=how) / np.maximum(alpha, 1e-3)[..., None]
    made = np.clip(np.rint(np.dstack((paint, alpha * 255))), 0, 255).astype(np.uint8)
    made[made[..., 3] < LEAST_ALPHA] = 0
    return made


def nearest_size(width: int, height: int) -> tuple[int, int]:
    """Canvas size (width, height) for an image: its own size if valid, otherwise the nearest valid size."""
    try:
        check_size(height, width)
        return width, height
    except ModelError:
        scale = max(1.0, MIN_SIZE_PX / min(width, height))
        scale = min(scale, MAX_SIZE_PX / max(width, height))
        sides = (round(side * scale / SIZE_MULTIPLE_PX) * SIZE_MULTIPLE_PX for side in (width, height))
        wide, high = (min(MAX_SIZE_PX, max(MIN_SIZE_PX, side)) for side in sides)
        return wide, high


def read_labels(data: bytes) -> np.ndarray:
    """Decode a label file of one 8-bit channel to (H, W) uint8. Raises InputError for other files."""
    from PIL import Image

    from models.api import MATERIALS

    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "TIFF", "BMP"))
        check_pixels(*image.size)
        labels = np.array(image)
    except InputError:
        raise
    except Exception as error:
        raise InputError("the materials are not an image that can be read; use an 8-bit PNG") from error
    if image.mode not in ("L", "P") or labels.dtype != np.uint8 or labels.ndim != 2:
        raise InputError(f"the materials must be one channel of 8 bits, not {image.mode}")
    if labels.max(initial=0) > len(MATERIALS):
        names = ", ".join(f"{number} {material.name}" for number, material in enumerate(MATERIALS, 1))
        raise InputError(f"the materials hold {labels.max()}; known are 0 unknown, {names}")
    return labels
