"""A plain window, or its headless twin, for the race and the straightening demo."""

from __future__ import annotations

import os
import time

import numpy as np
import pygame

from renderer.ui.display import bgra_view, display_surface, opening, rgb_copy
from renderer.ui.style.theme import BACK


class SimpleWindow:
    """Draw on `surface`, show it with `flip`. A headless one has no events."""

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
        self.surface = display_surface()
        return events

    def flip(self) -> float:
        """Show what was drawn; returns the time at which it was shown, by time.perf_counter."""
        pygame.display.flip()
        return time.perf_counter()

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8, a copy."""
        return rgb_copy(self.surface)

    def shot(self) -> np.ndarray:
        """(H, W, 4) uint8 BGRA, a copy; ten times faster than `pixels`, for recording."""
        return bgra_view(self.surface).copy()

    def close(self) -> None:
        """Idempotent."""
        pygame.quit()


def is_quit(event: pygame.event.Event) -> bool:
    """The window is closed, or Escape or Q pressed."""
    if event.type == pygame.KEYDOWN:
        return event.key in (pygame.K_ESCAPE, pygame.K_q)
    return event.type == pygame.QUIT
