"""Conversion between pixels and cells: a cell is a 4x4 patch, one position with 16 channels per plane.

The network works on cells, and a frame stays in cells from the paper to the output bytes. Convolutions and
elementwise passes are fastest on 48 channels, channels-last. Cells become pixels once, as bytes.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.painter.flow import CELL_PX

PLACES = CELL_PX**2
COLORS = 3 * PLACES


def split(paper: np.ndarray) -> np.ndarray:
    """Copy (H, W, 4) uint8 to planes (4, H, W): later passes are fastest on whole planes."""
    planes = np.empty((4, *paper.shape[:2]), np.uint8)
    cv2.split(paper, [planes[index] for index in range(4)])
    return planes


def means(planes: Tensor) -> Tensor:
    """Cell means of (4, H, W) uint8 as (1, 4, h, w) float32: colour in [-1, 1] times alpha, then alpha."""
    paint = planes.float()
    paint[:3].mul_(paint[3:])
    mean = F.avg_pool2d(paint[None], CELL_PX)
    mean[:, 3:].mul_(1 / 255)
    mean[:, :3].mul_(1 / (127.5 * 255)).sub_(mean[:, 3:])
    return mean


def bordered(mean: Tensor, sides: tuple[int, int, int, int] = (1, 1, 1, 1)) -> Tensor:
    """Pad by replication, by one cell on every side: the border values for interpolation.

    sides: cells to add left, right, above and below, for a region with sides inside the paper.
    """
    return F.pad(mean, sides, mode="replicate").contiguous(memory_format=torch.channels_last)


def bilinear() -> Tensor:
    """Bilinear weights of the 3x3 surrounding cells for each pixel of a cell, (PLACES, 3, 3).

    With them `flow.soften`, bilinear interpolation between cell centres, is a convolution over cells.
    """
    places = torch.arange(CELL_PX, dtype=torch.float32)
    offsets = (places + 0.5) / CELL_PX - 0.5  # of the pixel from the cell's centre, in cells
    line = torch.stack(((-offsets).clamp_min(0), 1 - offsets.abs(), offsets.clamp_min(0)), 1)  # (CELL_PX, 3)
    return torch.einsum("ai,bj->abij", line, line).reshape(PLACES, 3, 3)


def spreading() -> tuple[Tensor, Tensor]:
    """Weight (2 * COLORS, 4, 3, 3) and bias of the convolution from bordered means to pixels in cells.

    The first COLORS channels are the sketch in 0..255, plus 0.5 so that truncation rounds; the others are
    alpha, repeated for each colour.
    """
    share = bilinear()
    weight = torch.zeros(2, 3, PLACES, 4, 3, 3, dtype=torch.float32)
    for color in range(3):
        weight[0, color, :, color] = share * 127.5
        weight[1, color, :, 3] = share
    bias = torch.zeros(2, COLORS, dtype=torch.float32)
    bias[0] = 128
    return weight.flatten(0, 2), bias.flatten()


def of_pixels(planes: Tensor) -> Tensor:
    """Convert pixels (1, C, H, W) to cells (1, 16 C, h, w), channels-last."""
    return F.pixel_unshuffle(planes, CELL_PX).contiguous(memory_format=torch.channels_last)


def to_pixels(cells: Tensor) -> Tensor:
    """Convert cells (1, COLORS, h, w) uint8, channels-last, to (3, H, W).

    Each row of a cell, 4 bytes, is moved as one int32.
    """
    _, _, height, width = cells.shape
    lines = cells.permute(0, 2, 3, 1).view(torch.int32).view(height, width, 3, CELL_PX)
    placed = lines.permute(2, 0, 3, 1).contiguous().view(torch.uint8)
    return placed.view(3, height * CELL_PX, width * CELL_PX)
