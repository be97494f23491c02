"""Multi-scale noise anchored to the canvas: varies the picture from grain and rocks to the run of a ridge.

White noise at full resolution has a sixteenth of its strength left at 1/16 scale, too little to vary large
forms. Therefore each scale has its own unit noise, a function of (seed, scale, canvas position). The start of
a flow is their weighted sum, whose spectrum falls with frequency like that of pictures.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.ops.noise import normal
from models.painter.flow import CELL_PX

SCALES = (4, 8, 16, 32)  # canvas pixels per position of a level
LEVEL_CHANNELS = 2
PLACES = CELL_PX**2
WHITE_SHARE = 0.4  # white noise's share of the start's variance; the levels share the rest equally
SEED_STEP = 0x9E3779B97F4A7C15  # seed offset between scales, an odd 64-bit number, so that no two are equal
# colours of a level's two channels: lightness, and warm against cold
TINTS = ((3**-0.5, 2**-0.5), (3**-0.5, 0.0), (3**-0.5, -(2**-0.5)))


class Noise(NamedTuple):
    """Multi-scale noise of unit variance.

    white: (B, 3 * 16, H/4, W/4), cells of 4 px. levels: (B, 2, H/k, W/k) for k in SCALES.
    """

    white: Tensor
    levels: tuple[Tensor, ...]

    def rows(self, chosen: slice | Tensor) -> Noise:
        return Noise(self.white[chosen], tuple(level[chosen] for level in self.levels))

    def start(self) -> Tensor:
        """Weighted sum of white noise and all levels, (B, 48, H/4, W/4), of unit variance."""
        size = (self.white.shape[2], self.white.shape[3])
        low = torch.stack([F.interpolate(level, size, mode="nearest") for level in self.levels]).sum(0)
        tints = torch.tensor(TINTS, dtype=low.dtype, device=low.device)
        # the rows of TINTS have squared lengths 5/6 and 1/3; `spread` normalises their mean over the colours
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
    """Deterministic noise of one picture (a batch of one) at a canvas position.

    origin: canvas position (x, y) of the top-left pixel. A crop equals that part of the whole if its origin
    is a multiple of 32 px. Raises ValueError for positions outside the canvas, as `kernels.ops.noise.normal`.
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
    """Draw random noise for a training batch of `count` pictures."""
    h, w = height // CELL_PX, width // CELL_PX
    white = torch.randn(count, h, w, 3 * PLACES, generator=generator).permute(0, 3, 1, 2)  # channels-last
    levels = [
        torch.randn(count, LEVEL_CHANNELS, height // k, width // k, generator=generator) for k in SCALES
    ]
    return Noise(white, tuple(levels))
