"""A plain window for what is no painting: opened, drawn to as one picture, asked for keys. Headless too."""

from __future__ import annotations

import os
import time

import numpy as np
import pygame

from renderer.ui.display import opening
from renderer.ui.theme import BACK


class Screen:
    """`surface` is drawn to, `flip` shows it. On a headless one nothing ever happens."""

    def __init__(self, title: str, size: tuple[int, int] = (1280, 720), *, headless=False, resizable=False):
        """Raises InputError where no window can be opened."""
        if headless:
            os.environ["SDL_VIDEODRIVER"] = "dummy"
        self.headless = headless
        with opening():
            self.surface = pygame.display.set_mode(size, pygame.RESIZABLE if resizable else 0)
        pygame.display.set_caption(title)
        self.surface.fill(BACK)

    def poll(self) -> list[pygame.event.Event]:
        events = pygame.event.get()
        self.surface = pygame.display.get_surface()  # another one after a change of size
        return events

    def flip(self) -> float:
        """Show what was drawn; returns the monotonic time at which that was done."""
        pygame.display.flip()
        return time.monotonic()

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8, a copy."""
        return np.ascontiguousarray(pygame.surfarray.array3d(self.surface).swapaxes(0, 1))

    def shot(self) -> np.ndarray:
        """(H, W, 4) uint8 BGRA, a copy: what a film takes, at a tenth of the time of `pixels`."""
        surface = self.surface
        if surface.get_masks()[:3] != (0xFF0000, 0xFF00, 0xFF) or surface.get_bytesize() != 4:
            surface = surface.convert(32, 0)
        rows = np.frombuffer(surface.get_buffer(), np.uint8).reshape(surface.get_height(), -1, 4)
        return rows[:, : surface.get_width()].copy()

    def close(self) -> None:
        """Idempotent."""
        pygame.quit()


def leaves(event: pygame.event.Event) -> bool:
    """The person closes the window, or presses Escape or Q."""
    if event.type == pygame.KEYDOWN:
        return event.key in (pygame.K_ESCAPE, pygame.K_q)
    return event.type == pygame.QUIT
