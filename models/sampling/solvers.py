"""Deterministic samplers: solvers of the probability-flow ODE, functions (model, x, grid, noise, callback).

`model(x, t, step)` predicts the picture at time t of the grid's path. `step` is the length of the step where
the sampler goes directly to the predicted picture, 0 where it needs the tangent. x is on the path: a(t) x_0 +
b(t) noise. All solvers but `path_euler` and `path_heun` use sigma = b / a and log sigma and so work on any
path; at an infinite sigma, the start of a flow, all fall back to the first-order step, which is exact there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from models.sampling.paths import Grid

Model = Callable[[Tensor, float, float], Tensor]
Noise = Callable[[], Tensor]
Callback = Callable[[int, float, Tensor], bool | None]


def no_noise() -> Tensor:
    """Noise function of samplers that draw no noise."""
    raise RuntimeError("a deterministic sampler draws no noise")


def never(index: int, t: float, picture: Tensor) -> bool:
    return False


def land(x: Tensor, picture: Tensor, here: tuple[float, float], there: tuple[float, float]) -> Tensor:
    """Step from (a, b) to (a', b') with picture and noise held fixed: a' picture + b' (x - a picture) / b."""
    (a, b), (a_next, b_next) = here, there
    ratio = b_next / b
    return mix(ratio, x, a_next - ratio * a, picture)


def mix(of_x: float, x: Tensor, of_picture: float, picture: Tensor) -> Tensor:
    """Return of_x * x + of_picture * picture.

    A step that ends without noise returns the picture unchanged; on a flow the two factors add up to one,
    which takes a single pass.
    """
    if of_x == 0:
        return picture if of_picture == 1 else of_picture * picture
    if abs(of_x + of_picture - 1) < 1e-12:
        return torch.lerp(picture, x, of_x)
    return torch.add(of_picture * picture, x, alpha=of_x)


def span(sigma: float, sigma_next: float) -> float:
    """h = log sigma - log sigma', infinite where sigma is infinite or sigma' is 0."""
    if math.isinf(sigma) or sigma_next == 0:
        return math.inf
    return math.log(sigma / sigma_next)


def ddim(model: Model, x: Tensor, grid: Grid, noise: Noise = no_noise, callback: Callback = never) -> Tensor:
    """DDIM with eta = 0 (Song et al. 2021, arXiv 2010.02502), order 1. On a flow it is Euler's method."""
    for i in range(grid.steps):
        t, t_next = grid.times[i], grid.times[i + 1]
        picture = model(x, t, t - t_next)
        x = land(x, picture, grid.scale(i), grid.scale(i + 1))
        if callback(i, t, picture):
            break
    return x


def heun(model: Model, x: Tensor, grid: Grid, noise: Noise, callback: Callback = never) -> Tensor:
    """Heun's method in sigma, order 2 (Karras et al. 2022, alg. 1): two evaluations a step but the last."""
    for i in range(grid.steps):
        here, there = grid.scale(i), grid.scale(i + 1)
        sigma, sigma_next = grid.sigma(i), grid.sigma(i + 1)
        t, t_next = grid.times[i], grid.times[i + 1]
        picture = model(x, t, 0.0)
        ahead = land(x, picture, here, there)
        if sigma_next > 0 and not math.isinf(sigma):
            flat, flat_ahead = x / here[0], ahead / there[0]
            slope = (flat - picture) / sigma
            slope_ahead = (flat_ahead - model(ahead, t_next, 0.0)) / sigma_next
            ahead = there[0] * (flat + (sigma_next - sigma) * (slope + slope_ahead) / 2)
        x = ahead
        if callback(i, t, picture):
            break
    return x


def dpm_2m(model: Model, x: Tensor, grid: Grid, noise: Noise, callback: Callback = never) -> Tensor:
    """DPM-Solver++ (2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2), order 2, one evaluation a step."""
    last, last_span = None, 0.0
    for i in range(grid.steps):
        t = grid.times[i]
        picture = model(x, t, 0.0)
        h = span(grid.sigma(i), grid.sigma(i + 1))
        ahead = picture
        if last is not None and not math.isinf(h) and not math.isinf(last_span):
            ahead = picture + (h / last_span / 2) * (picture - last)
        x = land(x, ahead, grid.scale(i), grid.scale(i + 1))
        last, last_span = picture, h
        if callback(i, t, picture):
            break
    return x


def unipc(model: Model, x: Tensor, grid: Grid, noise: Noise, callback: Callback = never) -> Tensor:
    """UniPC-2 with B(h) = e^h - 1 (Zhao et al. 2023, arXiv 2302.04867), one evaluation a step.

    Each prediction also corrects the step that led to it, at no further evaluation, which raises the order
    to 3.
    """
    before, last, last_span = None, None, 0.0  # x and prediction of the previous step
    older, older_span = None, 0.0
    for i in range(grid.steps):
        t = grid.times[i]
        picture = model(x, t, 0.0)
        if before is not None and last is not None and not math.isinf(last_span):
            mean = corrected(picture, last, older, last_span, older_span)
            x = land(before, mean, grid.scale(i - 1), grid.scale(i))
        h = span(grid.sigma(i), grid.sigma(i + 1))
        ahead = picture
        if last is not None and not math.isinf(h) and not math.isinf(last_span):
            ahead = picture + (h / last_span / 2) * (picture - last)
        before, older, older_span = x, last, last_span
        last, last_span = picture, h
        x = land(before, ahead, grid.scale(i), grid.scale(i + 1))
        if callback(i, t, picture):
            break
    return x


def corrected(new: Tensor, last: Tensor, older: Tensor | None, h: float, older_h: float) -> Tensor:
    """Weighted prediction of UniC-2 over a step of length h, once the prediction at its end is known."""
    if older is None or math.isinf(older_h):
        return last + (new - last) / 2
    r = -older_h / h  # position of the older prediction, in steps from the last one
    base = math.expm1(-h)
    phi_1 = base / -h - 1
    phi_2 = phi_1 / -h - 0.5
    b_1, b_2 = phi_1 / base, 2 * phi_2 / base
    weight_new = (b_2 - r * b_1) / (1 - r)
    weight_older = b_1 - weight_new
    return last + weight_older * (older - last) / r + weight_new * (new - last)


def velocity(grid: Grid, t: float) -> tuple[float, float]:
    """Factors of x and of the picture in dx/dt = a'(t) picture + b'(t) noise on the grid's path."""
    a, b = grid.path.scale(t)
    da, db = grid.path.slope(t)
    return db / b, da - db * a / b


def path_euler(model: Model, x: Tensor, grid: Grid, noise: Noise, callback: Callback = never) -> Tensor:
    """Euler's method in the path's own time, order 1.

    On a diffusion this is the plain probability-flow ODE of Song et al. 2021 (score SDE, eq. 13). On a flow,
    whose paths are straight while the prediction is constant, it gives the same result as `ddim`.
    """
    for i in range(grid.steps):
        t, t_next = grid.times[i], grid.times[i + 1]
        picture = model(x, t, t - t_next)
        of_x, of_picture = velocity(grid, t)
        x = mix(1 + (t_next - t) * of_x, x, (t_next - t) * of_picture, picture)
        if callback(i, t, picture):
            break
    return x


def path_heun(
    model: Model, x: Tensor, grid: Grid, noise: Noise = no_noise, callback: Callback = never
) -> Tensor:
    """Heun's method in the path's own time, order 2; two evaluations a step, one in the last."""
    for i in range(grid.steps):
        t, t_next = grid.times[i], grid.times[i + 1]
        picture = model(x, t, 0.0)
        of_x, of_picture = velocity(grid, t)
        ahead = mix(1 + (t_next - t) * of_x, x, (t_next - t) * of_picture, picture)
        if t_next > 0:
            slope = mix(of_x, x, of_picture, picture)
            of_x, of_picture = velocity(grid, t_next)
            slope_ahead = mix(of_x, ahead, of_picture, model(ahead, t_next, 0.0))
            ahead = x + (t_next - t) * (slope + slope_ahead) / 2
        x = ahead
        if callback(i, t, picture):
            break
    return x
