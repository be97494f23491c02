"""Prepare captured pictures for the paper: fit, detect changes, flatten colours, compute the dirty Rect."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from models.api import NOTHING, Rect
from renderer.canvas.storage.buffer_pool import BufferPool
from renderer.sources.changes import ChangeDetector
from renderer.sources.flatten import Flatten, flatten_part
from renderer.sources.geometry import Placement
from renderer.sources.readers.shot import Shot

WHOLE = Placement()


@dataclass(frozen=True)
class Preparation:
    """Settings for preparing the pictures of a source."""

    placement: Placement = WHOLE
    flatten: Flatten = "off"


AS_IT_IS = Preparation()


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """A source picture fitted to the paper. Arrays are read-only.

    pixels: (H, W, 3) uint8 RGB. alpha: (H, W) uint8, or None if it covers the paper. materials: (H, W) uint8
    as in Request, or None if unknown. dirty: area that differs from the frame taken before. number: counts
    frames with a change. captured_s: perf_counter time of capture.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    materials: np.ndarray | None
    dirty: Rect
    number: int
    captured_s: float
    media_s: float


class Preparer:
    """Prepares the pictures of one source, in order; used by one thread."""

    def __init__(self, paper: tuple[int, int], preparation: Preparation):
        """paper: (width, height) in pixels."""
        self.paper = paper
        self._preparation = preparation
        self._pixels_pool, self._materials_pool = BufferPool((paper[1], paper[0], 3)), BufferPool(paper[::-1])
        self._begin()

    def _begin(self) -> None:
        self.changes = ChangeDetector(*self.paper)
        self._flat = np.zeros((self.paper[1], self.paper[0], 3), np.uint8)
        self._materials = np.zeros((self.paper[1], self.paper[0]), np.uint8)
        self._alpha: np.ndarray | None = None
        self._first = True

    def prepare(self, shot: Shot, number: int, preparation: Preparation) -> SourceFrame | None:
        """Prepare a picture. Returns None if nothing differs from the previous frame."""
        if preparation != self._preparation:
            self._preparation = preparation
            self._begin()
        rgb, alpha = preparation.placement.place(shot, self.paper)
        box = self.changes.update(rgb)
        if self._first or not same(alpha, self._alpha):
            box, self._first = Rect(0, 0, *self.paper), False
            if alpha is not None:
                alpha.flags.writeable = False
            self._alpha = alpha
        if box.empty:
            return None
        materials = None
        if preparation.flatten == "off":
            pixels = self.copy_of(self.changes.still, self._pixels_pool)
        else:
            part, labels, box = flatten_part(self.changes.still, box, preparation.flatten)
            self._flat[box.slices] = part
            pixels = self.copy_of(self._flat, self._pixels_pool)
            if labels is not None:
                self._materials[box.slices] = labels
                materials = self.copy_of(self._materials, self._materials_pool)
        return SourceFrame(pixels, self._alpha, materials, box, number, shot.captured_s, shot.media_s)

    @staticmethod
    def copy_of(array: np.ndarray, pool: BufferPool) -> np.ndarray:
        """A read-only copy in memory from the pool."""
        copy = pool.take()
        copy[:] = array
        copy.flags.writeable = False
        return copy


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


class Slot:
    """One-slot mailbox for the newest frame: `put` replaces a waiting frame, and dirty areas are merged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frame: SourceFrame | None = None
        self._dirty = NOTHING

    def put(self, frame: SourceFrame) -> None:
        with self._lock:
            self._dirty = self._dirty.union(frame.dirty)
            self._frame = frame

    def take(self) -> tuple[SourceFrame, Rect] | None:
        """(newest frame, area that differs from the one taken before), or None without a new frame."""
        with self._lock:
            if self._frame is None:
                return None
            taken = self._frame, self._dirty
            self._frame, self._dirty = None, NOTHING
            return taken

    @property
    def waiting(self) -> bool:
        with self._lock:
            return self._frame is not None
