"""Place an imported image as a new layer, moved, scaled and rotated."""

from __future__ import annotations

import math

import cv2
import numpy as np

from renderer.actions import InputError, LayerEdit, PlaceImage
from renderer.canvas import layer_edits
from renderer.canvas.layers import LayerStack
from renderer.canvas.materials import from_colors
from renderer.canvas.undo import Change
from renderer.files.images import LEAST_ALPHA, decode

SMALLEST, LARGEST = 0.01, 64.0  # allowed scales
NAME = "Image"


def place_image(edit: PlaceImage, stack: LayerStack) -> Change:
    """Add the image as a layer. Returns the change that undoes it.

    Raises InputError for data that is not an image, an invalid scale, or too many layers.
    """
    if not SMALLEST <= edit.scale <= LARGEST or not math.isfinite(edit.x + edit.y + edit.angle):
        raise InputError(f"an image cannot be scaled by {edit.scale}; {SMALLEST} to {LARGEST:.0f} will do")
    image = decode(edit.png)
    add = LayerEdit("add", stack.active, stack.free_name(NAME))
    change = layer_edits.carry_out(add, stack)
    assert change is not None  # adding a layer can always be undone
    layer = stack.layer
    layer.pixels[:] = transformed(image, edit, (stack.whole.width, stack.whole.height))
    layer.materials[:] = from_colors(layer.pixels)
    stack.compose(stack.whole)
    return change


def transformed(image: np.ndarray, edit: PlaceImage, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 4) uint8 of this size (width, height): the image transformed by the edit, blank around it."""
    rows, columns = image.shape[:2]
    scale = edit.scale * min(size[0] / columns, size[1] / rows)
    if scale < 1:  # OpenCV's warp does not average pixels when it shrinks
        inner = max(1, round(columns * scale)), max(1, round(rows * scale))
        premultiplied = cv2.resize(premultiply(image), inner, interpolation=cv2.INTER_AREA)
        rows, columns, scale = inner[1], inner[0], 1.0
    else:
        premultiplied = premultiply(image)
    turn = math.radians(edit.angle)
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    x, y = (columns - 1) / 2, (rows - 1) / 2  # image centre, in pixel-centre coordinates
    matrix = np.array(
        ((cos, -sin, edit.x - 0.5 - cos * x + sin * y), (sin, cos, edit.y - 0.5 - sin * x - cos * y))
    )
    made = cv2.warpAffine(premultiplied, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    alpha = made[..., 3:]
    color = made[..., :3] / np.maximum(alpha, 1e-3)
    whole = np.clip(np.rint(np.dstack((color, alpha * 255))), 0, 255).astype(np.uint8)
    whole[whole[..., 3] < LEAST_ALPHA] = 0
    return whole


def premultiply(image: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 to premultiplied float32, alpha in 0..1, so that blank pixels contribute no colour."""
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.dstack((image[..., :3] * alpha, alpha))
