"""Initialisation of SDL's video driver, with a one-line error if no window can be opened."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import cast

import numpy as np
import pygame

from renderer.actions import InputError
from renderer.ui.style.theme import FONTS

ICON = FONTS.parent / "icon.png"
NO_DISPLAY = ("offscreen", "dummy", "evdev")


@contextlib.contextmanager
def opening() -> Iterator[None]:
    """Initialise the display; errors inside the block become InputError."""
    if sys.platform == "linux":
        # A texture loads Mesa and its LLVM; importing triton into the same process then crashes.
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
    os.environ.setdefault("SDL_WINDOWS_DPI_AWARENESS", "permonitorv2")  # otherwise Windows blurs the window
    chosen = "SDL_VIDEODRIVER" in os.environ
    if sys.platform == "linux" and not chosen and "XDG_RUNTIME_DIR" not in os.environ:
        os.environ["SDL_VIDEODRIVER"] = (
            "x11"  # Wayland needs that folder, and its library prints its own errors
        )
    try:
        pygame.display.init()
        pygame.font.init()
        if pygame.display.get_driver() in NO_DISPLAY and not chosen:
            raise pygame.error("there is no display")  # SDL fell back to offscreen drawing
        pygame.display.set_icon(pygame.image.load(ICON))
        yield
    except pygame.error as error:
        raise InputError(f"no window can be opened: {error}; use --headless where no display is") from error


def display_surface() -> pygame.Surface:
    """Surface of the open window; a resize replaces it."""
    surface = pygame.display.get_surface()
    if surface is None:
        raise RuntimeError("the window is closed")
    return surface


def bgra_view(surface: pygame.Surface) -> np.ndarray:
    """(H, W, 4) uint8 BGRA of a surface, without a copy if its format allows. Alpha is undefined."""
    if surface.get_masks()[:3] != (0xFF0000, 0xFF00, 0xFF) or surface.get_bytesize() != 4:
        surface = surface.convert(32, 0)
    rows = np.frombuffer(cast("memoryview", surface.get_buffer()), np.uint8).reshape(
        surface.get_height(), -1, 4
    )
    return rows[:, : surface.get_width()]


def rgb_copy(surface: pygame.Surface) -> np.ndarray:
    """(H, W, 3) uint8 copy of a surface."""
    return np.ascontiguousarray(pygame.surfarray.array3d(surface).swapaxes(0, 1))
