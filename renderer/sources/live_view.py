"""LiveView: the state of a live source that the window shows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.api import NOTHING, Rect


@dataclass(eq=False)
class LiveView:
    """View of a live source. pixels: (H, W, 4) uint8, strokes and source together, as shown in the window.

    changed: area changed by source frames since the last draw; reset by the window. recent_ms: latencies of
    the newest frames from capture to screen. line: state of the source as text.
    """

    pixels: np.ndarray
    changed: Rect = NOTHING
    recent_ms: list[float] = field(default_factory=list)
    line: str = ""
