"""Gaussian paths from data (t=0) to noise (t=1), and the time grids that samplers use on them.

A path gives x_t = a(t) x + b(t) e with e of unit variance. For any a and b, x_t / a(t) = x + sigma e with
sigma = b / a: at equal sigma two paths hold the same picture, up to a scale. So a sampler written in a, b and
sigma is exact on a diffusion and on a flow (Karras et al. 2022, EDM, section 2; Kingma and Gao 2023, section
2), and one network works on both paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from models.api import ModelError

TIMESTEPS = 1000  # of the discrete diffusion (Ho et al. 2020)
MAX_SIGMA = 150.0  # start of a cosine path: at t = 1 it holds no data, and its sigma is infinite
KARRAS_RHO = 7.0
KARRAS_MAX = 80.0  # limit for a flow, whose sigma is infinite at the start


def uniform_times(steps: int) -> list[float]:
    """steps + 1 times from 1 to 0, evenly spaced. Raises ValueError for fewer than one step."""
    if steps < 1:
        raise ValueError(f"a sampler needs at least one step, not {steps}")
    return [1 - index / steps for index in range(steps)] + [0.0]


class Path(Protocol):
    """A Gaussian path. start: the time at which sampling begins. Times are in [0, 1], sigmas in [0, inf]."""

    name: str
    start: float

    def scale(self, t: float) -> tuple[float, float]:
        """(a, b) at t: the factors of data and of noise."""
        ...

    def slope(self, t: float) -> tuple[float, float]:
        """(da/dt, db/dt) at t, for 0 < t."""
        ...

    def time(self, sigma: float) -> float:
        """The t at which b / a equals `sigma`."""
        ...


class Straight:
    """Rectified flow: a = 1 - t, b = t (Liu et al. 2022). It starts at an infinite sigma."""

    name, start = "flow", 1.0

    def scale(self, t: float) -> tuple[float, float]:
        return 1 - t, t

    def slope(self, t: float) -> tuple[float, float]:
        return -1.0, 1.0

    def time(self, sigma: float) -> float:
        return 1.0 if math.isinf(sigma) else sigma / (1 + sigma)


class VariancePreserving:
    """Variance-preserving path: a^2 + b^2 = 1. `log_signal(t)` is log a, `rate(t)` its derivative."""

    name = ""
    start = 1.0

    def scale(self, t: float) -> tuple[float, float]:
        log_a = self.log_signal(t)
        return math.exp(log_a), math.sqrt(-math.expm1(2 * log_a))

    def slope(self, t: float) -> tuple[float, float]:
        a, b = self.scale(t)
        return a * self.rate(t), -a * a * self.rate(t) / b

    def log_signal(self, t: float) -> float:
        raise NotImplementedError

    def rate(self, t: float) -> float:
        raise NotImplementedError


class Linear(VariancePreserving):
    """Noise rates that rise linearly from 0.1 to 20 over t (Ho et al. 2020; Song et al. 2021, appendix C)."""

    name = "linear"
    low, high = 0.1, 20.0

    def log_signal(self, t: float) -> float:
        return -0.25 * t * t * (self.high - self.low) - 0.5 * t * self.low

    def rate(self, t: float) -> float:
        return -0.5 * (self.low + t * (self.high - self.low))

    def time(self, sigma: float) -> float:
        spread = self.high - self.low
        log_a = -0.5 * math.log1p(sigma * sigma)
        return (math.sqrt(self.low**2 - 4 * spread * log_a) - self.low) / spread


class Cosine(VariancePreserving):
    """Cosine schedule of a (Nichol and Dhariwal 2021), up to MAX_SIGMA."""

    name = "cosine"
    shift = 0.008

    def __init__(self):
        self.start = self.time(MAX_SIGMA)

    def angle(self, t: float) -> float:
        return math.pi / 2 * (t + self.shift) / (1 + self.shift)

    def log_signal(self, t: float) -> float:
        return math.log(math.cos(self.angle(min(t, 0.9999))) / math.cos(self.angle(0)))

    def rate(self, t: float) -> float:
        return -math.pi / 2 / (1 + self.shift) * math.tan(self.angle(t))

    def time(self, sigma: float) -> float:
        cosine = math.cos(self.angle(0)) / math.sqrt(1 + sigma * sigma)
        return max(0.0, math.acos(cosine) * 2 / math.pi * (1 + self.shift) - self.shift)


PATHS: dict[str, Callable[[], Path]] = {"flow": Straight, "linear": Linear, "cosine": Cosine}


def path_of(name: str) -> Path:
    if name not in PATHS:
        raise ModelError(f"no path is named {name!r}; choose {', '.join(PATHS)}")
    return PATHS[name]()


@dataclass(frozen=True)
class Grid:
    """Time grid of a sampler. times: steps + 1 of them, from path.start down to 0."""

    path: Path
    times: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    def scale(self, index: int) -> tuple[float, float]:
        return self.path.scale(self.times[index])

    def sigma(self, index: int) -> float:
        return sigma_at(self.path, self.times[index])


def sigma_at(path: Path, t: float) -> float:
    a, b = path.scale(t)
    return math.inf if a == 0 else b / a


def uniform(path: Path, steps: int) -> Grid:
    """Grid of evenly spaced times from the start to 0. Raises ValueError for fewer than one step."""
    return Grid(path, tuple(path.start * t for t in uniform_times(steps)))


def karras(path: Path, steps: int) -> Grid:
    """Karras grid: sigma is linear in sigma^(1/7) (Karras et al. 2022, eq. 5), then 0.

    The lowest sigma is that of the first of TIMESTEPS. The first time of a flow is its start, whatever its
    sigma.
    """
    uniform_times(steps)  # raises the same error for no steps
    high = min(sigma_at(path, path.start), KARRAS_MAX)
    low = sigma_at(path, 1 / TIMESTEPS)
    ends = high ** (1 / KARRAS_RHO), low ** (1 / KARRAS_RHO)
    share = [index / max(1, steps - 1) for index in range(steps)]
    sigmas = [(ends[0] + u * (ends[1] - ends[0])) ** KARRAS_RHO for u in share]
    return Grid(path, (path.start, *(path.time(sigma) for sigma in sigmas[1:]), 0.0))
