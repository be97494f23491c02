"""A minimal window, with or without a display, for the race and the straightening demo."""

from __future__ import annotations

import os
import time

import numpy as np
import pygame

from renderer.ui.display import bgra_view, display_surface, opening, rgb_copy
from renderer.ui.style.theme import BACK


class SimpleWindow:
    """A window with a drawing surface: draw on `surface`, show it with `flip`. Headless: no events."""

    def __init__(self, title: str, size: tuple[int, int] = (1280, 720), *, headless=False, resizable=False):
        """Raises InputError if no window can be opened."""
        if headless:
            os.environ["SDL_VIDEODRIVER"] = "dummy"
        self.headless = headless
        with opening():
            self.surface = pygame.display.set_mode(size, pygame.RESIZABLE if resizable else 0)
        pygame.display.set_caption(title)
        self.surface.fill(BACK)

    def poll(self) -> list[pygame.event.Event]:
        events = pygame.event.get()
        self.surface = display_surface()
        return events

    def flip(self) -> float:
        """Show the drawn surface; returns the time of display, by time.perf_counter."""
        pygame.display.flip()
        return time.perf_counter()

    def pixels(self) -> np.ndarray:
        """A copy of the window's pixels, (H, W, 3) uint8."""
        return rgb_copy(self.surface)

    def shot(self) -> np.ndarray:
        """A copy of the pixels, (H, W, 4) uint8 BGRA, for recording; ten times faster than `pixels`."""
        return bgra_view(self.surface).copy()

    def close(self) -> None:
        """Close the window. Idempotent."""
        pygame.quit()


def is_quit(event: pygame.event.Event) -> bool:
    """Whether the event closes the window: the close button, Escape or Q."""
    if event.type == pygame.KEYDOWN:
        return event.key in (pygame.K_ESCAPE, pygame.K_q)
    return event.type == pygame.QUIT
