"""Timestep grids of pretrained models, from the number of steps and a continuous strength.

Strength s sets where on the path an edit starts. N steps are always N steps: they divide the rest of the path
evenly ("trailing" times, Lin et al. 2024, arXiv 2305.08891), so a strength is never rounded to a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.api import ModelError
from models.sampling import solvers, stochastic
from models.sampling.paths import KARRAS_MAX, KARRAS_RHO, TIMESTEPS, Grid, Straight, sigma_at

LEAST_STRENGTH = 1e-3  # replaces strength 0: a path needs a length
LCM_STEPS = 50  # steps of the solver that latent consistency models were distilled with
END = -1.0  # the time of a discrete diffusion at which no noise is left


class Discrete:
    """Noise levels of a discrete diffusion; times are its timesteps, and real numbers between them.

    alphas: (T,) cumulative products of 1 - beta (Ho et al. 2020). Between two timesteps sigma is linear.
    """

    name = "diffusion"

    def __init__(self, alphas: np.ndarray):
        alphas = np.maximum(
            np.asarray(alphas, np.float64), 2.0**-24
        )  # a terminal signal of zero has no finite sigma
        self.sigmas = np.sqrt((1 - alphas) / alphas)
        self.start = float(len(alphas) - 1)

    def scale(self, t: float) -> tuple[float, float]:
        if t <= END:
            return 1.0, 0.0
        sigma = float(np.interp(t, np.arange(len(self.sigmas)), self.sigmas))
        a = 1 / math.sqrt(1 + sigma * sigma)
        return a, sigma * a

    def slope(self, t: float) -> tuple[float, float]:
        raise ModelError("a discrete diffusion is not sampled in its own time")

    def time(self, sigma: float) -> float:
        return float(np.interp(sigma, self.sigmas, np.arange(len(self.sigmas))))


def diffusion_grid(path: Discrete, steps: int, strength: float) -> Grid:
    """steps + 1 timesteps from strength * T - 1 down to the end, evenly spaced."""
    length, strength = path.start + 1, max(strength, LEAST_STRENGTH)
    shares = [strength * k / steps for k in range(steps, 0, -1)]
    return Grid(path, (*(max(length * share - 1, share) for share in shares), END))


def lcm_grid(path: Discrete, steps: int, strength: float) -> Grid:
    """Timesteps at which a latent consistency model was distilled.

    Of LCM_STEPS evenly spaced ones, those up to the strength, thinned to `steps` (Luo et al. 2023, arXiv
    2310.04378; as in `diffusers`' LCMScheduler).
    """
    between = (path.start + 1) / LCM_STEPS
    count = max(strength, LEAST_STRENGTH) * LCM_STEPS
    kept = [count - math.floor(k * count / steps) for k in range(steps)]
    if count < steps:  # fewer than requested: evenly spaced
        kept = [count * (steps - k) / steps for k in range(steps)]
    return Grid(path, (*(max(between * k - 1, k / LCM_STEPS) for k in kept), END))


def karras_grid(path: Discrete, steps: int, strength: float) -> Grid:
    """Karras grid of a diffusion, with the same start as `diffusion_grid`.

    Sigma is linear in sigma^(1/7) from the start down to the lowest trained sigma (Karras et al. 2022, eq.
    5), then the end.
    """
    plain = diffusion_grid(path, steps, strength)
    between = karras_sigmas(plain.sigma(0), float(path.sigmas[0]), steps)
    return Grid(path, (plain.times[0], *map(path.time, between), END))


def karras_sigmas(high: float, low: float, steps: int) -> list[float]:
    """All but the first of `steps` sigmas from high to low."""
    ends = high ** (1 / KARRAS_RHO), low ** (1 / KARRAS_RHO)
    return [float(sigma) for sigma in np.linspace(*ends, steps)[1:] ** KARRAS_RHO]


def flow_grid(
    sampler: str, steps: int, strength: float, shift: Callable[[float], float], *, last: float = 1.0
) -> Grid:
    """Times of a rectified flow, with its time shift.

    The times are shift(u) for `steps` values of u, evenly spaced from the strength down to strength / steps,
    or to `last` where that is lower, then 0. The Karras grid has the same first time; its sigmas start at
    that time's sigma, limited to KARRAS_MAX, and go down as for a diffusion to the sigma of the first of
    TIMESTEPS.
    """
    path, strength = Straight(), max(strength, LEAST_STRENGTH)
    even = np.linspace(strength, min(last, strength / steps), steps)
    times = [float(shift(u)) for u in even]
    if sampler.endswith("karras"):
        high = min(sigma_at(path, times[0]), KARRAS_MAX)
        low = min(sigma_at(path, 1 / TIMESTEPS), high / 2)
        times[1:] = map(path.time, karras_sigmas(high, low, steps))
    return Grid(path, (*times, 0.0))


def shift_of(config: dict, tokens: int, mu: float | None = None) -> Callable[[float], float]:
    """Return the time shift of a flow, as its scheduler configures it (Esser et al. 2024, eq. 23).

    The paper is arXiv 2403.03206. tokens: of the picture; a dynamic shift grows with them. mu: its exponent,
    for families that compute their own.
    """
    factor = float(config.get("shift") or 1.0)
    if config.get("use_dynamic_shifting"):
        exponent = mu
        if exponent is None:
            low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
            least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
            exponent = least + (most - least) * (tokens - low) / (high - low)
        factor = exponent if config.get("time_shift_type") == "linear" else math.exp(exponent)
    return lambda t: factor * t / (1 + (factor - 1) * t)


def lcm(model, x: Tensor, grid: Grid, noise: Callable[[], Tensor], callback=solvers.never) -> Tensor:
    """Multistep consistency sampling (Song et al. 2023, algorithm 1; Luo et al. 2023).

    Each step predicts the picture and adds noise again for the next level.
    """
    for i in range(grid.steps):
        t = grid.times[i]
        picture = model(x, t, t - grid.times[i + 1])
        a_next, b_next = grid.scale(i + 1)
        x = a_next * picture + b_next * noise() if b_next > 0 else picture
        if callback(i, t, picture):
            break
    return x


# DDIM and Euler's method in sigma are the same formula (Song et al. 2021, eq. 13); so are DDPM and Euler a.
SAMPLERS: dict[str, Callable] = {
    "ddpm": stochastic.ancestral,
    "ddim": solvers.ddim,
    "euler": solvers.ddim,
    "euler-a": stochastic.ancestral,
    "dpm++2m": solvers.dpm_2m,
    "dpm++2m-karras": solvers.dpm_2m,
    "dpm++2s-a": stochastic.dpm_2s_ancestral,
    "dpm++sde": stochastic.dpm_sde,
    "unipc": solvers.unipc,
    "heun": solvers.heun,
    "lcm": lcm,
}
FLOW_SAMPLERS: dict[str, Callable] = {
    "flow-euler": solvers.ddim,
    "flow-heun": solvers.path_heun,
    "flow-unipc": solvers.unipc,
    **{name: run for name, run in SAMPLERS.items() if name != "ddpm"},
}
KINDS: dict[str, dict[str, Callable]] = {
    "diffusion": SAMPLERS,
    "flow": FLOW_SAMPLERS,
    "consistency model": {"lcm": lcm},
}


def sampler_of(name: str, kind: str) -> Callable:
    """Return a sampler by name, for a model of one of KINDS. Raises ModelError naming the valid ones."""
    known = KINDS[kind]
    if name not in known:
        raise ModelError(f"no sampler for this {kind} is named {name!r}; choose {', '.join(known)}")
    return known[name]


def times_asked(run: Callable, grid: Grid) -> tuple[float, ...]:
    """Times at which a sampler evaluates the model on this grid, in order, without repeats."""
    seen: dict[float, None] = {}

    def record(x: Tensor, t: float, step: float) -> Tensor:
        seen[t] = None
        return x

    run(record, torch.zeros(1), grid, lambda: torch.zeros(1))
    return tuple(seen)
