"""Reconstruction losses against the real view: area means and mean features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.painter.flow import CELL_PX

AREAS = ((4, 0.3), (16, 1.0), (32, 1.0))  # side of the areas in pixels, and the weight of their means
PIXEL_WEIGHT = 0.1
BLANK_WEIGHT = 0.1  # for blank paper and paint that contradicts the view: the picture may differ there


def anchor_weights(labels: Tensor, wanted: Tensor, covered: Tensor) -> Tensor:
    """Return how strongly the real view constrains the picture at each cell: (B, 1, h, w).

    labels, wanted: (B, h, w) int64, -1 unknown. covered: (B, 1, h, w), alpha. Paint of another material than
    the view's, for example a horizon at the wrong height, calls for a picture that differs from the view.
    """
    agrees = (wanted < 0) | (labels < 0) | (wanted == labels)
    return BLANK_WEIGHT + (1 - BLANK_WEIGHT) * covered * agrees[:, None]


def anchor_loss(picture: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """L1 distance of pixels and of weighted means over AREAS. weights: (B, 1, H/4, W/4)."""
    difference = picture - target
    total = PIXEL_WEIGHT * (F.avg_pool2d(difference.abs(), CELL_PX) * weights).mean()
    means = F.avg_pool2d(difference, CELL_PX) * weights
    for side, weight in AREAS:
        factor = side // CELL_PX
        coarse = F.avg_pool2d(means, factor) if factor > 1 else means
        total = total + weight * coarse.abs().mean()
    return total


def feature_mean_loss(made: list[Tensor], real: list[Tensor]) -> Tensor:
    """L1 distance of the mean features of each picture, averaged over scales."""
    gaps = [
        (mine.float().mean((2, 3)) - theirs.float().mean((2, 3))).abs().mean()
        for mine, theirs in zip(made, real, strict=True)
    ]
    return torch.stack(gaps).mean()
