"""The true diffusion: epsilon on a variance-preserving path, forward and loss in one place.

It diffuses the residual of the picture on its softened sketch, over RESIDUAL_STD, so that its data have about
unit variance, as the schedules of Ho et al. 2020 and Nichol and Dhariwal 2021 assume. The network gets the
sketch, mood and strength as it knows them; t is timestep / 1000, and its input for the step's length is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.painter import flow
from models.painter.flow import Condition, Network
from models.sampling.paths import TIMESTEPS, Path


class Noised(NamedTuple):
    """x_t (B, 3, H, W), the noise in it, and t (B,)."""

    x_t: Tensor
    noise: Tensor
    t: Tensor


def residual(picture: Tensor, condition: Condition) -> Tensor:
    """Picture in [-1, 1] -> the data of the diffusion, of about unit variance."""
    return (picture - condition.sketch) / flow.RESIDUAL_STD


def picture(data: Tensor, condition: Condition) -> Tensor:
    """The inverse of `residual`."""
    return condition.sketch + flow.RESIDUAL_STD * data


def add_noise(data: Tensor, path: Path) -> Noised:
    """Each sample at a timestep of its own, all of the TIMESTEPS as likely."""
    timesteps = torch.randint(1, TIMESTEPS + 1, (len(data),))
    t = (timesteps / TIMESTEPS).clamp_max(path.start)
    scales = torch.tensor([path.scale(float(time)) for time in t])
    noise = torch.randn_like(data)
    a, b = (flow.column(part) for part in scales.T)
    return Noised(a * data + b * noise, noise, t)


def epsilon(network: Network, x_t: Tensor, condition: Condition, t: Tensor) -> Tensor:
    """The noise (B, 3, H, W) that the network sees in x_t."""
    return network(x_t, condition, t, torch.zeros_like(t)).float()


def epsilon_loss(predicted: Tensor, noise: Tensor) -> Tensor:
    """(B,) mean squared error of the noise: the simple loss of Ho et al. 2020, eq. 14."""
    return (predicted - noise).square().mean((1, 2, 3))


def denoise(network: Network, x_t: Tensor, condition: Condition, t: float, path: Path) -> Tensor:
    """The data (B, 3, H, W), as a `residual`, that the predicted noise leaves of x_t."""
    a, b = path.scale(t)
    return (x_t - b * epsilon(network, x_t, condition, torch.full((len(x_t),), t))) / a
