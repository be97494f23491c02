"""Gaussian test data with a known optimal denoiser, so that the ODE and SDE have exact solutions."""

from __future__ import annotations

import math

import numpy as np

from models.sampling.paths import path_of

MEAN, SPREAD = 0.4, 0.5
KINDS = {"flow": "flow", "linear": "diffusion", "cosine": "diffusion"}


def denoiser(path, calls: list | None = None):
    """E[x_0 | x_t] of data N(MEAN, SPREAD^2)."""

    def model(x, t, step):
        if calls is not None:
            calls.append(t)
        a, b = path.scale(t)
        return (b * b * MEAN + SPREAD**2 * a * x) / (a * a * SPREAD**2 + b * b)

    return model


def exact(path, x, t: float = 0.0):
    """Exact ODE solution at time t for x at the start of the path."""
    (a, b), (a_end, b_end) = path.scale(path.start), path.scale(t)
    deviation, deviation_end = math.hypot(a * SPREAD, b), math.hypot(a_end * SPREAD, b_end)
    return a_end * MEAN + deviation_end * (x - a * MEAN) / deviation


def trained_betas() -> np.ndarray:
    """The linear path as 1,000 betas for a diffusers scheduler."""
    path = path_of("linear")
    kept = np.array([path.scale(i / 1000)[0] ** 2 for i in range(1001)])
    return 1 - kept[1:] / kept[:-1]
