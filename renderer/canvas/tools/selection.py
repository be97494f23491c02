"""Selection masks: (H, W) uint8, 255 inside. They limit tools and can be combined."""

from __future__ import annotations

import cv2
import numpy as np

from models.api import NOTHING, Rect
from renderer.actions import Select


def selected(edit: Select, before: np.ndarray | None, materials: np.ndarray) -> np.ndarray | None:
    """The selection after an edit; None for no selection, which limits nothing.

    before: (H, W) uint8 or None. materials: (H, W) uint8 of the paper.
    """
    if edit.shape == "none":
        return None
    mask = shape_mask(edit, materials)
    if edit.shape == "all" or edit.mode == "replace":
        return mask
    if edit.mode == "add":
        return mask if before is None else cv2.max(before, mask)
    held = np.full_like(mask, 255) if before is None else before
    return cv2.min(held, ~mask if edit.mode == "subtract" else mask)


def shape_mask(edit: Select, materials: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 of a shape: 255 inside, with an antialiased edge of one pixel for a lasso."""
    mask = np.zeros(materials.shape, np.uint8)
    if edit.shape == "all":
        mask[:] = 255
    elif edit.shape == "material":
        mask[materials == edit.material] = 255
    elif edit.shape == "rectangle" and len(edit.points) == 2:
        (ax, ay), (bx, by) = edit.points
        rows = slice(max(0, round(min(ay, by))), max(0, round(max(ay, by))))
        mask[rows, max(0, round(min(ax, bx))) : max(0, round(max(ax, bx)))] = 255
    elif edit.shape == "lasso" and len(edit.points) > 2:
        corners = np.rint(np.array(edit.points) * 16 - 8).astype(np.int32)  # pixel centres, in 1/16 px
        cv2.fillPoly(mask, [corners], 255, lineType=cv2.LINE_AA, shift=4)
    return mask


def bounded(cover: np.ndarray, selection: np.ndarray | None, box: Rect) -> np.ndarray:
    """Coverage (h, w) uint8 of a tool inside `box`, multiplied by the selection."""
    return cover if selection is None else cv2.multiply(cover, selection[box.slices], scale=1 / 255)


def extent(marked: np.ndarray, box: Rect = NOTHING) -> Rect:
    """Bounding Rect of the nonzero pixels of an (h, w) uint8 array. box: position of the array."""
    x, y, width, height = cv2.boundingRect(marked)
    return Rect(box.x0 + x, box.y0 + y, box.x0 + x + width, box.y0 + y + height) if width else NOTHING


def shifted(mask: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """An array (H, W) or (H, W, C) shifted by whole pixels, filled with 0."""
    made = np.zeros_like(mask)
    height, width = mask.shape[:2]
    if abs(dx) < width and abs(dy) < height:
        made[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = mask[
            max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
        ]
    return made
