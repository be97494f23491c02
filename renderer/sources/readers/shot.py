"""A captured picture before it is fitted to the paper, and the interface of source readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class SourceLost(Exception):
    """A source does not answer, ended unexpectedly or cannot be read. The message is one line."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A captured picture that is converted on demand, so that skipped frames cost no conversion.

    size: display (width, height) in pixels, upright, with square pixels. captured_s: perf_counter time of
    capture. media_s: position in the file. convert: (width, height) -> (height, width, 3) RGB or
    (height, width, 4) RGBA uint8, the entire picture at that size.
    """

    size: tuple[int, int]
    captured_s: float
    media_s: float
    convert: Callable[[int, int], np.ndarray]


class Capture(Protocol):
    """An open source. Used by one thread; every method may block."""

    def read(self) -> Shot | None:
        """The next picture; None at the end. Raises SourceLost."""
        ...

    def seek(self, media_s: float) -> None:
        """Continue at this position in seconds. Live sources ignore it."""
        ...

    def close(self) -> None:
        """Release the device or file. Idempotent."""
        ...
