"""Brush dabs along a smoothed path. The coverage does not depend on how the points were batched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from models.api import NOTHING, Rect
from renderer.actions import Brush, Point
from renderer.canvas.tools.symmetry import images

SUBPIXELS = 4  # dabs are cached at quarter-pixel offsets
SIZE_STEP_PX = 0.5
MIN_WIDTH = 0.35  # fraction of the brush size at zero pressure
SPACING = 1 / 10  # distance between dabs, as a fraction of the brush size


@lru_cache(maxsize=512)
def dab(size_px: float, hardness: float, fx: int, fy: int) -> np.ndarray:
    """Coverage (n, n) uint8 of a round dab whose centre is (fx, fy) quarter pixels off the array's centre."""
    radius = max(0.5, size_px / 2)
    reach = math.ceil(radius) + 1
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = np.hypot(axis[None, :] - fx / SUBPIXELS, axis[:, None] - fy / SUBPIXELS)
    soft = max(1.0, radius * (1 - hardness))
    edge = np.clip((radius + 0.5 - distance) / soft, 0, 1)
    return np.rint(edge * edge * (3 - 2 * edge) * 255).astype(np.uint8)


class Stroke:
    """Coverage of one stroke while it is drawn: a curve through every input point.

    The curve cuts no corners, even if the points of a fast stroke are far apart. The next point changes the
    last segment, which is therefore kept separately in `tip` and redrawn until `end`.
    """

    def __init__(self, brush: Brush, coverage: np.ndarray):
        self.brush, self.coverage = brush, coverage
        self.tip = np.zeros_like(coverage)
        self._layer = coverage  # the array that dabs are drawn to
        self._images = images(brush.symmetry)
        self._marked = [NOTHING] * len(self._images)  # changed box of each symmetry image since `take_boxes`
        self._tip_boxes = [NOTHING] * len(self._images)
        self.trail: list[Point] = []  # at most the three newest distinct points
        self.gap = 0.0  # distance left until the next dab

    def begin(self, point: Point) -> Rect:
        self.trail = [point]
        self.gap = self.spacing(point[2])
        return self.stamp(*point)

    def extend(self, point: Point) -> Rect:
        """Add a point and draw the curve up to the point before it."""
        if point[:2] == self.trail[-1][:2]:
            return NOTHING
        changed = self.follow(curve(self.trail, point)) if len(self.trail) > 1 else NOTHING
        self.trail = [*self.trail[-2:], point]
        return changed

    def lift(self) -> Rect:
        """Erase the tip."""
        for i, box in enumerate(self._tip_boxes):
            self.tip[box.slices] = 0
            self._marked[i] = self._marked[i].union(box)
        lifted, self._tip_boxes = union_of(self._tip_boxes), [NOTHING] * len(self._images)
        return lifted

    def reach(self) -> Rect:
        """Draw the tip, so that the visible stroke ends at the pointer."""
        gap, self._layer = self.gap, self.tip
        before, self._marked = self._marked, [NOTHING] * len(self._images)
        self.end()
        self._tip_boxes = self._marked
        self._marked = [a.union(b) for a, b in zip(before, self._tip_boxes, strict=True)]
        self.gap, self._layer = gap, self.coverage
        return union_of(self._tip_boxes)

    def take_boxes(self, box: Rect) -> list[Rect]:
        """Boxes within `box` that changed since the last call; symmetry images get separate boxes."""
        parts = [part.intersect(box) for part in self._marked]
        self._marked = [NOTHING] * len(self._images)
        apart = sum(part.width * part.height for part in parts if not part.empty)
        if len(parts) == 1 or apart >= box.width * box.height:
            return [box]
        return [part for part in parts if not part.empty]

    def end(self) -> Rect:
        """Draw the remaining segment, to the last point."""
        if len(self.trail) < 2:
            return NOTHING
        a, b = self.trail[-2:]
        return self.follow(curve(self.trail, (2 * b[0] - a[0], 2 * b[1] - a[1], b[2])))

    def cover(self, box: Rect) -> np.ndarray:
        """(h, w) uint8: coverage of everything drawn so far."""
        return np.maximum(self.coverage[box.slices], self.tip[box.slices])

    def spacing(self, pressure: float) -> float:
        return max(0.5, self.width(pressure) * SPACING)

    def width(self, pressure: float) -> float:
        if self.brush.dynamics == "opacity":
            return self.brush.size_px
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
        """Draw a dab at (x, y) and at its symmetry images by maximum; returns the box of touched pixels."""
        changed = NOTHING
        for i, (a, b, c, d, e, f) in enumerate(self._images):
            box = self.stamp_one(a * x + b * y + c, d * x + e * y + f, pressure)
            self._marked[i] = self._marked[i].union(box)
            changed = changed.union(box)
        return changed

    def stamp_one(self, x: float, y: float, pressure: float) -> Rect:
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
        if self.brush.dynamics == "opacity":
            part = (part * np.float32(min(1.0, max(0.0, pressure)))).astype(np.uint8)
        target = self._layer[box.slices]
        np.maximum(target, part, out=target)
        return box


def union_of(boxes: list[Rect]) -> Rect:
    made = NOTHING
    for box in boxes:
        made = made.union(box)
    return made


def curve(trail: list[Point], after: Point) -> Iterator[Point]:
    """Points of a Catmull-Rom curve from the last but one of the trail to its last, about 3 pixels apart.

    The curve is centripetal (Yuksel, Schaefer, Keyser 2011, "Parameterization and applications of
    Catmull-Rom curves"): it goes through its points and makes no loops, however uneven their spacing.
    """
    a, b = trail[-2:]
    before = trail[-3] if len(trail) > 2 else (2 * a[0] - b[0], 2 * a[1] - b[1], a[2])
    d0, d1, d2 = (math.sqrt(math.dist(p[:2], q[:2])) for p, q in ((before, a), (a, b), (b, after)))
    d0, d2 = d0 or d1, d2 or d1
    ways = []
    for k in (0, 1):
        step = b[k] - a[k]
        leave = step + d1 * ((a[k] - before[k]) / d0 - (b[k] - before[k]) / (d0 + d1))
        arrive = step + d1 * ((after[k] - b[k]) / d2 - (after[k] - a[k]) / (d1 + d2))
        ways.append((a[k], leave, 3 * step - 2 * leave - arrive, leave + arrive - 2 * step))
    (x0, x1, x2, x3), (y0, y1, y2, y3) = ways
    pieces = max(1, min(64, math.ceil(d1 * d1 / 3)))
    for i in range(pieces + 1):
        t = i / pieces
        x, y = x0 + t * (x1 + t * (x2 + t * x3)), y0 + t * (y1 + t * (y2 + t * y3))
        yield x, y, a[2] + (b[2] - a[2]) * t
