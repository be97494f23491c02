"""Screen capture of a monitor or a region, with mss."""

from __future__ import annotations

import time

import cv2
import numpy as np

from models.api import Rect
from renderer.actions import InputError
from renderer.sources.readers.shot import Shot, SourceLost

MISSING = "the screen cannot be read without mss; install it with: pip install flowbrush[live]"


def check_mss() -> None:
    """Raise InputError if mss is not installed."""
    try:
        import mss  # noqa: F401
    except ImportError as error:
        raise InputError(MISSING) from error


class ScreenReader:
    """Captures a monitor or a region of the desktop. Created and used on one thread, as X11 requires."""

    def __init__(self, index: int = 1, region: Rect = Rect()):
        """index: monitor number from 1; 0 is the entire desktop. region: in pixels of the desktop; empty for
        the whole monitor. Raises SourceLost."""
        import mss

        try:
            self._grabber = mss.MSS()
        except mss.ScreenShotError as error:
            raise SourceLost(f"the screen cannot be read: {error}; Wayland does not allow it") from error
        self._error = mss.ScreenShotError
        monitors = self._grabber.monitors
        if not 0 <= index < len(monitors):
            self._grabber.close()
            raise SourceLost(f"there is no screen {index}; choose screen:1 to screen:{len(monitors) - 1}")
        entire = monitors[index]
        self._box = {key: entire[key] for key in ("left", "top", "width", "height")}
        if not region.empty:
            self._box = {"left": region.x0, "top": region.y0, "width": region.width, "height": region.height}
            desktop = monitors[0]
            right, bottom = desktop["left"] + desktop["width"], desktop["top"] + desktop["height"]
            if region.x1 > right or region.y1 > bottom:
                self._grabber.close()
                raise SourceLost(f"the region reaches beyond the desktop, which ends at {right}x{bottom}")
        self._began_s = time.perf_counter()

    def read(self) -> Shot | None:
        captured_s = time.perf_counter()
        try:
            grabbed = self._grabber.grab(self._box)
        except self._error as error:
            raise SourceLost(f"the screen cannot be read: {error}") from error
        size = (grabbed.width, grabbed.height)
        bgra = np.frombuffer(grabbed.bgra, np.uint8).reshape(size[1], size[0], 4)
        return Shot(size, captured_s, captured_s - self._began_s, lambda w, h: converted(bgra, w, h))

    def seek(self, media_s: float) -> None:
        """Do nothing: a screen cannot seek."""

    def close(self) -> None:
        self._grabber.close()


def converted(bgra: np.ndarray, width: int, height: int) -> np.ndarray:
    """Convert and resize (H, W, 4) BGRA to (height, width, 3) RGB."""
    if bgra.shape[:2] != (height, width):
        bgra = cv2.resize(bgra, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGB)
