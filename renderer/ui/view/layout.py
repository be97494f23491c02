"""Layout of the window: panel, panes, prompt bar and HUD; conversion from window to canvas pixels."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from models.api import NOTHING, Rect

PANEL, PANEL_HEIGHT = 220, 708
GAP, BAR, HUD = 12, 32, 118  # at scale 1: two panes of 512 just fit a window of 1280x720


@dataclass(frozen=True)
class Pane:
    """kind: "paper", or "picture" with wet ink over it. box: in the window. scale: window / canvas pixels."""

    kind: str
    box: Rect
    scale: float

    def holds(self, x: float, y: float) -> bool:
        return self.box.x0 <= x < self.box.x1 and self.box.y0 <= y < self.box.y1

    def distance(self, x: float, y: float) -> float:
        """From the box, in pixels of the window."""
        box = self.box
        return math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))

    def canvas_at(self, x: float, y: float) -> tuple[float, float]:
        """Canvas position of a window position, also outside the pane: a stroke may leave it."""
        return (x - self.box.x0) / self.scale, (y - self.box.y0) / self.scale

    def window_box(self, rect: Rect) -> Rect:
        """The pixels of the window that show these pixels of the canvas, and one more on each side."""
        if rect.empty:
            return NOTHING
        x0, y0 = int(rect.x0 * self.scale) - 1, int(rect.y0 * self.scale) - 1
        x1, y1 = int(rect.x1 * self.scale) + 2, int(rect.y1 * self.scale) + 2
        moved = Rect(x0 + self.box.x0, y0 + self.box.y0, x1 + self.box.x0, y1 + self.box.y0)
        return moved.intersect(self.box)


@dataclass(frozen=True)
class Layout:
    """panel, bar and hud are empty where they are not shown."""

    panes: tuple[Pane, ...]
    panel: Rect = NOTHING
    bar: Rect = NOTHING
    hud: Rect = NOTHING

    def pane_at(self, x: float, y: float) -> Pane | None:
        return next((pane for pane in self.panes if pane.holds(x, y)), None)

    def pane_beside(self, x: float, y: float) -> Pane | None:
        """The pane nearest to a position in the margin around the panes; None on panel, bar and HUD."""
        if x < self.panel.x1 or (not self.bar.empty and y >= self.bar.y0):
            return None
        return min(self.panes, key=lambda pane: pane.distance(x, y))


@functools.lru_cache(maxsize=16)  # called with every tick and every event
def arrange(
    view: str, window: tuple[int, int], canvas: tuple[int, int], *, hud: bool = True, scale: float = 1.0
) -> Layout:
    """The layout of a view. canvas: width and height in pixels; scale: of panel, bar and HUD."""
    width, height = window
    if view == "picture":
        return Layout((place("picture", Rect(0, 0, width, height), canvas, 0),))
    panel_px, gap, bar_px, hud_px = (round(length * scale) for length in (PANEL, GAP, BAR, HUD))
    left, right = panel_px + gap, max(panel_px + gap + 64, width - gap)
    hud_box = Rect(left, height - gap - hud_px, right, height - gap) if hud else NOTHING
    below = (hud_box.y0 if hud else height) - gap
    bar = Rect(left, below - bar_px, right, below)
    area = Rect(left, gap, right, max(gap + 64, bar.y0 - gap))
    if view == "ink":
        panes = (place("picture", area, canvas, 0),)
    else:
        middle = (area.x0 + area.x1) // 2
        one, two = area._replace(x1=middle - gap // 2), area._replace(x0=middle + (gap + 1) // 2)
        panes = place("paper", one, canvas, 1), place("picture", two, canvas, -1)
    return Layout(panes, Rect(0, 0, panel_px, height), bar, hud_box)


def place(kind: str, area: Rect, canvas: tuple[int, int], align: int) -> Pane:
    """The largest pane of the canvas's shape in the area; at scale 1 where that is nearly as large.

    align: 1 to the area's right edge, -1 to its left, 0 to its middle.
    """
    scale = min(area.width / canvas[0], area.height / canvas[1])
    if 1 <= scale < 1.12:
        scale = 1.0
    width, height = max(1, round(canvas[0] * scale)), max(1, round(canvas[1] * scale))
    x = area.x0 + {1: area.width - width, 0: (area.width - width) // 2, -1: 0}[align]
    y = area.y0 + (area.height - height) // 2
    return Pane(kind, Rect(x, y, x + width, y + height), scale)
