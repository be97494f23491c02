"""A window without a display: composes the same pixels and reads its events from a script."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pygame

from renderer.actions import Event
from renderer.scene import Scene
from renderer.ui.window import SIZE, Window


class Headless(Window):
    """A Window that uses SDL's dummy video driver.

    script: Events with times relative to the first poll; each is returned by the poll at which it is due.
    """

    platform_dialogs = False

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        scale: float | None = 1.0,
        script: Iterable[Event] = (),
    ):
        os.environ["SDL_VIDEODRIVER"] = "dummy"
        wanted = scale or 1.0  # SDL's dummy screen has 1024x768, to which the window would be shrunk
        super().__init__(size or (round(SIZE[0] * wanted), round(SIZE[1] * wanted)), scale)
        self._script = list(script)
        self._next = 0
        self._began_s: float | None = None

    def poll(self, now_s: float, scene: Scene) -> list[Event]:
        """Scripted events that are due, with their scheduled times."""
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
