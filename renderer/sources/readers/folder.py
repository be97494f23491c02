"""Source that shows the pictures of a folder as a slideshow."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from renderer.actions import InputError
from renderer.files.images import decode
from renderer.sources.readers.shot import Shot, SourceLost
from renderer.sources.readers.spec import pictures_in


class FolderReader:
    """Reads the pictures of a folder in order of their names, `fps` per second.

    Unreadable pictures are skipped; pictures added meanwhile appear in the next round."""

    def __init__(self, folder: str, *, fps: float):
        """Raises SourceLost if there is no picture."""
        self.interval_s = 1 / fps
        self._folder = Path(folder)
        self._files: list[Path] = []
        self._next = 0
        self.seek(0.0)

    @property
    def duration_s(self) -> float | None:
        return len(self._files) * self.interval_s

    def read(self) -> Shot | None:
        captured_s = time.perf_counter()
        while self._next < len(self._files):
            number, self._next = self._next, self._next + 1
            try:
                image = decode(self._files[number].read_bytes())
            except (InputError, OSError):
                continue
            size = (image.shape[1], image.shape[0])
            at_s = number * self.interval_s
            return Shot(size, captured_s, at_s, lambda w, h, image=image: resized(image, w, h))
        return None

    def seek(self, media_s: float) -> None:
        try:
            self._files = pictures_in(self._folder)
        except OSError as error:
            raise SourceLost(f"{self._folder} cannot be read: {error.strerror}") from error
        if not self._files:
            raise SourceLost(f"there is no picture in {self._folder}")
        self._next = min(len(self._files), max(0, round(media_s / self.interval_s)))

    def close(self) -> None:
        """Do nothing: no resources are held."""


def resized(rgba: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (H, W, 4) with straight alpha to (height, width, 3) RGB if opaque, else (height, width, 4)."""
    opaque = bool((rgba[..., 3] == 255).all())
    if rgba.shape[:2] == (height, width):
        return np.ascontiguousarray(rgba[..., :3]) if opaque else rgba
    how = cv2.INTER_AREA if width < rgba.shape[1] else cv2.INTER_LINEAR
    if opaque:
        return cv2.resize(np.ascontiguousarray(rgba[..., :3]), (width, height), interpolation=how)
    weight = rgba[..., 3:].astype(np.float32) / 255  # transparent pixels do not bleed into their neighbours
    alpha = cv2.resize(weight, (width, height), interpolation=how)
    color = cv2.resize(rgba[..., :3] * weight, (width, height), interpolation=how)
    color /= np.maximum(alpha, 1e-3)[..., None]
    return np.rint(np.clip(np.dstack((color, alpha * 255)), 0, 255)).astype(np.uint8)
