"""Pixels as cells: each 4x4 patch is one position with 16 numbers a plane, the form the network works in.

A whole frame stays in cells from paper to bytes. Cells of 48 channels, channels-last, are what convolutions
read and what simple passes run over fastest; pixels are put in their places once, as bytes.
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
    """(H, W, 4) -> (4, H, W) uint8, a copy: whole planes are what later passes run over fastest."""
    planes = np.empty((4, *paper.shape[:2]), np.uint8)
    cv2.split(paper, [planes[index] for index in range(4)])
    return planes


def means(planes: Tensor) -> Tensor:
    """(4, H, W) uint8 -> (1, 4, h, w) float32: each cell's mean colour in [-1, 1] times alpha; alpha."""
    paint = planes.float()
    paint[:3].mul_(paint[3:])
    mean = F.avg_pool2d(paint[None], CELL_PX)
    mean[:, 3:].mul_(1 / 255)
    mean[:, :3].mul_(1 / (127.5 * 255)).sub_(mean[:, 3:])
    return mean


def bordered(mean: Tensor, sides: tuple[int, int, int, int] = (1, 1, 1, 1)) -> Tensor:
    """One more cell on every side, equal to its neighbour: what interpolation sees beyond the paper.

    sides: how many left, right, above and below, where not all of them are the paper's.
    """
    return F.pad(mean, sides, mode="replicate").contiguous(memory_format=torch.channels_last)


def bilinear() -> Tensor:
    """(PLACES, 3, 3): the share of each of the 3x3 cells around in each pixel of a cell.

    With it `flow.soften`, bilinear interpolation between the middles of cells, is a convolution over cells.
    """
    places = torch.arange(CELL_PX, dtype=torch.float32)
    offsets = (places + 0.5) / CELL_PX - 0.5  # of the pixel from the cell's middle, in cells
    line = torch.stack(((-offsets).clamp_min(0), 1 - offsets.abs(), offsets.clamp_min(0)), 1)  # (CELL_PX, 3)
    return torch.einsum("ai,bj->abij", line, line).reshape(PLACES, 3, 3)


def spreading() -> tuple[Tensor, Tensor]:
    """Weight (2 * COLORS, 4, 3, 3) and bias that turn bordered means into a cell's every pixel.

    The first COLORS channels are the sketch in 0..255, half a step up so that cutting off rounds; the others
    are alpha, once for each colour.
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
    """(1, C, H, W) -> (1, 16 C, h, w), channels-last."""
    return F.pixel_unshuffle(planes, CELL_PX).contiguous(memory_format=torch.channels_last)


def to_pixels(cells: Tensor) -> Tensor:
    """(1, COLORS, h, w) uint8, channels-last -> (3, H, W). A line of a cell moves as one number."""
    _, _, height, width = cells.shape
    lines = cells.permute(0, 2, 3, 1).view(torch.int32).view(height, width, 3, CELL_PX)
    placed = lines.permute(2, 0, 3, 1).contiguous().view(torch.uint8)
    return placed.view(3, height * CELL_PX, width * CELL_PX)
