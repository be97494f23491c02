"""Pressure of pen tablets: one small interface, and one file for each window system."""

from __future__ import annotations

import contextlib
from typing import Protocol


class Tablet(Protocol):
    """Reads pen pressure beside pygame, whose mouse events carry the position.

    pygame's own `pressure` of finger events is not used: it holds the vertical motion.
    """

    def pressures(self) -> list[float]:
        """Pressures in 0..1 that pens reported since the last call, in order. Never waits."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...


def open_tablet(driver: str) -> Tablet | None:
    """The tablets of SDL's video driver; None where the system cannot report pressure."""
    with contextlib.suppress(OSError, AttributeError):
        if driver == "x11":
            from renderer.ui.tablet.x11 import X11Tablet

            return X11Tablet()
        if driver == "windows":
            from renderer.ui.tablet.windows import WindowsTablet

            return WindowsTablet()
        if driver == "cocoa":
            from renderer.ui.tablet.macos import MacTablet

            return MacTablet()
    return None
