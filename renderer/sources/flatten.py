"""Colour flattening: reduce a source picture to flat colours, which models trained on strokes expect."""

from __future__ import annotations

import functools
from typing import Literal

import cv2
import numpy as np

from models.api import MATERIALS, Rect
from renderer.actions import InputError

Flatten = Literal["off", "colors", "materials"]
FLATTENS: tuple[Flatten, ...] = ("off", "colors", "materials")
REACH_PX = 20  # a source pixel affects the result only up to this distance
ALIGN_PX = 4  # blocks are aligned to this grid, so that a part equals the same part of the whole
LIGHTNESS_STEP, CHROMA_STEP = 28.0, 26.0  # spacing of the colour grid in Lab, OpenCV's 8-bit scale
BITS = 5  # bits per channel in the table from colour to flat colour


def checked_flatten(text: str) -> Flatten:
    """Check the name of a mode. Raises InputError."""
    for mode in FLATTENS:
        if mode == text:
            return mode
    raise InputError(f"flat colours are one of {', '.join(FLATTENS)}, not {text!r}")


def flatten(rgb: np.ndarray, mode: Flatten) -> tuple[np.ndarray, np.ndarray | None]:
    """Flatten (H, W, 3) uint8. Returns (flat colours, (H, W) uint8 materials as in Request, or None).

    Mode colors: nearest colour of a grid in Lab. Mode materials: nearest palette colour, and its material.

    First smoothed at half size by edge-preserving median and bilateral filters (Tomasi and Manduchi 1998).
    """
    if mode == "off":
        return rgb, None
    height, width = rgb.shape[:2]
    half = (max(1, width // 2), max(1, height // 2))
    small = cv2.resize(rgb, half, interpolation=cv2.INTER_AREA)
    small = cv2.bilateralFilter(cv2.medianBlur(small, 3), 5, 32, 3)
    code = np.asarray(small).astype(np.uint16) >> (8 - BITS)
    code = (code[..., 0] << (2 * BITS)) | (code[..., 1] << BITS) | code[..., 2]
    table, colors = grid_colors() if mode == "colors" else (nearest_materials(), palette())
    labels = cv2.resize(table[code], (width, height), interpolation=cv2.INTER_NEAREST)
    labels = np.asarray(cv2.medianBlur(labels, 5))
    flat = colors[labels.astype(np.intp)]
    return flat, (labels + 1).astype(np.uint8) if mode == "materials" else None


def flatten_part(rgb: np.ndarray, box: Rect, mode: Flatten) -> tuple[np.ndarray, np.ndarray | None, Rect]:
    """Recompute the flat picture after a change inside `box`: (pixels, materials, their place).

    The result equals that part of the whole flat picture.
    """
    whole = Rect(0, 0, rgb.shape[1], rgb.shape[0])
    reached = aligned(box.grow(REACH_PX), whole)
    seen = aligned(reached.grow(REACH_PX), whole)
    flat, labels = flatten(rgb[seen.slices], mode)
    inside = Rect(reached.x0 - seen.x0, reached.y0 - seen.y0, reached.x1 - seen.x0, reached.y1 - seen.y0)
    return flat[inside.slices], None if labels is None else labels[inside.slices], reached


def aligned(box: Rect, whole: Rect) -> Rect:
    """Expand the box to the grid of ALIGN_PX, within the picture."""
    x0, y0 = box.x0 // ALIGN_PX * ALIGN_PX, box.y0 // ALIGN_PX * ALIGN_PX
    x1, y1 = -(-box.x1 // ALIGN_PX) * ALIGN_PX, -(-box.y1 // ALIGN_PX) * ALIGN_PX
    return Rect(x0, y0, x1, y1).intersect(whole)


def table_colors() -> np.ndarray:
    """Colours at the cell centres of the table, (1, 2 ** 15, 3) uint8 RGB."""
    levels = (np.arange(1 << BITS) * 2 + 1) * (256 >> BITS) // 2
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1)
    return grid.reshape(1, -1, 3).astype(np.uint8)


@functools.lru_cache
def grid_colors() -> tuple[np.ndarray, np.ndarray]:
    """(label of each table colour, (2 ** 15,) uint16; colour of each label on a grid in Lab, (n, 3) uint8).

    Labels increase with lightness, so that a median of labels is a colour between its neighbours.
    """
    lab = cv2.cvtColor(table_colors(), cv2.COLOR_RGB2LAB).astype(np.float32)
    steps = np.array((LIGHTNESS_STEP, CHROMA_STEP, CHROMA_STEP), np.float32)
    middle = np.array((128, 128, 128), np.float32)
    snapped = np.clip(np.rint((lab - middle) / steps) * steps + middle, 0, 255).astype(np.uint8)
    found, labels = np.unique(snapped[0], axis=0, return_inverse=True)
    return labels.reshape(-1).astype(np.uint16), cv2.cvtColor(found[None], cv2.COLOR_LAB2RGB)[0]


@functools.lru_cache
def nearest_materials() -> np.ndarray:
    """Index in MATERIALS of the nearest colour in Lab for each table colour, (2 ** 15,) uint8."""
    lab = cv2.cvtColor(table_colors(), cv2.COLOR_RGB2LAB)[0].astype(np.float32)
    named = cv2.cvtColor(palette()[None], cv2.COLOR_RGB2LAB)[0].astype(np.float32)
    apart = ((lab[:, None] - named[None]) ** 2).sum(-1)
    return apart.argmin(-1).astype(np.uint8)


@functools.lru_cache
def palette() -> np.ndarray:
    """Colours of the materials, (len(MATERIALS), 3) uint8 RGB."""
    return np.array([material.color for material in MATERIALS], np.uint8)
