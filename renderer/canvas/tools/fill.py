"""Flood fill that leaves no ring at the soft edge of a stroke."""

from __future__ import annotations

import cv2
import numpy as np

from models.api import NOTHING, Rect
from renderer.canvas.tools.selection import extent

SEAM_PX = 2  # a fill reaches so far under what it meets,
SOFTEST_PX = 150  # and up its soft edge, which is no wider


def flood_fill(
    pixels: np.ndarray,
    seed: tuple[int, int],
    *,
    color: tuple[int, int, int],
    tolerance: int,
    within: np.ndarray | None = None,
) -> tuple[Rect, np.ndarray]:
    """Fill the region of alike pixels around a seed (x, y), in place. Returns the Rect that changed, and
    (h, w) bool: where in it the fill's colour has the larger share.

    pixels: (H, W, 4) uint8. tolerance: 0..255, the largest difference in any channel that is still alike.
    within: (H, W) uint8 selection; where it is under 128 nothing is filled.
    """
    x, y = seed
    difference = np.abs(pixels.astype(np.int16) - pixels[y, x].astype(np.int16))
    if not pixels[y, x, 3]:
        difference = difference[..., 3:]  # blank paper has no colour
    alike = (difference.max(-1) <= tolerance).astype(np.uint8)
    if within is not None:
        alike &= within >= 128
        if not alike[y, x]:
            return NOTHING, np.zeros((0, 0), bool)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=4)
    number = regions[y, x]
    left, top, width, height = (int(v) for v in stats[number][:4])
    whole = Rect(0, 0, pixels.shape[1], pixels.shape[0])
    near = Rect(left, top, left + width, top + height).grow(SOFTEST_PX).intersect(whole)
    part = pixels[near.slices]
    inside = (regions[near.slices] == number).astype(np.uint8)
    under, reach = climb(inside, part[..., 3])
    if within is not None:
        under &= (within[near.slices] >= 128).astype(np.uint8)
    box = extent(under, near)
    seam = (under > inside) & (part[..., 3] < 255) & (part[..., 3] > 0)
    crest = cv2.dilate(part[..., 3], np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    mostly = inside > 0
    mostly[seam] = part[seam][:, 3] < 128
    part[seam] = laid_under(part[seam], crest[seam], color)
    part[inside > 0] = (*color, 255)
    inner = Rect(box.x0 - near.x0, box.y0 - near.y0, box.x1 - near.x0, box.y1 - near.y0)
    return box, mostly[inner.slices]


def climb(inside: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, int]:
    """(h, w) uint8 region of ones, widened by a seam and by what rises from it: the soft edge of a stroke.

    Returns it and by how many pixels it grew.
    """
    near = np.ones((3, 3), np.uint8)
    wide = cv2.dilate(inside, np.ones((2 * SEAM_PX + 1, 2 * SEAM_PX + 1), np.uint8))
    reach = SEAM_PX
    while reach < SEAM_PX + SOFTEST_PX:
        lowest = cv2.erode(cv2.max(alpha, 255 * (1 - wide)), near)  # of the neighbours within
        wider = cv2.max(wide, ((alpha > lowest) & (alpha < 255)).view(np.uint8))
        if np.array_equal(wider, wide):
            break
        wide, reach = wider, reach + 1
    return wide, reach


def laid_under(paint: np.ndarray, crest: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """(n, 4) uint8 edge of a stroke -> the same over an opaque colour.

    crest: (n,) uint8 alpha of the stroke within its edge, which stays as it is: thin paint over blank paper.
    """
    alpha, full = paint[:, 3:].astype(np.float32) / 255, crest[:, None].astype(np.float32) / 255
    free = 1 - alpha / full
    total = free + alpha
    mixed = (np.array(color, np.float32) * free + paint[:, :3] * alpha) / total
    return np.rint(np.concatenate((mixed, 255 * total), 1)).astype(np.uint8)
