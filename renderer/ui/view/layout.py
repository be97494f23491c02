"""Window layout: panel, panes, prompt bar and HUD, and conversion from window to canvas pixels."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

from models.api import NOTHING, Rect
from renderer.ui.view.view_transform import ViewSettings, ViewTransform, middle

PaneKind = Literal["paper", "picture"]
FITTED = ViewSettings()

PANEL, PANEL_HEIGHT = 220, 710
LAYERS = 176
GAP, BAR, HUD = 12, 32, 118  # at scale 1; two panes of 512 px just fit a window of 1280x720


@dataclass(frozen=True)
class Pane:
    """A view of the paper or the picture in the window.

    kind: "paper", or "picture" with wet ink over it. area: part of the window available to the pane.
    box: part of the area that shows the canvas. frame: box for messages and timeline.
    """

    kind: PaneKind
    area: Rect
    box: Rect
    frame: Rect
    view: ViewTransform

    @property
    def scale(self) -> float:
        """Window pixels per canvas pixel."""
        return self.view.scale

    def holds(self, x: float, y: float) -> bool:
        return self.box.x0 <= x < self.box.x1 and self.box.y0 <= y < self.box.y1

    def distance(self, x: float, y: float) -> float:
        """Distance of a window position from the box, in window pixels."""
        box = self.box
        return math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))

    def canvas_at(self, x: float, y: float) -> tuple[float, float]:
        """Canvas position of a window position, also outside the pane, as a stroke may leave it."""
        return self.view.to_paper(x, y)

    def window_box(self, rect: Rect) -> Rect:
        """Window pixels that show these canvas pixels, with a margin of one pixel on each side."""
        return NOTHING if rect.empty else self.view.window_box(rect).intersect(self.box)


@dataclass(frozen=True)
class Layout:
    """Boxes of the window's parts. panel, bar, hud and layers are empty if they are hidden."""

    panes: tuple[Pane, ...]
    panel: Rect = NOTHING
    bar: Rect = NOTHING
    hud: Rect = NOTHING
    layers: Rect = NOTHING

    def pane_at(self, x: float, y: float) -> Pane | None:
        return next((pane for pane in self.panes if pane.holds(x, y)), None)

    def pane_beside(self, x: float, y: float) -> Pane | None:
        """The pane nearest to a position in the margin around the panes; None on panel, bar and HUD."""
        if (
            x < self.panel.x1
            or (not self.layers.empty and x >= self.layers.x0)
            or (not self.bar.empty and y >= self.bar.y0)
        ):
            return None
        return min(self.panes, key=lambda pane: pane.distance(x, y))


@functools.lru_cache(maxsize=16)  # called on every tick and event
def arrange(
    view: str,
    window: tuple[int, int],
    canvas: tuple[int, int],
    *,
    hud: bool = True,
    scale: float = 1.0,
    layers: bool = False,
    settings: ViewSettings = FITTED,
) -> Layout:
    """Compute the layout of a view. canvas: width and height in pixels; scale: of panel, bar and HUD."""
    width, height = window
    if view == "picture":
        return Layout((place("picture", Rect(0, 0, width, height), canvas, settings, align=0),))
    panel_px, gap, bar_px, hud_px = (round(length * scale) for length in (PANEL, GAP, BAR, HUD))
    edge = width - round(LAYERS * scale) if layers else width
    left, right = panel_px + gap, max(panel_px + gap + 64, edge - gap)
    hud_box = Rect(left, height - gap - hud_px, right, height - gap) if hud else NOTHING
    below = (hud_box.y0 if hud else height) - gap
    bar = Rect(left, below - bar_px, right, below)
    area = Rect(left, gap, right, max(gap + 64, bar.y0 - gap))
    if view == "ink":
        panes = (place("picture", area, canvas, settings, align=0),)
    else:
        one, two = halves(area, canvas, gap)
        panes = (
            place("paper", one, canvas, settings, align=1),
            place("picture", two, canvas, settings, align=-1),
        )
    column = Rect(right + gap, 0, width, height) if layers else NOTHING
    return Layout(panes, Rect(0, 0, panel_px, height), bar, hud_box, column)


def halves(area: Rect, canvas: tuple[int, int], gap: int) -> tuple[Rect, Rect]:
    """Split the area for two panes, side by side or stacked, whichever shows them larger."""
    across, along = (area.x0 + area.x1) // 2, (area.y0 + area.y1) // 2
    beside = area._replace(x1=across - gap // 2), area._replace(x0=across + (gap + 1) // 2)
    stacked = area._replace(y1=along - gap // 2), area._replace(y0=along + (gap + 1) // 2)

    def scale(part: Rect) -> float:
        return min(part.width / canvas[0], part.height / canvas[1])

    return stacked if scale(stacked[0]) > 1.05 * scale(beside[0]) else beside


def place(
    kind: PaneKind, area: Rect, canvas: tuple[int, int], settings: ViewSettings = FITTED, *, align: int
) -> Pane:
    """Place a pane in an area of the window.

    A fitted pane has the canvas's shape, at scale 1 if that nearly fits. align: 1 to the area's right edge,
    -1 to its left, 0 to its centre.
    """
    turned = abs(math.radians(settings.rotation_deg))
    cos, sin = abs(math.cos(turned)), abs(math.sin(turned))
    wide, high = canvas[0] * cos + canvas[1] * sin, canvas[0] * sin + canvas[1] * cos
    scale = min(area.width / wide, area.height / high)
    if 1 <= scale < 1.12:
        scale = 1.0
    if settings.scale is not None:
        view = ViewTransform(
            settings.scale, settings.center, middle(area), settings.rotation_deg, settings.mirrored
        )
        shown = view.window_box(Rect(0, 0, *canvas))
        inner = Rect(shown.x0 + 1, shown.y0 + 1, shown.x1 - 1, shown.y1 - 1)
        return Pane(kind, area, inner.intersect(area), area, view)
    width, height = max(1, round(wide * scale)), max(1, round(high * scale))
    x = area.x0 + {1: area.width - width, 0: (area.width - width) // 2, -1: 0}[align]
    y = area.y0 + (area.height - height) // 2
    box = Rect(x, y, x + width, y + height)
    center = canvas[0] / 2, canvas[1] / 2
    view = ViewTransform(scale, center, middle(box), settings.rotation_deg, settings.mirrored)
    return Pane(kind, area, box, box, view)
