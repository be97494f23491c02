"""The way to the screen: SDL's video driver, or one line that says why no window can be opened."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import pygame

from renderer.actions import InputError
from renderer.ui.theme import FONTS

ICON = FONTS.parent / "icon.png"
NO_DISPLAY = ("offscreen", "dummy", "evdev")


@contextlib.contextmanager
def opening() -> Iterator[None]:
    """The display is there inside; what fails raises InputError."""
    if sys.platform == "linux":
        # A texture would load Mesa, and with it an LLVM beside which the import of triton crashes.
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
    chosen = "SDL_VIDEODRIVER" in os.environ
    if sys.platform == "linux" and not chosen and "XDG_RUNTIME_DIR" not in os.environ:
        os.environ["SDL_VIDEODRIVER"] = "x11"  # Wayland needs that folder; its library complains by itself
    try:
        pygame.display.init()
        pygame.font.init()
        if pygame.display.get_driver() in NO_DISPLAY and not chosen:
            raise pygame.error("there is no display")  # SDL goes on in memory, where nobody sees it
        pygame.display.set_icon(pygame.image.load(ICON))
        yield
    except pygame.error as error:
        raise InputError(f"no window can be opened: {error}; use --headless where no display is") from error
