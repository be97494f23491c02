"""Blend a source picture under or over the painted strokes, in 1 to 2 ms."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from models.api import Rect

BAND_PX = 64


class Painted(NamedTuple):
    """Pixels (H, W, 3 or 4) uint8, and their materials, (H, W) uint8, or None if unknown."""

    pixels: np.ndarray
    materials: np.ndarray | None = None


class Blend:
    """The paper blended with the source; the strokes are not modified.

    pixels: (H, W, 4) uint8, straight alpha. materials: (H, W) uint8 as in Request, of strokes or source,
    whichever contributes more to the pixel.

    The alpha of the result and the strokes' share of its colour depend only on strokes, opacity and order,
    and are cached. A new source frame then costs one mix of two pictures, and none where nothing is painted.
    """

    def __init__(self, width: int, height: int):
        self.pixels = np.zeros((height, width, 4), np.uint8)
        self.materials = np.zeros((height, width), np.uint8)
        self._share = np.zeros((height, width), np.uint8)  # the strokes' share of the colour, 0..255
        self._alpha = np.zeros((height, width), np.uint8)  # alpha of the result
        self._painted = Rect()  # bounds of all pixels with a nonzero share

    def weigh(
        self, strokes: np.ndarray, box: Rect, *, opacity: float, over: bool, cover: np.ndarray | None = None
    ) -> None:
        """Update alpha and shares after strokes, (H, W, 4) uint8, or settings changed inside the box.

        opacity: 0..1 of the source. over: the source is above the strokes. cover: (H, W) uint8, alpha of the
        source itself; None if it is opaque.
        """
        if box.empty:
            return
        paint = strokes[box.slices][..., 3].astype(np.float32) * (1 / 255)
        source = np.full_like(paint, opacity)
        if cover is not None:
            source *= cover[box.slices] * np.float32(1 / 255)
        total = source + paint - source * paint
        strong = paint * (1 - source) if over else paint
        share = np.divide(strong, total, out=np.zeros_like(total), where=total > 0)
        self._share[box.slices] = np.rint(share * 255)
        self._alpha[box.slices] = np.rint(total * 255)
        whole = Rect(0, 0, strokes.shape[1], strokes.shape[0])
        x, y, wide, high = cv2.boundingRect(self._share if box == whole else self._share[box.slices])
        inside = Rect(x + box.x0, y + box.y0, x + box.x0 + wide, y + box.y0 + high) if wide else Rect()
        self._painted = inside if box == whole else self._painted.union(inside)

    def compose(self, strokes: Painted, source: Painted, box: Rect) -> None:
        """Compute pixels and materials inside the box. source: its pixels are (H, W, 3) RGB."""
        for top in range(box.y0, box.y1, BAND_PX):  # in bands, whose data fit the cache
            self._compose_band(strokes, source, box._replace(y0=top, y1=min(top + BAND_PX, box.y1)))

    def _compose_band(self, strokes: Painted, source: Painted, band: Rect) -> None:
        alpha = np.ascontiguousarray(self._alpha[band.slices])
        color = np.ascontiguousarray(source.pixels[band.slices])
        labels = self.materials[band.slices]
        labels[:] = 0 if source.materials is None else source.materials[band.slices]
        if not band.intersect(self._painted).empty:
            share = self._share[band.slices]
            shares = cv2.merge((share, share, share))
            paint = cv2.cvtColor(strokes.pixels[band.slices], cv2.COLOR_RGBA2RGB)
            rest = cv2.multiply(color, 255 - shares, scale=1 / 255)
            color = cv2.add(cv2.multiply(paint, shares, scale=1 / 255), rest)
            if strokes.materials is not None:
                np.copyto(labels, strokes.materials[band.slices], where=share > 127)
        out = cv2.merge((*cv2.split(color), alpha))
        clear = cv2.inRange(alpha, 0, 0)
        if cv2.countNonZero(clear):
            out[clear > 0] = 0  # invisible pixels are set to 0
            labels[clear > 0] = 0
        self.pixels[band.slices] = out
