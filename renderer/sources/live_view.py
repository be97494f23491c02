"""What the window shows of a live source."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.api import NOTHING, Rect


@dataclass(eq=False)
class LiveView:
    """pixels: (H, W, 4) uint8, the paper as the window shows it: strokes and source together.

    changed: what a frame of the source changed since the last draw; reset by the window. recent_ms: from
    capture to the screen, of the newest frames. line: state of the source in words.
    """

    pixels: np.ndarray
    changed: Rect = NOTHING
    recent_ms: list[float] = field(default_factory=list)
    line: str = ""
