"""Alpha compositing of strokes onto layers and of layers onto each other. Straight alpha, 8 bits a channel.

A pixel is either unpainted (all zeros) or has an alpha of at least LEAST_ALPHA; fainter paint is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from models.api import Rect
from renderer.actions import Brush

LEAST_ALPHA = 3  # of 255; fainter paint is invisible and counts as unpainted
BAND_PX = 64  # rows composed at once, so that they fit in the CPU cache


class Sheet(NamedTuple):
    """Input of the compositor: one layer's pixels, materials, opacity and blend mode.

    pixels: (H, W, 4) uint8. materials: (H, W) uint8. opacity: 0..1. blend: "normal", "multiply", "screen"
    or "overlay".
    """

    pixels: np.ndarray
    materials: np.ndarray
    opacity: float
    blend: str


def lay_stroke(
    before: np.ndarray,
    before_materials: np.ndarray,
    cover: np.ndarray,
    brush: Brush,
    *,
    alpha_lock: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint or erase on a part of a layer. Returns its pixels (h, w, 4) and materials (h, w), uint8.

    before, before_materials: the part before the stroke. cover: (h, w) uint8 coverage of the stroke.
    alpha_lock: colours change, alpha does not.

    Every covered pixel moves by at least one level towards the stroke's colour and alpha, so that thin paint
    applied often enough reaches its colour, and a soft eraser reaches blank paper. Plain rounding stops when
    a stroke changes a pixel by less than half a level: at 90 % with an opacity of 5 %. Coverage that gives
    less than LEAST_ALPHA on blank paper is ignored.
    """
    share = cover.astype(np.float32)
    share *= brush.opacity / 255
    share[share < LEAST_ALPHA / 255] = 0
    touched = share > 0
    old_alpha = before[..., 3].astype(np.float32)
    made = np.empty_like(before)
    if brush.erase:
        if alpha_lock:
            return before.copy(), before_materials.copy()
        alpha = np.minimum(np.rint(old_alpha * (1 - share)), old_alpha - touched)
        alpha[alpha < LEAST_ALPHA] = 0
        made[..., 3] = alpha
        painted = alpha > 0
        np.multiply(before[..., :3], painted[..., None], out=made[..., :3])
        return made, before_materials * painted
    if alpha_lock:
        share *= old_alpha > 0
        made[..., 3] = before[..., 3]
    else:
        total = share + old_alpha * (1 - share) / 255
        alpha = np.maximum(np.rint(total * 255), np.minimum(old_alpha + touched, 255))
        made[..., 3] = alpha
        np.divide(share, total, out=share, where=total > 0)
    delta = np.array(brush.color, np.float32) - before[..., :3]
    delta *= share[..., None]
    moved = np.rint(delta)
    moved += np.sign(delta) * (moved == 0)
    moved += before[..., :3]
    made[..., :3] = moved
    return made, np.where(share >= 0.5, np.uint8(brush.material), before_materials)


def lay_stroke_format_1(before: np.ndarray, cover: np.ndarray, brush: Brush) -> np.ndarray:
    """`lay_stroke` with plain rounding, so that stroke logs of format 1 replay byte for byte."""
    share = cover.astype(np.float32)
    share *= brush.opacity / 255
    made = np.empty_like(before)
    if brush.erase:
        made[..., 3] = np.rint(before[..., 3] * (1 - share))
        made[..., :3] = np.where(made[..., 3:] > 0, before[..., :3], 0)
        return made
    alpha = before[..., 3] * np.float32(1 / 255)
    total = share + alpha * (1 - share)
    of_new = np.divide(share, total, out=np.zeros_like(share), where=total > 0)[..., None]
    old = before[..., :3].astype(np.float32)
    old += (np.array(brush.color, np.float32) - old) * of_new
    made[..., :3] = np.rint(old)
    made[..., 3] = np.rint(total * 255)
    return made


def compose(sheets: Sequence[Sheet], box: Rect, pixels: np.ndarray, materials: np.ndarray) -> None:
    """Compose layers, bottom first, inside `box` into pixels (H, W, 4) and materials (H, W).

    Blend modes and compositing follow W3C Compositing and Blending Level 1. A pixel's material is that of the
    topmost layer that contributes at least half of the visible colour.
    """
    for top in range(box.y0, box.y1, BAND_PX):
        band = Rect(box.x0, top, box.x1, min(box.y1, top + BAND_PX)).slices
        pixels[band], materials[band] = _composed(sheets, band)


def _composed(sheets: Sequence[Sheet], band: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    color = alpha = made = None
    for sheet in sheets:
        part = sheet.pixels[band]
        own = cv2.extractChannel(part, 3)
        if not own.any():
            continue
        top, over = cv2.cvtColor(part, cv2.COLOR_RGBA2RGB), own * np.float32(sheet.opacity / 255)
        if color is None or alpha is None or made is None:
            color, alpha, made = top, over, sheet.materials[band]
            continue
        if sheet.blend != "normal":
            top = cv2.blendLinear(top, blended(color, top, sheet.blend), 1 - alpha, alpha)
        below = alpha * (1 - over)
        color = cv2.blendLinear(color, top, below, over)
        alpha = below + over
        made = np.where((over >= below) & (over > 0), sheet.materials[band], made)
    rows, columns = band[0].stop - band[0].start, band[1].stop - band[1].start
    if color is None or alpha is None or made is None:
        return np.zeros((rows, columns, 4), np.uint8), np.zeros((rows, columns), np.uint8)
    opaque = np.rint(alpha * 255).astype(np.uint8)
    seen = opaque >= LEAST_ALPHA
    whole = cv2.merge((*cv2.split(color), opaque))
    whole[~seen] = 0
    return whole, made * seen


def blended(below: np.ndarray, top: np.ndarray, mode: str) -> np.ndarray:
    """Colours (h, w, 3) uint8 of a blend mode other than normal, for two opaque layers."""
    multiplied = cv2.multiply(below, top, scale=1 / 255)
    if mode == "multiply":
        return multiplied
    screened = 255 - cv2.multiply(255 - below, 255 - top, scale=1 / 255)
    if mode == "screen":
        return screened
    dark = cv2.multiply(below, top, scale=2 / 255)
    light = 255 - cv2.multiply(255 - below, 255 - top, scale=2 / 255)
    return np.where(below < 128, dark, light)
