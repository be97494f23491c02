"""Stochastic samplers: each step removes more noise than needed and adds fresh noise.

They follow the reverse SDE, so they do not converge to the ODE's solution. Same signature as in `solvers`;
`noise()` gives unit noise of the shape of x.
"""

from __future__ import annotations

import math

from torch import Tensor

from models.sampling.paths import Grid
from models.sampling.solvers import Callback, Model, Noise, land, never


def split(sigma: float, sigma_next: float) -> tuple[float, float]:
    """Return (down, up): step down to sigma `down`, then add noise of deviation `up`, to reach sigma_next.

    `up` is the deviation of the posterior q(x' | x, x_0) (Ho et al. 2020, eq. 7), written in sigma.
    """
    if sigma_next == 0:
        return 0.0, 0.0
    share = 1.0 if math.isinf(sigma) else 1 - (sigma_next / sigma) ** 2
    up = sigma_next * math.sqrt(max(0.0, share))
    return math.sqrt(max(0.0, sigma_next**2 - up**2)), up


def ancestral(model: Model, x: Tensor, grid: Grid, noise: Noise, callback: Callback = never) -> Tensor:
    """Ancestral sampler of DDPM (Ho et al. 2020, algorithm 2, the smaller variance) on any grid.

    On all 1,000 timesteps it is DDPM; on few of them it is known as Euler a: both use the same formula.
    """
    for i in range(grid.steps):
        t = grid.times[i]
        picture = model(x, t, t - grid.times[i + 1])
        a_next, b_next = grid.scale(i + 1)
        down, up = split(grid.sigma(i), grid.sigma(i + 1))
        x = land(x, picture, grid.scale(i), (a_next, a_next * down))
        if b_next > 0:
            x = x + a_next * up * noise()
        if callback(i, t, picture):
            break
    return x


def dpm_2s_ancestral(model: Model, x: Tensor, grid: Grid, noise: Noise, callback: Callback = never) -> Tensor:
    """DPM-Solver++ (2S) with ancestral noise (Lu et al. 2022, algorithm 1).

    The noise is as in k-diffusion's `sample_dpmpp_2s_ancestral`. Two evaluations a step, one in the last and
    at an infinite sigma.
    """
    for i in range(grid.steps):
        t, here = grid.times[i], grid.scale(i)
        sigma, (a_next, b_next) = grid.sigma(i), grid.scale(i + 1)
        picture = model(x, t, 0.0)
        down, up = split(sigma, grid.sigma(i + 1))
        ahead = picture
        if down > 0 and not math.isinf(sigma):
            middle = grid.path.time(math.sqrt(sigma * down))  # midpoint in log sigma
            ahead = model(land(x, picture, here, grid.path.scale(middle)), middle, 0.0)
        x = land(x, ahead, here, (a_next, a_next * down))
        if b_next > 0:
            x = x + a_next * up * noise()
        if callback(i, t, picture):
            break
    return x


def dpm_sde(model: Model, x: Tensor, grid: Grid, noise: Noise, callback: Callback = never) -> Tensor:
    """DPM-Solver++ for the SDE with a stage in the middle of each step (Lu et al. 2022, section 5).

    As in k-diffusion's `sample_dpmpp_sde`, r = 1/2, eta = 1; both stages share one Brownian path in sigma, as
    there. In 1 / sigma^2, the variable in which the SDE's noise adds up exactly, the distance to its solution
    would be half as long, the variance's error up to four times as large, and their orders, 1 and 2, the
    same.
    """
    for i in range(grid.steps):
        t, here = grid.times[i], grid.scale(i)
        sigma, sigma_next = grid.sigma(i), grid.sigma(i + 1)
        a_next, _ = grid.scale(i + 1)
        picture = model(x, t, 0.0)
        if sigma_next == 0:
            x = land(x, picture, here, (a_next, 0.0))
        elif math.isinf(sigma):
            x = land(x, picture, here, (a_next, 0.0)) + a_next * sigma_next * noise()
        else:
            sigma_mid = math.sqrt(sigma * sigma_next)
            middle = grid.path.time(sigma_mid)
            a_mid, _ = grid.path.scale(middle)
            early, late = noise(), noise()
            down, up = split(sigma, sigma_mid)
            x_mid = land(x, picture, here, (a_mid, a_mid * down)) + a_mid * up * early
            ahead = model(x_mid, middle, 0.0)
            down, up = split(sigma, sigma_next)
            share = (sigma - sigma_mid) / (sigma - sigma_next)
            whole = math.sqrt(share) * early + math.sqrt(1 - share) * late
            x = land(x, ahead, here, (a_next, a_next * down)) + a_next * up * whole
        if callback(i, t, picture):
            break
    return x
