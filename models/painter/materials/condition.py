"""Inputs of the material-aware painter: paint, materials, look, mood, strength, canvas height and noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.api import MATERIALS
from models.painter.flow import CELL_PX
from models.painter.materials.noise import Noise

UNKNOWN = 0
MATERIAL_CHANNELS = len(MATERIALS) + 1  # the first is paint of unknown material


class MaterialCondition(NamedTuple):
    """Inputs of a MaterialNetwork. All but `noise` and `look` are float32; h, w = H / 4, W / 4.

    paint: (B, 4, H, W), colour in [-1, 1] times alpha, and alpha in [0, 1].
    means: (B, 4, h, w), the mean of `paint` over each cell of 4 px.
    materials: (B, 13, h, w), one-hot times the cell's alpha; on blank paper the plan, or 0.
    height: (B, 1, h, w), 0 at the top of the canvas, 1 at its bottom.
    strength: (B,) in [0, 1]. mood: (B, 7) in [0, 1]. look: (B,) int64, index in LOOKS.
    """

    paint: Tensor
    means: Tensor
    materials: Tensor
    height: Tensor
    strength: Tensor
    mood: Tensor
    look: Tensor
    noise: Noise

    def rows(self, chosen: slice | Tensor) -> MaterialCondition:
        """Select rows of the batch."""
        return MaterialCondition(
            self.paint[chosen],
            self.means[chosen],
            self.materials[chosen],
            self.height[chosen],
            self.strength[chosen],
            self.mood[chosen],
            self.look[chosen],
            self.noise.rows(chosen),
        )

    @property
    def sketch(self) -> Tensor:
        """Colour times alpha, softened over cells, (B, 3, H, W): the base of the picture's residual."""
        return spread(self.means[:, :3])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Batch size, height and width in pixels: (B, H, W)."""
        return len(self.paint), self.paint.shape[2], self.paint.shape[3]


def spread(means: Tensor) -> Tensor:
    """Interpolate cell values (B, C, h, w) bilinearly between cell centres, to (B, C, H, W)."""
    return F.interpolate(means, scale_factor=CELL_PX, mode="bilinear", align_corners=False)


def condition_of(
    papers: np.ndarray | Tensor,
    materials: np.ndarray | Tensor,
    *,
    noise: Noise,
    strength: Tensor,
    mood: Tensor,
    look: Tensor,
    height: Tensor,
    plan: Tensor | None = None,
) -> MaterialCondition:
    """Build a MaterialCondition from papers and material maps.

    papers: (B, H, W, 4) uint8 RGBA. materials: (B, H, W) uint8, 0 unknown, else 1 + index in MATERIALS.
    height: (B, h, w) in [0, 1]. plan: (B, 12, h, w), shares of the materials in unpainted areas.
    """
    pixels = torch.as_tensor(papers).permute(0, 3, 1, 2).float()
    alpha = pixels[:, 3:] / 255
    paint = torch.cat(((pixels[:, :3] / 127.5 - 1) * alpha, alpha), 1)
    means = F.avg_pool2d(paint, CELL_PX)
    middle = torch.as_tensor(materials)[:, CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX]
    covered = means[:, 3:]
    seen = F.one_hot(middle.long(), MATERIAL_CHANNELS).permute(0, 3, 1, 2).float() * covered
    if plan is not None:
        seen[:, 1:] += plan * (1 - covered)
    return MaterialCondition(paint, means, seen, height[:, None].float(), strength, mood, look, noise)


def heights(rows: int, columns: int, *, top_px: int, canvas_px: int) -> Tensor:
    """Vertical canvas position of each cell, (rows, columns): 0 at the top, 1 at the bottom."""
    middles = (top_px + (torch.arange(rows, dtype=torch.float32) + 0.5) * CELL_PX) / canvas_px
    return middles.clamp(0, 1)[:, None].expand(rows, columns)
