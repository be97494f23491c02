"""Flood fill that leaves no unfilled ring at the soft edge of a stroke."""

from __future__ import annotations

import cv2
import numpy as np

from models.api import NOTHING, Rect
from renderer.canvas.tools.selection import extent

SEAM_PX = 2  # how far a fill extends under adjacent paint
SOFTEST_PX = 150  # widest soft edge under which a fill extends


def flood_fill(
    pixels: np.ndarray,
    seed: tuple[int, int],
    *,
    color: tuple[int, int, int],
    tolerance: int,
    within: np.ndarray | None = None,
) -> tuple[Rect, np.ndarray]:
    """Flood-fill the region of similar pixels around a seed (x, y), in place.

    pixels: (H, W, 4) uint8. tolerance: 0..255, the largest difference in any channel of similar pixels.
    within: (H, W) uint8 selection; pixels below 128 are not filled. Returns the changed Rect, and an (h, w)
    bool array of its pixels in which the fill colour dominates.
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
    """Widen a region, (h, w) uint8 of ones, by a seam and by the soft stroke edge (rising alpha) beyond it.

    Returns the widened region and the number of pixels by which it grew.
    """
    near = np.ones((3, 3), np.uint8)
    wide = cv2.dilate(inside, np.ones((2 * SEAM_PX + 1, 2 * SEAM_PX + 1), np.uint8))
    reach = SEAM_PX
    while reach < SEAM_PX + SOFTEST_PX:
        lowest = cv2.erode(cv2.max(alpha, 255 * (1 - wide)), near)  # of the neighbours in the region
        wider = cv2.max(wide, ((alpha > lowest) & (alpha < 255)).view(np.uint8))
        if np.array_equal(wider, wide):
            break
        wide, reach = wider, reach + 1
    return wide, reach


def laid_under(paint: np.ndarray, crest: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Composite the soft edge of a stroke, (n, 4) uint8, over an opaque colour.

    crest: (n,) uint8 alpha of the stroke inside its edge. That part is not filled: thin paint over blank
    paper stays unchanged.
    """
    alpha, full = paint[:, 3:].astype(np.float32) / 255, crest[:, None].astype(np.float32) / 255
    free = 1 - alpha / full
    total = free + alpha
    mixed = (np.array(color, np.float32) * free + paint[:, :3] * alpha) / total
    return np.rint(np.concatenate((mixed, 255 * total), 1)).astype(np.uint8)
