"""Wet ink: fresh strokes drawn over the model's picture until the frame that contains them arrives."""

from __future__ import annotations

import numpy as np

from models.api import NOTHING, Rect

DRY_MS = 120.0


class WetInk:
    """wet: (H, W) uint8, how much of the paper shows over the picture. Edits wet it, frames dry it."""

    def __init__(self, width: int, height: int):
        self.wet = np.zeros((height, width), np.uint8)
        self._stamp = np.zeros((height, width), np.int64)  # request that will show this pixel
        self._seen = -1  # newest request that was shown
        self.box = NOTHING  # all that is not dry

    def touch(self, box: Rect, before: np.ndarray, after: np.ndarray, sequence: int) -> None:
        """The paper changed inside `box`: what differs is wet until the frame of `sequence` is there.

        before, after: (h, w, 4) uint8 pixels of the box.
        """
        if box.empty:
            return
        differs = (before != after).any(-1)
        self.wet[box.slices][differs] = 255
        self._stamp[box.slices][differs] = sequence
        self.box = self.box.union(box)

    def shown(self, sequence: int) -> None:
        """A frame that contains all edits up to `sequence` is on the screen."""
        self._seen = max(self._seen, sequence)

    def dry(self, elapsed_ms: float) -> Rect:
        """Fade what a frame shows already; returns the pixels that changed."""
        if self.box.empty:
            return NOTHING
        box = self.box
        wet, stamp = self.wet[box.slices], self._stamp[box.slices]
        drop = np.uint8(min(255, max(1, round(255 * elapsed_ms / DRY_MS))))
        done = stamp <= self._seen
        if not done.any():
            return NOTHING
        np.subtract(wet, np.minimum(wet, drop), out=wet, where=done)
        if not wet.any():
            self.box = NOTHING
        return box
