"""Wet ink: overlay of new strokes on the model's picture until a frame that contains them arrives."""

from __future__ import annotations

import cv2
import numpy as np

from models.api import NOTHING, Rect
from renderer.canvas.tools.selection import extent

DRY_MS = 120.0


class WetInk:
    """Opacity mask of the paper over the picture. wet: (H, W) uint8; edits raise it, frames fade it."""

    def __init__(self, width: int, height: int):
        self.wet = np.zeros((height, width), np.uint8)
        self._stamp = np.zeros((height, width), np.int32)  # request whose frame contains this pixel
        self._seen = -1  # newest request whose frame was shown
        self.box = NOTHING  # bounding box of wet > 0

    def touch(self, box: Rect, before: np.ndarray, after: np.ndarray, sequence: int) -> None:
        """Mark the changed pixels inside `box` as wet until the frame of request `sequence` arrives.

        before, after: (h, w, 4) uint8 pixels of the box; the four bytes of a pixel are compared at once.
        """
        if box.empty:
            return
        differs = (before.view(np.uint32) != after.view(np.uint32))[..., 0]
        self.wet[box.slices][differs] = 255
        self._stamp[box.slices][differs] = sequence
        self.box = self.box.union(box)

    def shown(self, sequence: int) -> None:
        """Record that a frame with all edits up to `sequence` is on the screen."""
        self._seen = max(self._seen, sequence)

    def dry(self, elapsed_ms: float) -> Rect:
        """Fade wet pixels that a frame already contains; returns the changed Rect."""
        if self.box.empty:
            return NOTHING
        box = self.box
        wet = self.wet[box.slices]
        fades = cv2.min(wet, cv2.inRange(self._stamp[box.slices], 0, self._seen))
        changed = extent(fades, box)
        if not changed.empty:
            drop = min(255, max(1, round(255 * elapsed_ms / DRY_MS)))
            wet[:] = cv2.subtract(wet, np.minimum(fades, drop))
            self.box = extent(wet, box)
        return changed
