"""Which part of a moving picture really changed: differences above the noise that is measured in it.

Where nothing changed the pixels of an earlier frame are kept, bit for bit, so that a still part of a noisy
source gives a still picture. The differences are those of the source, never of strokes.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.api import NOTHING, Rect

BLOCK_PX = 4  # differences are averaged over such blocks, which divides the noise by four
TILE_PX = 32  # and the noise is measured in such tiles
BANDS = 8  # of brightness: a camera's noise depends on it
STILL_SHARE = 0.25  # of the tiles at least is taken to be still: the noise is read there
SIGMAS = 5.0  # a block of noise alone exceeds this once in 1.7 million
LEAST_LEVELS, MOST_NOISE = 2.5, 6.0  # smallest difference that counts; largest noise of a block
SHARP_LEVELS = 24  # a single pixel that differs by so much, above the noise, counts as well
RISE, FALL = 0.06, 0.25  # how fast the noise estimate follows upwards and downwards
DARK, BRIGHT = 6, 249  # at these ends the noise is cut off


class ChangeDetector:
    """Follows one source. still: (H, W, 3) uint8, the picture with changes above the noise only.

    noise: (BANDS,) standard deviation of a block's difference between two frames, in levels of 255.
    changed_share: of the picture's area, at the last update.
    """

    def __init__(self, width: int, height: int):
        self.still = np.zeros((height, width, 3), np.uint8)
        self.noise = np.zeros(BANDS)
        self.changed_share = 0.0
        self._blocks = (max(1, -(-width // BLOCK_PX)), max(1, -(-height // BLOCK_PX)))
        self._tiles = (max(1, width // TILE_PX), max(1, height // TILE_PX))
        self._measured = 0  # frames
        self._last = self._still = np.zeros((*self._blocks[::-1], 3), np.uint8)  # block means: frame, `still`
        self._begun = False

    @property
    def noise_levels(self) -> float:
        """Standard deviation of a pixel, in levels of 255: the largest of all bands."""
        return float(self.noise.max()) * BLOCK_PX / 2**0.5

    def update(self, rgb: np.ndarray) -> Rect:
        """Take in a frame, (H, W, 3) uint8; returns the part of `still` that changed."""
        means = np.asarray(cv2.resize(rgb, self._blocks, interpolation=cv2.INTER_AREA))
        if not self._begun:
            self._last, self._still, self._begun = means, means.copy(), True
            self.still[:] = rgb
            self.changed_share = 1.0
            return Rect(0, 0, rgb.shape[1], rgb.shape[0])
        self._measure(means)
        self._last = means
        moved = self._moved(rgb, means)
        self.changed_share = float(moved.mean())
        x, y, wide, high = cv2.boundingRect(moved)
        if not wide:
            return NOTHING
        self._still[moved > 0] = means[moved > 0]
        box = Rect(
            x * rgb.shape[1] // self._blocks[0],
            y * rgb.shape[0] // self._blocks[1],
            -(-(x + wide) * rgb.shape[1] // self._blocks[0]),
            -(-(y + high) * rgb.shape[0] // self._blocks[1]),
        )
        mask = cv2.resize(moved, rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        cv2.copyTo(rgb[box.slices], mask[box.slices], self.still[box.slices])
        return box

    def _measure(self, means: np.ndarray) -> None:
        """Follow the noise: in each band of brightness, what the stillest tiles differ by."""
        apart = cv2.subtract(means, self._last, dtype=cv2.CV_32F)
        if not cv2.countNonZero(apart.reshape(-1)):
            return  # the same frame twice says nothing about noise
        square = cv2.resize(cv2.multiply(apart, apart), self._tiles, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(apart, self._tiles, interpolation=cv2.INTER_AREA)  # a fade is no noise
        power = np.maximum(square - mean**2, 0).mean(-1)
        bright = cv2.resize(means, self._tiles, interpolation=cv2.INTER_AREA).mean(-1)
        usable = (bright > DARK) & (bright < BRIGHT)
        if not usable.any():
            return
        self._measured += 1
        spread = np.sqrt(power)
        general = np.quantile(spread[usable], STILL_SHARE)
        band = (bright * (BANDS / 256)).astype(int)
        for number in range(BANDS):
            here = spread[usable & (band == number)]
            seen = np.quantile(here, STILL_SHARE) if len(here) >= 8 else general
            seen = min(float(seen), MOST_NOISE)
            rate = max(RISE if seen > self.noise[number] else FALL, 1 / self._measured)
            self.noise[number] += rate * (seen - self.noise[number])

    def _moved(self, rgb: np.ndarray, means: np.ndarray) -> np.ndarray:
        """(rows, columns) uint8 of blocks, 1 where one changed or lies beside one that did."""
        levels = (np.arange(256) + 0.5) * (BANDS / 256) - 0.5
        noise = np.interp(levels, np.arange(BANDS), self.noise)
        least = np.maximum(LEAST_LEVELS, SIGMAS * noise).astype(np.float32)
        apart = brightest(cv2.absdiff(means, self._still))
        limit = cv2.LUT(cv2.cvtColor(means, cv2.COLOR_RGB2GRAY), least)
        weak = (apart > limit).astype(np.uint8)
        beside = cv2.boxFilter(weak, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        strong = (apart > 2 * limit) | ((weak > 0) & (beside > 1))  # one weak block alone is noise
        sharp = min(255.0, SHARP_LEVELS + SIGMAS * float(self.noise.max()) * BLOCK_PX)
        near = cv2.inRange(cv2.absdiff(rgb, self.still), (0, 0, 0), (sharp, sharp, sharp))
        if cv2.countNonZero(near) < near.size:
            strong |= cv2.resize(255 - near, self._blocks, interpolation=cv2.INTER_AREA) > 0
        return cv2.dilate(strong.astype(np.uint8), np.ones((3, 3), np.uint8))


def brightest(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W): the largest of the channels, at a tenth of the time of `max`."""
    first, second, third = cv2.split(image)
    return cv2.max(cv2.max(first, second), third)
