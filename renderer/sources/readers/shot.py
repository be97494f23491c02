"""One picture of a source before it is fitted to the paper, and the interface of what takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class SourceLost(Exception):
    """A source does not answer, ended unasked or cannot be read. The message is one line."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture that was captured and not yet converted: a frame that is skipped costs no conversion.

    size: (width, height) in pixels as it is to be shown, upright, with square pixels. captured_s: time of
    capture by perf_counter. media_s: position in the file. convert: (width, height) -> (height, width, 3)
    RGB or (height, width, 4) RGBA uint8 of the entire picture at that size.
    """

    size: tuple[int, int]
    captured_s: float
    media_s: float
    convert: Callable[[int, int], np.ndarray]


class Capture(Protocol):
    """An open source. Used by one thread; every method may wait."""

    def read(self) -> Shot | None:
        """The next picture; None at the end. Raises SourceLost."""
        ...

    def seek(self, media_s: float) -> None:
        """Continue at this position. Live sources ignore it."""
        ...

    def close(self) -> None:
        """Release the device or file; idempotent."""
        ...
