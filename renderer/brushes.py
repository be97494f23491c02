"""Dabs and smoothed paths: how points become coverage, the same however they were batched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from models.api import NOTHING, Rect
from renderer.actions import Brush, Point

SUBPIXELS = 4  # dabs are cached at quarter-pixel offsets
SIZE_STEP_PX = 0.5
MIN_WIDTH = 0.35  # share of the brush's size at no pressure
SPACING = 1 / 10  # of the brush's size, between dabs


@lru_cache(maxsize=512)
def dab(size_px: float, hardness: float, fx: int, fy: int) -> np.ndarray:
    """Coverage (n, n) uint8 of a round dab whose centre lies (fx, fy) quarter pixels past the middle."""
    radius = max(0.5, size_px / 2)
    reach = math.ceil(radius) + 1
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = np.hypot(axis[None, :] - fx / SUBPIXELS, axis[:, None] - fy / SUBPIXELS)
    soft = max(1.0, radius * (1 - hardness))
    edge = np.clip((radius + 0.5 - distance) / soft, 0, 1)
    return np.rint(edge * edge * (3 - 2 * edge) * 255).astype(np.uint8)


class Stroke:
    """The coverage of one stroke while it is drawn: quadratic curves through the midpoints of the points."""

    def __init__(self, brush: Brush, coverage: np.ndarray):
        self.brush, self.coverage = brush, coverage
        self.last: Point | None = None  # newest point of the hand
        self.middle: Point | None = None  # where the drawn path ends
        self.gap = 0.0  # distance still to go before the next dab

    def begin(self, point: Point) -> Rect:
        self.last = self.middle = point
        self.gap = self.spacing(point[2])
        return self.stamp(*point)

    def extend(self, point: Point) -> Rect:
        """Draw up to the midpoint of the last and this point: no later point can bend that."""
        middle = tuple((a + b) / 2 for a, b in zip(self.last, point, strict=True))
        changed = self.follow(curve(self.middle, self.last, middle))
        self.last, self.middle = point, middle
        return changed

    def end(self) -> Rect:
        """Draw the rest, from the last midpoint to the last point."""
        return self.follow(curve(self.middle, self.middle, self.last))

    def spacing(self, pressure: float) -> float:
        return max(0.5, self.width(pressure) * SPACING)

    def width(self, pressure: float) -> float:
        return self.brush.size_px * (MIN_WIDTH + (1 - MIN_WIDTH) * min(1.0, max(0.0, pressure)))

    def follow(self, path: Iterator[Point]) -> Rect:
        changed, before = NOTHING, None
        for point in path:
            if before is not None:
                changed = changed.union(self.segment(before, point))
            before = point
        return changed

    def segment(self, a: Point, b: Point) -> Rect:
        length = math.hypot(b[0] - a[0], b[1] - a[1])
        changed, at = NOTHING, self.gap
        while at <= length and length > 0:
            t = at / length
            point = tuple(p + (q - p) * t for p, q in zip(a, b, strict=True))
            changed = changed.union(self.stamp(*point))
            at += self.spacing(point[2])
        self.gap = at - length
        return changed

    def stamp(self, x: float, y: float, pressure: float) -> Rect:
        """Raise the coverage to that of a dab at (x, y); returns the pixels it touched."""
        size = max(1.0, round(self.width(pressure) / SIZE_STEP_PX) * SIZE_STEP_PX)
        qx, qy = round(x * SUBPIXELS), round(y * SUBPIXELS)
        cx, fx = divmod(qx, SUBPIXELS)
        cy, fy = divmod(qy, SUBPIXELS)
        shape = dab(size, self.brush.hardness, fx, fy)
        reach = shape.shape[0] // 2
        height, width = self.coverage.shape
        whole = Rect(cx - reach, cy - reach, cx + reach + 1, cy + reach + 1)
        box = whole.intersect(Rect(0, 0, width, height))
        if box.empty:
            return NOTHING
        part = shape[box.y0 - whole.y0 : box.y1 - whole.y0, box.x0 - whole.x0 : box.x1 - whole.x0]
        target = self.coverage[box.slices]
        np.maximum(target, part, out=target)
        return box


def curve(a: Point, control: Point, b: Point) -> Iterator[Point]:
    """Points along a quadratic Bezier curve, about three pixels apart."""
    length = math.hypot(control[0] - a[0], control[1] - a[1]) + math.hypot(
        b[0] - control[0], b[1] - control[1]
    )
    pieces = max(1, min(64, math.ceil(length / 3)))
    for i in range(pieces + 1):
        t = i / pieces
        u = 1 - t
        yield tuple(u * u * p + 2 * u * t * c + t * t * q for p, c, q in zip(a, control, b, strict=True))
