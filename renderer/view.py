"""Where paper and picture stand in the window, and their pixels: three views, screen to paper and back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pygame

from models.api import Rect
from renderer.scene import Scene

VIEWS = ("side", "ink", "picture")
PANEL_PX, GAP_PX, STRIP_PX = 228, 8, 160
IVORY = np.array((244, 240, 231), np.float32)  # blank paper


@dataclass(frozen=True)
class Pane:
    """kind: "paper", or "picture" with wet ink over it. box: its place in the window. scale: window / canvas px."""

    kind: str
    box: Rect
    scale: float


def layout(view: str, window: tuple[int, int], canvas: tuple[int, int], show_hud: bool = True) -> list[Pane]:
    """Panes of a view; whole multiples are kept where a pane fits at its own size."""
    width, height = window
    if view == "picture":
        return [place("picture", Rect(0, 0, width, height), canvas, 0)]
    left = PANEL_PX + GAP_PX
    bottom = height - GAP_PX - (STRIP_PX if show_hud else 0)
    area = Rect(left, GAP_PX, max(left + 64, width - GAP_PX), max(GAP_PX + 64, bottom))
    if view == "ink":
        return [place("picture", area, canvas, 0)]
    middle = (area.x0 + area.x1) // 2
    halves = Rect(area.x0, area.y0, middle - GAP_PX // 2, area.y1), Rect(middle + GAP_PX // 2, *area[1:])
    return [place("paper", halves[0], canvas, 1), place("picture", halves[1], canvas, -1)]


def place(kind: str, area: Rect, canvas: tuple[int, int], pull: int) -> Pane:
    """The largest pane of the canvas's shape in the area. pull: 1 to its right edge, -1 to its left, 0 centred."""
    scale = min(area.width / canvas[0], area.height / canvas[1])
    if 1 <= scale < 1.12:
        scale = 1.0
    width, height = max(1, round(canvas[0] * scale)), max(1, round(canvas[1] * scale))
    room = area.width - width
    x = area.x0 + {1: room, 0: room // 2, -1: 0}[pull]
    y = area.y0 + (area.height - height) // 2
    return Pane(kind, Rect(x, y, x + width, y + height), scale)


def to_canvas(panes: list[Pane], x: float, y: float) -> tuple[float, float] | None:
    """Canvas position under a window position; None beside the panes."""
    for pane in panes:
        if pane.box.x0 <= x < pane.box.x1 and pane.box.y0 <= y < pane.box.y1:
            return (x - pane.box.x0) / pane.scale, (y - pane.box.y0) / pane.scale
    return None


def near_canvas(pane: Pane, x: float, y: float) -> tuple[float, float]:
    """Canvas position relative to one pane, also beyond its edge, where a stroke may wander."""
    return (x - pane.box.x0) / pane.scale, (y - pane.box.y0) / pane.scale


class View:
    """Pixels of the panes, kept between ticks; only what changed is worked out again."""

    def __init__(self, width: int, height: int):
        self.paper = np.empty((height, width, 3), np.uint8)
        self.paper[:] = np.rint(IVORY)
        self.picture = self.paper.copy()  # picture with wet ink over it
        self._clean: np.ndarray | None = None  # picture alone

    def update(self, scene: Scene, dried: Rect) -> tuple[bool, bool]:
        """Bring both up to date; returns whether (paper, picture) changed."""
        changed = scene.changed
        if not changed.empty:
            self.paper[changed.slices] = over_ivory(scene.canvas.pixels[changed.slices])
        if scene.picture_new and scene.picture is not None:
            self._clean = scene.picture
            self.picture[:] = self._clean
            dirty = scene.ink.box
        else:
            dirty = changed.union(dried)
        if not dirty.empty:
            self.lay_ink(dirty, scene.ink.wet)
        return not changed.empty, scene.picture_new or not dirty.empty

    def lay_ink(self, box: Rect, wet: np.ndarray) -> None:
        below = self.picture_below(box).astype(np.int16)
        amount = wet[box.slices].astype(np.int16)[..., None]
        ink = self.paper[box.slices].astype(np.int16)
        self.picture[box.slices] = below + (ink - below) * (amount >> 1) // 127

    def picture_below(self, box: Rect) -> np.ndarray:
        """The clean picture, or the paper's own colour where no picture came yet."""
        if self._clean is not None:
            return self._clean[box.slices]
        return self.paper[box.slices]

    def refresh_paper(self, pixels: np.ndarray) -> None:
        self.paper[:] = over_ivory(pixels)

    def blit(self, surface: pygame.Surface, pane: Pane) -> None:
        source = self.paper if pane.kind == "paper" else self.picture
        size = (pane.box.width, pane.box.height)
        if size != (source.shape[1], source.shape[0]):
            how = cv2.INTER_LINEAR if pane.scale > 1 else cv2.INTER_AREA
            source = cv2.resize(source, size, interpolation=how)
        surface.blit(pygame.image.frombuffer(np.ascontiguousarray(source), size, "RGB"), pane.box[:2])


def over_ivory(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 4) RGBA -> (h, w, 3) as it looks on blank paper."""
    alpha = pixels[..., 3:].astype(np.float32) * np.float32(1 / 255)
    return np.rint(IVORY + (pixels[..., :3] - IVORY) * alpha).astype(np.uint8)
