"""Pen tablet pressure: a common interface, with one file per window system."""

from __future__ import annotations

import contextlib
from typing import Protocol


class Tablet(Protocol):
    """Interface that reads pen pressure; positions come from pygame's mouse events.

    The `pressure` of pygame's finger events is not used, because it contains the vertical motion.
    """

    def pressures(self) -> list[float]:
        """Pen pressures in 0..1 reported since the last call, in order. Never waits."""
        ...

    def close(self) -> None:
        """Release the tablet. Idempotent."""
        ...


def open_tablet(driver: str) -> Tablet | None:
    """Open the tablet reader for SDL's video driver; None if the system cannot report pressure."""
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
