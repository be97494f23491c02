"""Regions of the network, at each scale, that an edit of the paper affects, as boxes of few shapes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.painter import patches
from models.painter.flow import CELL_PX
from models.painter.packed import PackedNetwork

COARSE_STEP = 8  # coarse cells, 128 px: sides of boxes are multiples of it


class Box(NamedTuple):
    """Rectangle of rows and columns, half open, in cells of one scale."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    def grown(self, by: int, whole: Box) -> Box:
        """Expand by `by` cells on each side, clipped to the whole."""
        grown = self.y0 - by, self.y1 + by, self.x0 - by, self.x1 + by
        return Box(max(0, grown[0]), min(whole.y1, grown[1]), max(0, grown[2]), min(whole.x1, grown[3]))

    def coarser(self, times: int) -> Box:
        """Convert to cells that are `times` as large, rounded outwards."""
        return Box(self.y0 // times, -(-self.y1 // times), self.x0 // times, -(-self.x1 // times))

    def finer(self, times: int) -> Box:
        return Box(*(end * times for end in self))

    def snapped(self, step: int, whole: Box) -> Box:
        """Round the side lengths up to multiples of `step`, within the whole.

        Each new shape costs oneDNN a millisecond per layer to prepare, and memory that is never freed.
        """
        y0, y1 = snap(self.y0, self.y1, step, whole.y1)
        x0, x1 = snap(self.x0, self.x1, step, whole.x1)
        return Box(y0, y1, x0, x1)

    def moved(self, by: int, whole: Box) -> Box:
        """Expand by `by` cells on each side and shift into the whole: the same size at a border."""
        grown = Box(self.y0 - by, self.y1 + by, self.x0 - by, self.x1 + by)
        return grown.snapped(1, whole)

    def inside(self, near: Box) -> Box:
        """Convert to coordinates relative to the corner of an enclosing box."""
        return Box(self.y0 - near.y0, self.y1 - near.y0, self.x0 - near.x0, self.x1 - near.x0)

    def of(self, x: Tensor) -> Tensor:
        """Crop (..., H, W) to the box; channels-last and dense."""
        part = x[..., self.y0 : self.y1, self.x0 : self.x1]
        return part.contiguous(memory_format=torch.channels_last)


def even(number: int) -> int:
    """Round up to an even number of cells, so that the box aligns with the coarser scale."""
    return number + number % 2


def snap(start: int, end: int, step: int, most: int) -> tuple[int, int]:
    """Lengthen [start, end) to a multiple of `step`, at most `most`, and shift it into [0, most)."""
    length = min(most, -(-(end - start) // step) * step)
    start = max(0, min(start, most - length))
    return start, start + length


class Boxes(NamedTuple):
    """Boxes to recompute at each scale, in the encoder and the decoder."""

    fine: Box
    middle: Box
    coarse: Box
    middle_out: Box
    fine_out: Box

    @classmethod
    def whole(cls, height: int, width: int) -> Boxes:
        """Boxes that cover a whole paper; height, width in pixels."""
        fine, middle, coarse = (
            Box(0, height // side, 0, width // side) for side in (CELL_PX, 2 * CELL_PX, 4 * CELL_PX)
        )
        return cls(fine, middle, coarse, middle, fine)

    def reached(self, box: Box, body: PackedNetwork, steps: int = 1) -> tuple[Boxes, ...]:
        """Boxes that an edit of the pixels in `box` affects in each step; self must cover the whole paper.

        Interpolation of the paint reaches one cell, and so does every 3x3 convolution. The output region of
        one step is the input region of the next.
        """
        found = [self._reached(box.coarser(CELL_PX).grown(1, self.fine), body)]
        while len(found) < steps:
            found.append(self._reached(found[-1].fine_out, body))
        return tuple(found)

    def _reached(self, fine: Box, body: PackedNetwork) -> Boxes:
        """Boxes that a change of the network's input in these cells affects.

        The decoder's boxes follow from the coarse one, so they have no more shapes than it has.
        """
        fine = fine.grown(len(body.fine_in), self.fine)
        middle = fine.coarser(2).grown(1 + len(body.middle_in), self.middle)
        coarse = middle.coarser(2).grown(1 + len(body.coarse), self.coarse).snapped(COARSE_STEP, self.coarse)
        middle_out = coarse.finer(2).moved(even(len(body.middle_out)), self.middle)
        fine_out = middle_out.finer(2).moved(even(len(body.fine_out) + 1), self.fine)
        fine, middle = fine.snapped(4 * COARSE_STEP, self.fine), middle.snapped(2 * COARSE_STEP, self.middle)
        return Boxes(fine, middle, coarse, middle_out, fine_out)

    def work(self, body: PackedNetwork) -> float:
        """Estimate of the multiplications for these boxes, from the layer shapes; for ratios only."""
        fine, middle, coarse = body.channels
        ends = 2 * patches.COLORS * fine * 9
        of_cell = (
            len(body.fine_in) * 9 * fine**2 + 4 * patches.COLORS * fine,
            len(body.middle_in) * 9 * middle**2 + 9 * fine * middle,
            len(body.coarse) * 9 * coarse**2 + 9 * middle * coarse,
            len(body.middle_out) * 9 * middle**2 + middle * coarse,
            len(body.fine_out) * 9 * fine**2 + fine * middle + ends,
        )
        return sum(count * box.height * box.width for count, box in zip(of_cell, self, strict=True))


def changed(before: np.ndarray, after: np.ndarray) -> Box | None:
    """Bounding box of the pixels in which two (4, H, W) papers differ; None if they are equal."""
    differs = (before != after).any(0)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1) if len(rows) else None
