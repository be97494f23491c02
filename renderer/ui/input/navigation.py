"""Zoom, pan, rotation and mirroring of the view with wheel, drag, pinch and keys."""

from __future__ import annotations

import math
from dataclasses import replace

import pygame

from renderer.ui.view.layout import Layout, Pane
from renderer.ui.view.view_transform import ViewSettings, ViewTransform, clamped, middle, next_scale

WHEEL_FACTOR = 1.2
ROTATION_STEP_DEG = 15.0
PINCH_GAIN = 4.0  # SDL reports pinch distances as fractions of the touch surface
ACTIONS = (
    "zoom.in",
    "zoom.out",
    "zoom.fit",
    "zoom.full",
    "rotate.left",
    "rotate.right",
    "rotate.reset",
    "mirror",
)


class Navigation:
    """The view of the canvas, shared by both panes. canvas: width and height in pixels."""

    def __init__(self) -> None:
        self.settings = ViewSettings()
        self.canvas: tuple[int, int] = (0, 0)
        self.layout: Layout | None = None  # layout at the last events
        self.space = False  # space bar held: a drag pans the view
        self._pane: Pane | None = None  # pane that is being dragged
        self._pinch: tuple[float, float] | None = None

    @property
    def dragging(self) -> bool:
        return self._pane is not None

    def handle(self, event: pygame.event.Event, layout: Layout) -> bool:
        """Handle an event; returns whether it was a view event."""
        self.layout = layout
        if event.type in (pygame.KEYDOWN, pygame.KEYUP) and event.key == pygame.K_SPACE:
            self.space = event.type == pygame.KEYDOWN
            return True
        if event.type == pygame.WINDOWFOCUSLOST:
            self.space, self._pane = False, None
        elif event.type == pygame.MOUSEBUTTONDOWN:
            if event.button == 2 or (event.button == 1 and self.space):
                self._pane = self.pane_at(event.pos)
                return self._pane is not None
        elif event.type == pygame.MOUSEBUTTONUP and self._pane is not None:
            self._pane = None
            return True
        elif event.type == pygame.MOUSEMOTION and self._pane is not None:
            pane = self.pane_like(self._pane)
            self.set(pane.view.panned(*event.rel), pane)
            return True
        elif event.type == pygame.MOUSEWHEEL and pygame.key.get_mods() & pygame.KMOD_CTRL:
            at = getattr(event, "pos", None) or pygame.mouse.get_pos()
            if (pane := self.pane_at(at)) is not None and event.y:
                self.set(pane.view.zoomed(WHEEL_FACTOR ** (1 if event.y > 0 else -1), at), pane)
            return True
        elif event.type == pygame.MULTIGESTURE:
            self.pinch(event)
            return True
        elif event.type == pygame.FINGERUP:
            self._pinch = None
        return False

    def pinch(self, event: pygame.event.Event) -> None:
        """Zoom, rotate and pan with two fingers. The event's coordinates are fractions of the window size."""
        width, height = pygame.display.get_window_size()
        at = (event.x * width, event.y * height)
        pane = self.pane_at(at)
        if pane is None:
            return
        view = pane.view
        if self._pinch is not None:
            view = view.panned(at[0] - self._pinch[0], at[1] - self._pinch[1])
        self._pinch = at
        view = view.zoomed(math.exp(event.pinched * PINCH_GAIN), at).rotated(math.degrees(event.rotated), at)
        self.set(view, pane)

    def do(self, name: str) -> None:
        """Perform one of ACTIONS about the centre of the pane."""
        if self.layout is None or not self.layout.panes:
            return
        pane = self.pane_like(self.layout.panes[-1])
        view, at = pane.view, middle(pane.area)
        if name == "zoom.fit":
            self.settings = ViewSettings()
        elif name == "mirror" or name.startswith("rotate."):
            turn = {"rotate.left": -ROTATION_STEP_DEG, "rotate.right": ROTATION_STEP_DEG}
            if name == "mirror":
                view = view.flipped(at)
            elif name == "rotate.reset":
                view = replace(view.rotated(-view.rotation_deg, at), mirrored=False)
            else:
                view = view.rotated(turn[name], at)
            if self.settings.scale is None:  # a fitted view stays fitted
                self.settings = ViewSettings(rotation_deg=view.rotation_deg, mirrored=view.mirrored)
            else:
                self.set(view, pane)
        else:
            scales = {
                "zoom.in": next_scale(view.scale, 1),
                "zoom.out": next_scale(view.scale, -1),
                "zoom.full": 1.0,
            }
            self.set(view.zoomed(scales[name] / view.scale, at), pane)

    def set(self, view: ViewTransform, pane: Pane) -> None:
        """Set the view settings so that the pane shows this view from the next tick on."""
        self.settings = clamped(ViewSettings.of(view, pane.area), self.canvas)

    def pane_like(self, pane: Pane) -> Pane:
        """The pane with the current view settings, which several events in one tick may have changed."""
        settings = self.settings
        if settings.scale is None:
            return pane
        view = ViewTransform(
            settings.scale, settings.center, middle(pane.area), settings.rotation_deg, settings.mirrored
        )
        return replace(pane, view=view)

    def pane_at(self, at: tuple[float, float]) -> Pane | None:
        """The pane at a window position, with the current view settings."""
        for pane in self.layout.panes if self.layout is not None else ():
            if pane.area.x0 <= at[0] < pane.area.x1 and pane.area.y0 <= at[1] < pane.area.y1:
                return self.pane_like(pane)
        return None
