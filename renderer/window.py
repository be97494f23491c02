"""The window, and its twin without a display. Both compose the same picture and have the same methods."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

import numpy as np
import pygame

from models.api import NOTHING
from renderer.actions import Event, InputError
from renderer.events import Hand
from renderer.panel import Panel
from renderer.scene import Scene
from renderer.strip import Strip
from renderer.view import GAP_PX, PANEL_PX, STRIP_PX, View, layout

BACK = (20, 22, 27)
SMALLEST = (900, 600)


class Window:
    """A pygame window. Everything that reads input or touches the screen goes through here."""

    def __init__(self, size: tuple[int, int] = (1280, 720)):
        try:
            pygame.display.init()
            pygame.font.init()
            self.screen_ = self.open(size)
        except pygame.error as error:
            raise InputError(
                f"no window can be opened: {error}; use --headless where no display is"
            ) from error
        pygame.display.set_caption("Flowbrush")
        pygame.key.set_repeat(320, 40)
        self.hand = Hand()
        self.panel: Panel | None = None
        self.strip = Strip()
        self.view: View | None = None
        self._shape: tuple = ()  # what the layout depends on; everything is drawn anew when it changes
        self._drawn_s = time.monotonic()
        self._boxes: list[pygame.Rect] = []
        self._covered = False

    def open(self, size: tuple[int, int]) -> pygame.Surface:
        flags = pygame.RESIZABLE
        surface = pygame.display.set_mode(size, flags)
        surface.fill(BACK)
        pygame.display.flip()
        return surface

    @property
    def display_hz(self) -> float:
        with contextlib.suppress(pygame.error, AttributeError):
            return float(min(240, max(30, pygame.display.get_current_refresh_rate() or 60)))
        return 60.0

    def poll(self, now_s: float, scene: Scene) -> list[Event]:
        """Everything the hand did since the last call, in order."""
        return self.read(pygame.event.get(), now_s, scene)

    def read(self, events: Iterable, now_s: float, scene: Scene) -> list[Event]:
        free, made = [], []
        panes = self.panes(scene)
        for event in events:
            if event.type == pygame.VIDEORESIZE:
                self._shape = ()
            kept, actions = (False, [])
            if self.panel is not None and scene.view != "picture":
                kept, actions = self.panel.handle(event, self.hand, scene)
            made += [Event(action, now_s) for action in actions]
            if not kept:
                free.append(event)
        return made + self.hand.translate(free, panes, scene.look, now_s)

    def panes(self, scene: Scene):
        canvas = (scene.canvas.width, scene.canvas.height)
        return layout(scene.view, self.screen_.get_size(), canvas, scene.show_hud)

    def ask(self, what: str) -> None:
        """Open what a command asks for: "prompt", "color" or "open"."""
        if what == "prompt":
            self.panel.focus_prompt()
        elif what == "color":
            self.panel.pick_color(self.hand.brush.color)
        elif what == "open":
            self.panel.pick_file()

    def full_screen(self) -> None:
        pygame.display.toggle_fullscreen()
        self._shape = ()

    def draw(self, scene: Scene, now_s: float) -> None:
        """Compose what changed since the last call."""
        elapsed_s, self._drawn_s = now_s - self._drawn_s, now_s
        surface = self.screen_ = pygame.display.get_surface()
        size = surface.get_size()
        canvas = (scene.canvas.width, scene.canvas.height)
        if self.view is None or self.view.paper.shape[:2] != (canvas[1], canvas[0]):
            self.view = View(*canvas)
            self.view.refresh_paper(scene.canvas.pixels)
        if self.panel is None:
            self.panel = Panel(size, scene.models, scene.look.model)
        shape = (size, canvas, scene.view, scene.show_hud, scene.show_help)
        dialog = self.panel.dialog is not None or self.panel.menu_open()
        anew = shape != self._shape or dialog or self._covered
        if shape != self._shape:
            self.panel.manager.set_window_resolution(size)
            self._shape = shape
        self._covered = dialog
        dried = scene.ink.dry(elapsed_s * 1e3)
        paper_new, picture_new = self.view.update(scene, dried)
        scene.changed, scene.picture_new = NOTHING, False
        self._boxes = []
        if anew:
            surface.fill(BACK)
            self.panel.stale = True
            self._boxes = [surface.get_rect()]
        for pane in layout(scene.view, size, canvas, scene.show_hud):
            if anew or (paper_new if pane.kind == "paper" else picture_new):
                self.view.blit(surface, pane)
                self._boxes.append(pygame.Rect(pane.box[:2], (pane.box.width, pane.box.height)))
        if scene.show_hud and scene.view != "picture":
            self.draw_strip(surface, scene, now_s, anew)
        if scene.view != "picture":
            self.panel.follow(self.hand, scene)
            if self.panel.draw(surface, self.hand, elapsed_s):
                self._boxes.append(pygame.Rect(0, 0, PANEL_PX, size[1]))
        if scene.show_help and anew:
            self.strip.help(surface)

    def draw_strip(self, surface: pygame.Surface, scene: Scene, now_s: float, anew: bool) -> None:
        size = surface.get_size()
        box = pygame.Rect(
            PANEL_PX + GAP_PX, size[1] - STRIP_PX, size[0] - PANEL_PX - 2 * GAP_PX, STRIP_PX - GAP_PX
        )
        strip, new = self.strip.surface(scene, box.size, now_s)
        if new or anew:
            surface.blit(strip, box)
            self._boxes.append(box)

    def flip(self) -> float:
        """Show what was composed; returns the monotonic time at which that was done."""
        if self._boxes:
            pygame.display.update(self._boxes)
        return time.monotonic()

    def screen(self) -> np.ndarray:
        """(H, W, 3) uint8 of what the window shows."""
        return np.ascontiguousarray(pygame.surfarray.array3d(self.screen_).swapaxes(0, 1))

    def close(self) -> None:
        """Idempotent."""
        pygame.quit()


class Headless(Window):
    """The same without a display: SDL's dummy driver, and events from a script instead of a person.

    script: Events whose times count from the first poll; they are handed out when their time has come.
    """

    def __init__(self, size: tuple[int, int] = (1280, 720), script: Iterable[Event] = ()):
        os.environ["SDL_VIDEODRIVER"] = "dummy"
        super().__init__(size)
        self._script = list(script)
        self._next = 0
        self._began_s: float | None = None

    def poll(self, now_s: float, scene: Scene) -> list[Event]:
        """The scripted events that are due, with the times they were due at."""
        if self._began_s is None:
            self._began_s = now_s
        pygame.event.pump()
        made = []
        while self._next < len(self._script):
            event = self._script[self._next]
            due_s = self._began_s + event.time_s
            if due_s > now_s:
                break
            made.append(Event(event.action, due_s))
            self._next += 1
        return made
