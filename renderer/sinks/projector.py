"""Projector output: a second, borderless window that shows only the picture."""

from __future__ import annotations

import contextlib
import threading

import cv2
import numpy as np
import pygame

from renderer.actions import InputError

ON_DISPLAY = 0x2FFF0000  # SDL_WINDOWPOS_CENTERED_DISPLAY, to which the display number is added
CLOSE_S = 2.0


class Projector:
    """The projector window, used by the thread of the main window; pictures are scaled on another thread.

    shown: number of pictures shown.
    """

    def __init__(self, display: int = 0):
        """display: number of the display, from 0. Raises InputError if it does not exist."""
        sizes = pygame.display.get_desktop_sizes()
        if not 0 <= display < len(sizes):
            there = "there is one, number 0" if len(sizes) == 1 else f"there are 0 to {len(sizes) - 1}"
            raise InputError(f"there is no display {display}: {there}")
        place = ON_DISPLAY | display
        try:
            self._window: pygame.Window | None = pygame.Window(
                "Flowbrush projector", size=sizes[display], position=(place, place), borderless=True
            )
            self._surface = self._window.get_surface()
        except pygame.error as error:
            raise InputError(f"no window can be opened on display {display}: {error}") from error
        self._surface.fill((0, 0, 0))
        self._window.flip()
        self.shown = 0
        self._size = sizes[display]
        self._picture: np.ndarray | None = None
        self._scaled: np.ndarray | None = None
        self._ready = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._thread.start()

    def owns(self, event: pygame.event.Event) -> bool:
        """Whether the event belongs to this window."""
        window = getattr(event, "window", None)
        return window is not None and self._window is not None and window.id == self._window.id

    def offer(self, picture: np.ndarray) -> None:
        """Show this picture next: (H, W, 3) uint8 RGB, which must not be modified afterwards."""
        with self._ready:
            self._picture = picture
            self._ready.notify()

    def show(self) -> None:
        """Display the newest scaled picture, if there is a new one."""
        with self._ready:
            scaled, self._scaled = self._scaled, None
        if scaled is None or self._window is None:
            return
        height, width = scaled.shape[:2]
        image = pygame.image.frombuffer(scaled.data, (width, height), "RGB")
        self._surface.blit(image, ((self._size[0] - width) // 2, (self._size[1] - height) // 2))
        self._window.flip()
        self.shown += 1

    def close(self) -> None:
        """Close the window and end the thread. Idempotent."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join(CLOSE_S)
        if self._window is not None:
            with contextlib.suppress(pygame.error):
                self._window.destroy()
            self._window = None

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._picture is not None or self._closing)
                if self._closing:
                    return
                picture, self._picture = self._picture, None
            assert picture is not None
            scaled = fitted(picture, self._size)
            with self._ready:
                self._scaled = scaled


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture scaled to fit (width, height), keeping its aspect ratio."""
    height, width = picture.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(picture, (wide, high), interpolation=how))
