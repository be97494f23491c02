"""Toy distributions in the plane with about unit spread: functions (count, generator) -> (count, 2) float."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from models.api import ModelError

GRAIN = 0.06  # standard deviation of the noise on a curve


def uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator)


def normal(count: int, generator: torch.Generator) -> Tensor:
    """A standard Gaussian."""
    return torch.randn(count, 2, generator=generator)


def grain(points: Tensor, generator: torch.Generator) -> Tensor:
    return points + GRAIN * torch.randn(points.shape, generator=generator)


def moons(count: int, generator: torch.Generator) -> Tensor:
    """Two interleaved half circles."""
    angle, upper = math.pi * uniform(count, generator), uniform(count, generator) < 0.5
    x = torch.where(upper, angle.cos() - 0.5, 0.5 - angle.cos())
    y = torch.where(upper, angle.sin() - 0.25, 0.25 - angle.sin())
    return grain(torch.stack((x, y), 1) * 1.2, generator)


def rings(count: int, generator: torch.Generator) -> Tensor:
    """Two concentric circles."""
    angle = 2 * math.pi * uniform(count, generator)
    radius = torch.where(uniform(count, generator) < 0.6, 1.7, 0.8)
    return grain(torch.stack((angle.cos(), angle.sin()), 1) * radius[:, None], generator)


def gaussians(count: int, generator: torch.Generator) -> Tensor:
    """Eight small Gaussians on a circle."""
    angle = torch.randint(8, (count,), generator=generator) * (math.pi / 4)
    centres = torch.stack((angle.cos(), angle.sin()), 1) * 1.8
    return centres + 0.15 * torch.randn(count, 2, generator=generator)


def spiral(count: int, generator: torch.Generator) -> Tensor:
    """A spiral of two turns."""
    turn = uniform(count, generator).sqrt() * 4 * math.pi
    return grain(torch.stack((turn.cos(), turn.sin()), 1) * (turn * 0.15)[:, None], generator)


def checkers(count: int, generator: torch.Generator) -> Tensor:
    """The black squares of a 4 x 4 checkerboard."""
    row = torch.randint(4, (count,), generator=generator)
    column = 2 * torch.randint(2, (count,), generator=generator) + row % 2
    corner = torch.stack((column, row), 1) - 2.0
    return 0.95 * (corner + torch.rand(count, 2, generator=generator))


Set = Callable[[int, torch.Generator], Tensor]

SETS: dict[str, Set] = {
    "normal": normal,
    "moons": moons,
    "rings": rings,
    "gaussians": gaussians,
    "spiral": spiral,
    "checkers": checkers,
}


def set_of(name: str) -> Set:
    """Return the distribution of this name. Raises ModelError, listing all names, for an unknown one."""
    if name not in SETS:
        raise ModelError(f"no distribution is named {name!r}; choose {', '.join(SETS)}")
    return SETS[name]
