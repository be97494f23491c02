"""Change detection in video: finds differences above the noise level, which is estimated from the video.

Where nothing changed, pixels of an earlier frame are kept bit for bit, so that a still part of a noisy
source stays still. Only the source is compared, not the strokes.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.api import NOTHING, Rect

BLOCK_PX = 4  # block size for averaging differences, which divides the noise by four
TILE_PX = 32  # tile size for measuring the noise
BANDS = 8  # brightness bands: a camera's noise depends on brightness
STILL_SHARE = 0.25  # share of tiles assumed still, where the noise is measured
SIGMAS = 5.0  # a block of pure noise exceeds this once in 1.7 million
LEAST_LEVELS, MOST_NOISE = 2.5, 6.0  # smallest difference that counts; upper limit of a block's noise
SHARP_LEVELS = 24  # a single pixel that differs by this much above the noise also counts
RISE, FALL = 0.06, 0.25  # rates at which the noise estimate rises and falls
DARK, BRIGHT = 6, 249  # levels beyond which noise is clipped


class ChangeDetector:
    """Detects changes in one source. still: (H, W, 3) uint8, the picture updated only above the noise.

    noise: (BANDS,) standard deviation of a block's difference between two frames, in levels of 255.
    changed_share: share of the picture's area that changed at the last update.
    """

    def __init__(self, width: int, height: int):
        self.still = np.zeros((height, width, 3), np.uint8)
        self.noise = np.zeros(BANDS)
        self.changed_share = 0.0
        self._blocks = (max(1, -(-width // BLOCK_PX)), max(1, -(-height // BLOCK_PX)))
        self._tiles = (max(1, width // TILE_PX), max(1, height // TILE_PX))
        self._measured = 0  # number of frames
        self._last = self._still = np.zeros((*self._blocks[::-1], 3), np.uint8)  # block means: frame, `still`
        self._begun = False

    @property
    def noise_levels(self) -> float:
        """Standard deviation of a pixel's noise in levels of 255, the largest of all bands."""
        return float(self.noise.max()) * BLOCK_PX / 2**0.5

    def update(self, rgb: np.ndarray) -> Rect:
        """Process a frame, (H, W, 3) uint8. Returns the part of `still` that changed."""
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
        """Update the noise estimate of each brightness band from the tiles with the smallest differences."""
        apart = cv2.subtract(means, self._last, dtype=cv2.CV_32F)
        if not cv2.countNonZero(apart.reshape(-1)):
            return  # a repeated frame has no information about noise
        square = cv2.resize(cv2.multiply(apart, apart), self._tiles, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(apart, self._tiles, interpolation=cv2.INTER_AREA)  # a fade is not noise
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
        """Mask of blocks, (rows, columns) uint8: 1 for changed blocks and their neighbours."""
        levels = (np.arange(256) + 0.5) * (BANDS / 256) - 0.5
        noise = np.interp(levels, np.arange(BANDS), self.noise)
        least = np.maximum(LEAST_LEVELS, SIGMAS * noise).astype(np.float32)
        apart = brightest(cv2.absdiff(means, self._still))
        limit = cv2.LUT(cv2.cvtColor(means, cv2.COLOR_RGB2GRAY), least)
        weak = (apart > limit).astype(np.uint8)
        beside = cv2.boxFilter(weak, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        strong = (apart > 2 * limit) | ((weak > 0) & (beside > 1))  # a single weak block is noise
        sharp = min(255.0, SHARP_LEVELS + SIGMAS * float(self.noise.max()) * BLOCK_PX)
        near = cv2.inRange(cv2.absdiff(rgb, self.still), (0, 0, 0), (sharp, sharp, sharp))
        if cv2.countNonZero(near) < near.size:
            strong |= cv2.resize(255 - near, self._blocks, interpolation=cv2.INTER_AREA) > 0
        return cv2.dilate(strong.astype(np.uint8), np.ones((3, 3), np.uint8))


def brightest(image: np.ndarray) -> np.ndarray:
    """Maximum over the channels, (H, W, 3) -> (H, W), in a tenth of the time of `max`."""
    first, second, third = cv2.split(image)
    return cv2.max(cv2.max(first, second), third)
