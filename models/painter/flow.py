"""Rectified flow: the path, the start of an edit, the velocity, and the loss, in one place.

Time runs from t=1 (the start z) to t=0 (the picture x): x_t = (1-t) x + t z, velocity v = z - x
(Liu et al. 2022, "Flow Straight and Fast"; Lipman et al. 2022, "Flow Matching"). The network predicts the
picture; `denoise` wraps it in the preconditioning of Karras et al. 2022 (EDM, eq. 7), written for this path.
Pictures are (B, 3, H, W) in [-1, 1]; alpha (B, 1, H, W), times and strengths (B,) are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

RESIDUAL_STD = 0.4  # standard deviation of picture minus sketch over the training views, both in [-1, 1]
CELL_PX = 4
MIN_TIME = 0.02  # times below this are not asked of the network: the velocity divides by t


class Condition(NamedTuple):
    """What the painter knows besides the noisy picture.

    sketch: (B, 3, H, W), colour times alpha. alpha: (B, 1, H, W). Both are softened. strength: (B,).
    mood: (B, axes) in [0, 1].
    """

    sketch: Tensor
    alpha: Tensor
    strength: Tensor
    mood: Tensor

    def rows(self, chosen: slice | Tensor) -> Condition:
        return Condition(*(part[chosen] for part in self))


Network = Callable[[Tensor, Condition, Tensor, Tensor], Tensor]
"""(residual, condition, t, step) -> (B, 3, H, W), of about unit variance."""


def soften(paint: Tensor) -> Tensor:
    """(B, C, H, W) -> the same shape at a quarter of the detail: a mean over cells of 4 px, bilinear between.

    The picture is told as a residual on the sketch. A stroke's hard edge would have to be taken back to the
    last digit by a network that works on such cells, and shows as a halo; a soft edge does not.
    """
    return spread(F.avg_pool2d(paint, CELL_PX))


def spread(means: Tensor) -> Tensor:
    """(B, C, h, w) of cells -> (B, C, H, W), bilinear between their middles."""
    return F.interpolate(means, scale_factor=CELL_PX, mode="bilinear", align_corners=False)


def column(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1), to multiply pictures with."""
    return values.view(-1, 1, 1, 1)


def start(condition: Condition, noise: Tensor) -> Tensor:
    """The start z of an edit: pure noise where nothing is painted, sketch mixed with noise where it is."""
    return condition.sketch * column(1 - condition.strength) + noise_share(condition) * noise


def noise_share(condition: Condition) -> Tensor:
    """(B, 1, H, W): how much of the start is noise; 1 on blank paper, `strength` under opaque paint."""
    return 1 - condition.alpha * column(1 - condition.strength)


def interpolate(picture: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """The straight path x_t from the picture (t=0) to the start (t=1)."""
    return torch.lerp(picture, z, column(t))


def scales(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(c_in, c_skip, c_out) of the residual x_t - E[x_t | sketch], whose data part has RESIDUAL_STD."""
    variance = (1 - t) ** 2 * RESIDUAL_STD**2 + t**2
    root = variance.sqrt()
    return 1 / root, (1 - t) * RESIDUAL_STD**2 / variance, t * RESIDUAL_STD / root


def denoise(network: Network, x_t: Tensor, condition: Condition, t: Tensor, step: Tensor) -> Tensor:
    """Predict the picture (B, 3, H, W) from x_t. `step` (B,): length of the step to take; 0 for a tangent."""
    c_in, c_skip, c_out = (column(c) for c in scales(t))
    residual = x_t - condition.sketch * column(1 - t * condition.strength)
    out = network(residual * c_in, condition, t, step)
    return condition.sketch + c_skip * residual + c_out * out.float()


def velocity(x_t: Tensor, picture: Tensor, t: Tensor) -> Tensor:
    """v = (x_t - x) / t, the slope of the straight line from the predicted picture through x_t."""
    return (x_t - picture) / column(t)


def velocity_loss(picture: Tensor, target: Tensor, t: Tensor) -> Tensor:
    """(B,) mean squared error of the velocity; equal to the picture's error over t squared."""
    return (picture - target).square().mean((1, 2, 3)) / t.clamp_min(MIN_TIME) ** 2
