"""Rectified flow: path, start of an edit, preconditioned prediction, velocity and loss.

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
MIN_TIME = 0.02  # smallest time given to the network: the velocity divides by t


class Condition(NamedTuple):
    """Inputs of the painter besides the noisy picture.

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
    """Low-pass filter: average over cells of 4 px, then bilinear interpolation; (B, C, H, W) to the same.

    The picture is predicted as a residual on the sketch. A network that works on 4 px cells cannot cancel
    the hard edge of a stroke exactly, which leaves a halo; a soft edge leaves none.
    """
    return spread(F.avg_pool2d(paint, CELL_PX))


def spread(means: Tensor) -> Tensor:
    """Interpolate cell values (B, C, h, w) bilinearly between cell centres, to (B, C, H, W)."""
    return F.interpolate(means, scale_factor=CELL_PX, mode="bilinear", align_corners=False)


def column(values: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, 1, 1), to multiply pictures with."""
    return values.view(-1, 1, 1, 1)


def start(condition: Condition, noise: Tensor) -> Tensor:
    """Start z of an edit: pure noise on blank paper, a mix of sketch and noise under paint."""
    return condition.sketch * column(1 - condition.strength) + noise_share(condition) * noise


def noise_share(condition: Condition) -> Tensor:
    """Noise share of the start, (B, 1, H, W): 1 on blank paper, `strength` under opaque paint."""
    return 1 - condition.alpha * column(1 - condition.strength)


def interpolate(picture: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """Point x_t on the straight path from the picture (t=0) to the start (t=1)."""
    return torch.lerp(picture, z, column(t))


def scales(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Preconditioning factors (c_in, c_skip, c_out) of the residual x_t - E[x_t | sketch].

    The data part of the residual has standard deviation RESIDUAL_STD.
    """
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
    """Velocity v = (x_t - x) / t, the slope of the line from the predicted picture x through x_t."""
    return (x_t - picture) / column(t)


def velocity_loss(picture: Tensor, target: Tensor, t: Tensor) -> Tensor:
    """Mean squared error of the velocity, (B,): the picture's error divided by t squared."""
    return (picture - target).square().mean((1, 2, 3)) / t.clamp_min(MIN_TIME) ** 2
