"""The window, and its twin without a display. Both compose the same picture and have the same methods."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterable

import cv2
import numpy as np
import pygame

from models.api import NOTHING, Rect
from renderer.actions import Command, Event
from renderer.scene import Scene
from renderer.ui import timeline
from renderer.ui.controls.panel import Panel
from renderer.ui.display import opening
from renderer.ui.help import draw_help
from renderer.ui.hud import Strip
from renderer.ui.input import Hand
from renderer.ui.layout import PANEL_HEIGHT, Layout, arrange
from renderer.ui.overlay import Mark, draw_mark, marks
from renderer.ui.panes import View
from renderer.ui.theme import BACK, Theme, scale_for

SIZE = (1280, 720)  # at scale 1
SMALLEST = (860, 712)  # at the smallest scale, which is
SMALLEST_SCALE = 0.7  # of the panel, in a window that is too low for it


class Window:
    """A pygame window. Everything that reads input or touches the screen goes through here."""

    def __init__(self, size: tuple[int, int] | None = None, scale: float | None = None):
        """scale: how much larger than on a screen of 96 dots an inch; None: as the screen asks for."""
        cv2.setNumThreads(1)  # the model has the cores: waiting for one took 4 ms of the slowest ticks
        with opening():
            self.theme = Theme(scale or scale_for(pygame.display.get_desktop_sizes()[0]))
            self._wanted_scale = self.theme.scale
            self.screen_ = self.open(size or tuple(self.theme.px(side) for side in SIZE))
        pygame.key.set_repeat(320, 40)
        self.hand = Hand()
        self.panel: Panel | None = None
        self.strip = Strip(self.theme)
        self.view: View | None = None
        self._shape: tuple = ()  # what the layout depends on; everything is drawn anew when it changes
        self._marks: tuple[Mark, ...] = ()
        self._drawn_s = time.monotonic()
        self._boxes: list[pygame.Rect] = []
        self.panes_new = False  # the last `draw` changed a pixel of paper or picture

    def open(self, size: tuple[int, int]) -> pygame.Surface:
        surface = pygame.display.set_mode(size, pygame.RESIZABLE)
        least = [round(side * SMALLEST_SCALE * self.theme.scale) for side in SMALLEST]
        with warnings.catch_warnings():  # pygame has no other way to the display's own window
            warnings.simplefilter("ignore", DeprecationWarning)
            handle = pygame.Window.from_display_module()
        handle.minimum_size = [min(*sides) for sides in zip(size, least, strict=True)]
        pygame.display.set_caption("Flowbrush")
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
        layout = self.layout(scene)
        if scene.show_help:
            return self.read_help(events, now_s)
        free, made = [], []
        if scene.rewind is not None:
            box = timeline.bar(layout, self.theme)
            made, events = timeline.read(events, scene.rewind, box, self.theme, now_s)
        for event in events:
            kept, actions = False, []
            if self.panel is not None and scene.view != "picture":
                kept, actions = self.panel.handle(event, self.hand, scene, layout)
            made += [Event(action, now_s) for action in actions]
            if not kept:
                free.append(event)
        return made + self.hand.translate(free, layout, scene.params, now_s)

    def read_help(self, events: Iterable, now_s: float) -> list[Event]:
        """Any key or button leaves the help."""
        for event in events:
            if event.type == pygame.QUIT:
                return [Event(Command("quit"), now_s)]
            if event.type in (pygame.KEYDOWN, pygame.MOUSEBUTTONDOWN):
                return [Event(Command("help"), now_s)]
        return []

    def fit(self, height: int) -> None:
        """Make panel and strip smaller where the window is too low for them, and larger again."""
        most = max(SMALLEST_SCALE * self._wanted_scale, height / PANEL_HEIGHT // 0.05 * 0.05)
        scale = min(self._wanted_scale, most)
        if scale != self.theme.scale:
            self.theme, self.panel = Theme(scale), None
            self.strip = Strip(self.theme)

    def layout(self, scene: Scene) -> Layout:
        canvas = (scene.canvas.width, scene.canvas.height)
        return arrange(
            scene.view, self.screen_.get_size(), canvas, hud=scene.show_hud, scale=self.theme.scale
        )

    def ask(self, what: str) -> None:
        """Open what a command asks for: "prompt", "color" or "open"."""
        self.panel.ask(what, self.hand)

    def full_screen(self) -> None:
        pygame.display.toggle_fullscreen()
        self._shape = ()

    def draw(self, scene: Scene, now_s: float) -> None:
        """Compose what changed since the last call."""
        elapsed_s, self._drawn_s = now_s - self._drawn_s, now_s
        surface = self.screen_ = pygame.display.get_surface()
        self._boxes, self.panes_new = [], False
        self.fit(surface.get_height())
        layout = self.layout(scene)
        anew = self.prepare(scene, layout)
        changed = self.view.update(scene, scene.ink.dry(elapsed_s * 1e3))
        self.panes_new = any(not box.empty for box in changed.values())
        scene.changed, scene.picture_new = NOTHING, False
        if scene.view != "picture":
            self.panel.follow(self.hand, scene)
            anew |= self.panel.update(elapsed_s)
        if scene.show_help and not anew:
            return
        if anew:
            surface.fill(BACK)
            self.panel.stale = True
            self._boxes = [surface.get_rect()]
        self.draw_panes(surface, scene, layout, changed, anew)
        if not layout.strip.empty:
            self.draw_strip(surface, scene, layout.strip, now_s, anew)
        if scene.view != "picture":
            self._boxes += self.panel.draw(surface, self.hand, scene, layout)
        if scene.show_help:
            draw_help(surface, self.theme)

    def prepare(self, scene: Scene, layout: Layout) -> bool:
        """Make what is missing; returns whether everything must be drawn anew."""
        size, canvas = self.screen_.get_size(), scene.canvas
        if self.view is None or self.view.whole != canvas.whole:
            self.view = View(canvas.width, canvas.height)
            self.view.refresh(scene)
        if self.panel is None:
            self.panel, self._shape = Panel(size, self.theme, scene), ()
        shape = (size, canvas.whole, scene.view, scene.show_hud, scene.show_help, scene.rewind is None)
        if shape == self._shape:
            return False
        self._shape = shape
        self.panel.arrange(size, layout)
        return True

    def draw_panes(
        self, surface: pygame.Surface, scene: Scene, layout: Layout, changed: dict[str, Rect], anew: bool
    ) -> None:
        """Copy what changed, and what lies over it."""
        over = marks(self.hand, scene, layout, self.theme)
        dirty = []
        for pane in layout.panes:
            box = pane.box if anew else pane.window_box(changed[pane.kind])
            dirty += [box] if not box.empty else []
        if over != self._marks:
            dirty += [mark.box for mark in {*over} ^ {*self._marks}]
        self._marks = over
        dirty += [m.box for m in over if any(not m.box.intersect(box).empty for box in dirty)]
        for box in dirty:
            for pane in layout.panes:
                self.view.draw(surface, pane, box)
        for mark in over:
            if any(not mark.box.intersect(box).empty for box in dirty):
                draw_mark(surface, mark, self.theme)
        self._boxes += [pygame.Rect(box[:2], (box.width, box.height)) for box in dirty]

    def draw_strip(self, surface: pygame.Surface, scene: Scene, box: Rect, now_s: float, anew: bool) -> None:
        strip, new = self.strip.surface(scene, (box.width, box.height), now_s)
        if new or anew:
            surface.blit(strip, box[:2])
            self._boxes.append(pygame.Rect(box[:2], (box.width, box.height)))

    def flip(self) -> float:
        """Show what was composed; returns the monotonic time at which that was done."""
        if self._boxes:
            pygame.display.update(self._boxes)
        return time.monotonic()

    @property
    def all_new(self) -> bool:
        """The last `draw` changed a pixel of the window."""
        return bool(self._boxes)

    def pixels(self) -> np.ndarray:
        """(H, W, 4) uint8 BGRA of the window itself: copy it before the next `draw`. Alpha means nothing."""
        surface = self.screen_
        if surface.get_masks()[:3] != (0xFF0000, 0xFF00, 0xFF) or surface.get_bytesize() != 4:
            surface = surface.convert(32, 0)
        rows = np.frombuffer(surface.get_buffer(), np.uint8).reshape(surface.get_height(), -1, 4)
        return rows[:, : surface.get_width()]

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

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        scale: float | None = 1.0,
        script: Iterable[Event] = (),
    ):
        os.environ["SDL_VIDEODRIVER"] = "dummy"
        super().__init__(size, scale)
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
