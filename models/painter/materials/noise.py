"""Noise at every scale, anchored to the canvas: what decides grain, rocks and where a ridge runs.

White noise at full resolution has a sixteenth of its strength left at 1/16 scale, so nothing there decides
on a form. Here each scale has unit noise of its own, a function of (seed, scale, canvas position). The start
of a flow is their weighted sum, whose spectrum falls with frequency as that of pictures does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.ops.noise import normal
from models.painter.flow import CELL_PX

SCALES = (4, 8, 16, 32)  # pixels of canvas for one position of a level
LEVEL_CHANNELS = 2
PLACES = CELL_PX**2
WHITE_SHARE = 0.4  # of the start's variance; the levels have equal parts of the rest
SEED_STEP = 0x9E3779B97F4A7C15  # apart by an odd 64-bit number, so the seeds of two scales never meet
# the two channels of a level as colours: light, and warm against cold
TINTS = ((3**-0.5, 2**-0.5), (3**-0.5, 0.0), (3**-0.5, -(2**-0.5)))


class Noise(NamedTuple):
    """white: (B, 3 * 16, H/4, W/4), cells of 4 px. levels: (B, 2, H/k, W/k) for k in SCALES. All of unit
    variance."""

    white: Tensor
    levels: tuple[Tensor, ...]

    def rows(self, chosen: slice | Tensor) -> Noise:
        return Noise(self.white[chosen], tuple(level[chosen] for level in self.levels))

    def start(self) -> Tensor:
        """(B, 48, H/4, W/4): white noise and all levels, of unit variance."""
        size = (self.white.shape[2], self.white.shape[3])
        low = torch.stack([F.interpolate(level, size, mode="nearest") for level in self.levels]).sum(0)
        tints = torch.tensor(TINTS, dtype=low.dtype, device=low.device)
        # a tint's row has squared length 5/6 or 1/3: `spread` makes the mean over the colours one
        spread = (tints.square().sum(1).mean() * len(self.levels) / (1 - WHITE_SHARE)).rsqrt()
        colors = torch.einsum("ct,bthw->bchw", tints * spread, low)
        return self.white * WHITE_SHARE**0.5 + colors.repeat_interleave(PLACES, 1)


def anchored(
    seed: int,
    height: int,
    width: int,
    *,
    origin: tuple[int, int] = (0, 0),
    device: torch.device | str = "cpu",
) -> Noise:
    """The noise of one picture (a batch of one). origin: canvas position (x, y) of its top-left pixel.

    Crops agree with the whole where the origin is a multiple of 32 px. Raises ValueError for positions
    outside the canvas, as `kernels.ops.noise.normal` does.
    """
    x0, y0 = origin
    white = normal(seed, height=height, width=width, channels=3, y0=y0, x0=x0, device=device)
    levels = [
        normal(
            seed + index * SEED_STEP,
            height=height // scale,
            width=width // scale,
            channels=LEVEL_CHANNELS,
            y0=y0 // scale,
            x0=x0 // scale,
            device=device,
        )[None]
        for index, scale in enumerate(SCALES, 1)
    ]
    return Noise(F.pixel_unshuffle(white[None], CELL_PX), tuple(levels))


def drawn(count: int, height: int, width: int, generator: torch.Generator | None = None) -> Noise:
    """Fresh noise for a batch of `count` pictures, as training needs it."""
    h, w = height // CELL_PX, width // CELL_PX
    white = torch.randn(count, h, w, 3 * PLACES, generator=generator).permute(0, 3, 1, 2)  # channels-last
    levels = [
        torch.randn(count, LEVEL_CHANNELS, height // k, width // k, generator=generator) for k in SCALES
    ]
    return Noise(white, tuple(levels))
