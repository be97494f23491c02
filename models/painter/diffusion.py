"""Epsilon-prediction diffusion on a variance-preserving path: noising, loss and denoising.

The data are the residual of the picture on its softened sketch, divided by RESIDUAL_STD, so that they have
about unit variance, as the schedules of Ho et al. 2020 and Nichol and Dhariwal 2021 assume. The network gets
sketch, mood and strength as for the flow; t is timestep / 1000, and the input for the step length is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.painter import flow
from models.painter.flow import Condition, Network
from models.sampling.paths import TIMESTEPS, Path


class Noised(NamedTuple):
    """Noised data x_t (B, 3, H, W), the noise in it, and t (B,)."""

    x_t: Tensor
    noise: Tensor
    t: Tensor


def residual(picture: Tensor, condition: Condition) -> Tensor:
    """Convert a picture in [-1, 1] to the data of the diffusion, of about unit variance."""
    return (picture - condition.sketch) / flow.RESIDUAL_STD


def picture(data: Tensor, condition: Condition) -> Tensor:
    """Convert data to a picture: the inverse of `residual`."""
    return condition.sketch + flow.RESIDUAL_STD * data


def add_noise(data: Tensor, path: Path) -> Noised:
    """Noise each sample at its own timestep, drawn uniformly from 1 to TIMESTEPS."""
    timesteps = torch.randint(1, TIMESTEPS + 1, (len(data),))
    t = (timesteps / TIMESTEPS).clamp_max(path.start)
    scales = torch.tensor([path.scale(float(time)) for time in t])
    noise = torch.randn_like(data)
    a, b = (flow.column(part) for part in scales.T)
    return Noised(a * data + b * noise, noise, t)


def epsilon(network: Network, x_t: Tensor, condition: Condition, t: Tensor) -> Tensor:
    """Predict the noise in x_t, (B, 3, H, W)."""
    return network(x_t, condition, t, torch.zeros_like(t)).float()


def epsilon_loss(predicted: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of the noise, (B,): the simple loss of Ho et al. 2020, eq. 14."""
    return (predicted - noise).square().mean((1, 2, 3))


def denoise(network: Network, x_t: Tensor, condition: Condition, t: float, path: Path) -> Tensor:
    """Predict the data from x_t, as a `residual` of shape (B, 3, H, W)."""
    a, b = path.scale(t)
    return (x_t - b * epsilon(network, x_t, condition, torch.full((len(x_t),), t))) / a
