"""Screen work area and desktop scale, queried from the loaded SDL library or X11."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from functools import lru_cache
from pathlib import Path

import pygame

TITLE_BAR_PX = 40  # height of a window manager's title bar
LEAST_SCALE, MOST_SCALE = 1.0, 3.0


class SdlRect(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))


@lru_cache(maxsize=1)
def sdl() -> ctypes.CDLL | None:
    """The SDL library that pygame has loaded; None if its file is not found."""
    package = Path(pygame.__file__).parent
    patterns = {"win32": "SDL2.dll", "darwin": ".dylibs/libSDL2-*.dylib"}
    found = sorted(package.glob(patterns.get(sys.platform, "../pygame_ce.libs/libSDL2-2*.so*")))
    try:
        return ctypes.CDLL(str(found[0])) if found else None
    except OSError:
        return None


def work_area() -> pygame.Rect:
    """Area of the first screen without task bars, in desktop pixels. The display must be initialised."""
    desktop = pygame.Rect((0, 0), pygame.display.get_desktop_sizes()[0])
    library, bounds = sdl(), SdlRect()
    if library is None or library.SDL_GetDisplayUsableBounds(0, ctypes.byref(bounds)) != 0:
        return desktop
    area = pygame.Rect(bounds.x, bounds.y, bounds.w, bounds.h)
    return area if area.width > 0 and area.height > 0 else desktop


def desktop_scale() -> float:
    """The desktop's scale of text and controls, in steps of 0.25; 1 is 96 dpi."""
    declared = declared_scale()
    if declared is None:  # not declared: guess from the resolution
        width, height = pygame.display.get_desktop_sizes()[0]
        return clamped(min(width / 1920, height / 1080) * 2 // 1 / 2)
    return clamped(round(declared * 4) / 4)


def clamped(scale: float) -> float:
    return min(MOST_SCALE, max(LEAST_SCALE, scale))


def declared_scale() -> float | None:
    """Scale declared by environment variables, X resources or SDL; None if there is none."""
    for name in ("GDK_SCALE", "QT_SCALE_FACTOR"):
        try:
            return float(os.environ[name])
        except (KeyError, ValueError):
            continue
    driver = pygame.display.get_driver()
    if driver == "x11":
        return x_resource_scale()
    library, dpi = sdl(), ctypes.c_float()
    if (
        driver == "windows"
        and library is not None
        and library.SDL_GetDisplayDPI(0, ctypes.byref(dpi), None, None) == 0
        and dpi.value > 0
    ):
        return dpi.value / 96
    return 1.0 if driver == "cocoa" else None  # macOS scales points itself


def x_resource_scale() -> float | None:
    """Scale from Xft.dpi in the X server's resources, which desktops set; None if it is not set."""
    name = ctypes.util.find_library("X11")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    library.XOpenDisplay.restype = ctypes.c_void_p
    library.XResourceManagerString.restype = ctypes.c_char_p
    library.XResourceManagerString.argtypes = [ctypes.c_void_p]
    library.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = library.XOpenDisplay(None)
    if not display:
        return None
    try:
        resources = (library.XResourceManagerString(display) or b"").decode("utf-8", "replace")
    finally:
        library.XCloseDisplay(display)
    for line in resources.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Xft.dpi":
            try:
                return float(value) / 96
            except ValueError:
                return None
    return None
