"""Seeded noise for the landscape generator: value noise, its gradient and fractal sums. Compiled by numba."""

from __future__ import annotations

import math

from models.api import ModelError

try:
    from numba import njit
except ImportError as error:
    raise ModelError('making training data needs numba: pip install -e ".[lab]"') from error

OPTIONS = {"cache": True, "fastmath": True, "nogil": True, "error_model": "numpy"}


@njit(inline="always", **OPTIONS)
def hash01(x, y, seed):
    """Hash an integer lattice point to 0..1: the finaliser of MurmurHash3 over mixed coordinates."""
    h = (x * 374761393 + y * 668265263 + seed * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 3266489917) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777215.0


@njit(**OPTIONS)
def value(x, y, seed):
    """Return value noise in -1..1 with quintic interpolation between lattice points."""
    fx, fy = math.floor(x), math.floor(y)
    ix, iy = int(fx), int(fy)
    u, v = x - fx, y - fy
    u, v = u * u * u * (u * (u * 6 - 15) + 10), v * v * v * (v * (v * 6 - 15) + 10)
    a, b = hash01(ix, iy, seed), hash01(ix + 1, iy, seed)
    c, d = hash01(ix, iy + 1, seed), hash01(ix + 1, iy + 1, seed)
    return 2.0 * (a + (b - a) * u + (c - a) * v + (a - b - c + d) * u * v) - 1.0


@njit(**OPTIONS)
def sloped(x, y, seed):
    """Return value noise and its gradient: (noise in -1..1, d/dx, d/dy)."""
    fx, fy = math.floor(x), math.floor(y)
    ix, iy = int(fx), int(fy)
    u, v = x - fx, y - fy
    su, sv = u * u * u * (u * (u * 6 - 15) + 10), v * v * v * (v * (v * 6 - 15) + 10)
    du, dv = 30 * u * u * (u * (u - 2) + 1), 30 * v * v * (v * (v - 2) + 1)
    a, b = hash01(ix, iy, seed), hash01(ix + 1, iy, seed)
    c, d = hash01(ix, iy + 1, seed), hash01(ix + 1, iy + 1, seed)
    k = a - b - c + d
    return (
        2.0 * (a + (b - a) * su + (c - a) * sv + k * su * sv) - 1.0,
        2.0 * du * ((b - a) + k * sv),
        2.0 * dv * ((c - a) + k * su),
    )


@njit(**OPTIONS)
def fractal(x, y, octaves, seed):
    """Return a sum of octaves in about -1..1, each rotated so that the lattice is not visible."""
    total, gain = 0.0, 0.5
    for i in range(octaves):
        total += gain * value(x, y, seed + i)
        x, y = 1.62 * x + 1.18 * y + 3.1, -1.18 * x + 1.62 * y + 7.7
        gain *= 0.5
    return total


@njit(**OPTIONS)
def eroded(x, y, octaves, seed):
    """Return a fractal sum in about -1..1 with less detail on steep slopes, which imitates erosion."""
    total, gain = 0.0, 0.5
    dx, dy = 0.0, 0.0
    for i in range(octaves):
        n, nx, ny = sloped(x, y, seed + i)
        dx += nx * 0.5
        dy += ny * 0.5
        total += gain * n / (1.0 + dx * dx + dy * dy)
        x, y = 1.62 * x + 1.18 * y + 3.1, -1.18 * x + 1.62 * y + 7.7
        gain *= 0.52
    return total


@njit(**OPTIONS)
def ridged(x, y, octaves, seed):
    """Return ridged noise in 0..1: a sum of 1-|noise|, each octave weighted by the one before."""
    total, gain, weight = 0.0, 0.5, 1.0
    for i in range(octaves):
        n = 1.0 - abs(value(x, y, seed + i))
        n *= n
        total += gain * n * weight
        weight = min(1.0, n * 1.7)
        x, y = 1.62 * x + 1.18 * y + 3.1, -1.18 * x + 1.62 * y + 7.7
        gain *= 0.5
    return total


@njit(inline="always", **OPTIONS)
def smooth(low, high, x):
    """Smooth step: 0 below low, 1 above high, cubic in between."""
    t = min(1.0, max(0.0, (x - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)
