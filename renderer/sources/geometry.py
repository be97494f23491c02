"""Placement of a source picture on the paper: crop, mirror and fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from models.api import Rect
from renderer.actions import InputError
from renderer.sources.readers.shot import Shot

Fit = Literal["cover", "contain", "stretch"]
FITS: tuple[Fit, ...] = ("cover", "contain", "stretch")


def checked_fit(text: str) -> Fit:
    """Check the name of a fit. Raises InputError."""
    for fit in FITS:
        if fit == text:
            return fit
    raise InputError(f"a source's fit is one of {', '.join(FITS)}, not {text!r}")


@dataclass(frozen=True)
class Placement:
    """Placement settings.

    fit: cover (fill the paper and crop), contain (show the whole picture, the rest blank), or stretch.
    mirror: flip left and right. crop: part of the source in its own pixels; empty for all of it."""

    fit: Fit = "cover"
    mirror: bool = False
    crop: Rect = Rect()

    def boxes(self, size: tuple[int, int], paper: tuple[int, int]) -> tuple[Rect, Rect]:
        """Compute (part of the source, part of the paper that shows it). Both sizes are (width, height).

        A crop outside the picture is ignored.
        """
        whole = Rect(0, 0, *size)
        part = self.crop.intersect(whole)
        if part.empty:
            part = whole
        width, height = paper
        if self.fit == "stretch":
            return part, Rect(0, 0, width, height)
        if self.fit == "contain":
            scale = min(width / part.width, height / part.height)
            wide = min(width, max(1, round(part.width * scale)))
            high = min(height, max(1, round(part.height * scale)))
            x, y = (width - wide) // 2, (height - high) // 2
            return part, Rect(x, y, x + wide, y + high)
        scale = max(width / part.width, height / part.height)
        wide = min(part.width, max(1, round(width / scale)))
        high = min(part.height, max(1, round(height / scale)))
        x, y = part.x0 + (part.width - wide) // 2, part.y0 + (part.height - high) // 2
        return Rect(x, y, x + wide, y + high), Rect(0, 0, width, height)

    def place(self, shot: Shot, paper: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Fit a picture: ((H, W, 3) uint8 RGB on the paper, (H, W) uint8 alpha, or None if it covers all)."""
        part, box = self.boxes(shot.size, paper)
        image = shot.convert(*scaled_size(shot.size, part, box))
        x0, y0, x1, y1 = (
            round(edge * image.shape[axis] / shot.size[1 - axis])
            for edge, axis in ((part.x0, 1), (part.y0, 0), (part.x1, 1), (part.y1, 0))
        )
        image = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        if image.shape[:2] != (box.height, box.width):
            shrinks = image.shape[0] > box.height
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = cv2.resize(image, (box.width, box.height), interpolation=how)
        if self.mirror:
            image = image[:, ::-1]
        alpha = None
        if image.shape[2] == 4:
            alpha, image = np.ascontiguousarray(image[..., 3]), image[..., :3]
        if (box.width, box.height) == paper:
            return np.ascontiguousarray(image), alpha
        full = np.zeros((paper[1], paper[0], 3), np.uint8)
        full[box.slices] = image
        cover = np.zeros((paper[1], paper[0]), np.uint8)
        cover[box.slices] = 255 if alpha is None else alpha
        return full, cover


def scaled_size(size: tuple[int, int], part: Rect, box: Rect) -> tuple[int, int]:
    """(width, height) at which to decode the entire picture so that its part is as large as the box.

    Never larger than the picture itself; enlarging is done after the crop."""
    across, down = min(1.0, box.width / part.width), min(1.0, box.height / part.height)
    return max(1, round(size[0] * across)), max(1, round(size[1] * down))
