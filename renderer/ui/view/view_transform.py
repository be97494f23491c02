"""View transform: zoom, pan, rotation and mirroring between window and paper pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from models.api import Rect

Position = tuple[float, float]
LEAST_SCALE, MOST_SCALE = 0.02, 32.0
NEAREST_FROM = 3.0  # from this scale on, nearest-neighbour sampling shows single pixels of the paper
STEPS = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


@dataclass(frozen=True)
class ViewTransform:
    """Similarity transform that maps the paper position `center` to the window position `origin`.

    Both are continuous coordinates: pixel 0 spans 0..1.
    scale: window pixels per paper pixel. rotation_deg: clockwise. mirrored: left and right are swapped,
    before the rotation.
    """

    scale: float
    center: Position
    origin: Position
    rotation_deg: float = 0.0
    mirrored: bool = False

    @property
    def upright(self) -> bool:
        """Whether the view is neither rotated nor mirrored."""
        return self.rotation_deg % 360 == 0 and not self.mirrored

    @property
    def nearest(self) -> bool:
        return self.scale >= NEAREST_FROM

    def matrix(self) -> np.ndarray:
        """Affine matrix (2, 3) float64 from paper to window positions."""
        angle = math.radians(self.rotation_deg)
        cos, sin = math.cos(angle) * self.scale, math.sin(angle) * self.scale
        if self.rotation_deg % 90 == 0:  # avoids rounding errors of sine and cosine
            cos, sin = round(math.cos(angle)) * self.scale, round(math.sin(angle)) * self.scale
        sign = -1 if self.mirrored else 1
        linear = np.array(((sign * cos, -sin), (sign * sin, cos)))
        offset = np.array(self.origin) - linear @ np.array(self.center)
        return np.column_stack((linear, offset))

    def to_window(self, x: float, y: float) -> Position:
        (a, b, c), (d, e, f) = self.matrix().tolist()
        return a * x + b * y + c, d * x + e * y + f

    def to_paper(self, x: float, y: float) -> Position:
        (a, b, _), (d, e, _) = self.matrix().tolist()
        dx, dy = x - self.origin[0], y - self.origin[1]
        inverse = 1 / (a * e - b * d)
        return (
            self.center[0] + (e * dx - b * dy) * inverse,
            self.center[1] + (a * dy - d * dx) * inverse,
        )

    def window_box(self, rect: Rect) -> Rect:
        """Window pixels covered by these paper pixels, with a margin of one pixel on each side."""
        corners = [(x, y) for x in (rect.x0, rect.x1) for y in (rect.y0, rect.y1)]
        xs, ys = zip(*(self.to_window(x, y) for x, y in corners), strict=True)
        box = (math.floor(min(xs)), math.floor(min(ys)), math.ceil(max(xs)), math.ceil(max(ys)))
        return Rect(box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1)

    def zoomed(self, factor: float, at: Position) -> ViewTransform:
        """The transform zoomed about a window position, which keeps showing the same point of the paper."""
        scale = min(MOST_SCALE, max(LEAST_SCALE, self.scale * factor))
        return replace(self.moved_to(at), scale=scale)

    def rotated(self, degrees: float, at: Position) -> ViewTransform:
        """The transform rotated clockwise about a window position."""
        return replace(self.moved_to(at), rotation_deg=(self.rotation_deg + degrees) % 360)

    def flipped(self, at: Position) -> ViewTransform:
        """The transform mirrored left to right, as seen in the window, about a window position."""
        return replace(self.moved_to(at), mirrored=not self.mirrored, rotation_deg=-self.rotation_deg % 360)

    def panned(self, dx: float, dy: float) -> ViewTransform:
        """The transform translated by window pixels."""
        return replace(self, origin=(self.origin[0] + dx, self.origin[1] + dy))

    def moved_to(self, origin: Position) -> ViewTransform:
        """The same transform with another window position as its origin."""
        return replace(self, center=self.to_paper(*origin), origin=origin)


@dataclass(frozen=True)
class ViewSettings:
    """The user's view. scale: None fits the paper into the pane. center: paper position in the middle."""

    scale: float | None = None
    center: Position = (0.0, 0.0)
    rotation_deg: float = 0.0
    mirrored: bool = False

    @classmethod
    def of(cls, view: ViewTransform, area: Rect) -> ViewSettings:
        """The settings that reproduce a view in this area of the window."""
        there = view.moved_to(middle(area))
        return cls(there.scale, there.center, there.rotation_deg, there.mirrored)

    @property
    def default(self) -> bool:
        return self == ViewSettings()


def middle(area: Rect) -> Position:
    return (area.x0 + area.x1) / 2, (area.y0 + area.y1) / 2


def clamped(settings: ViewSettings, paper: tuple[int, int]) -> ViewSettings:
    """Clamp the centre to the paper, so that the paper stays visible."""
    x, y = (min(float(side), max(0.0, at)) for side, at in zip(paper, settings.center, strict=True))
    return replace(settings, center=(x, y))


def next_scale(scale: float, direction: int) -> float:
    """The next zoom step of STEPS above (direction 1) or below (-1) a scale."""
    ahead = [step for step in STEPS if (step - scale) * direction > 1e-3 * scale]
    return (min(ahead) if direction > 0 else max(ahead)) if ahead else scale
