"""Shading of the terrain: surface detail, cast shadows, colour and haze."""

from __future__ import annotations

import math

import numpy as np

from models.training.data.landscapes.fractal import OPTIONS, fractal, hash01, njit, smooth, value
from models.training.data.landscapes.sky import glow_color
from models.training.data.landscapes.terrain import (
    AUTUMN,
    EARTH,
    FOREST,
    GRASS,
    ROCK,
    SAND,
    SNOW,
    TREE_REACH_KM,
    ground,
    material,
    tree_top,
    woods,
)

SHADOW_SIDE, SHADOW_KM = 160, 16.0


@njit(**OPTIONS)
def octaves_at(s, d):
    """Return the number of noise octaves that a pixel at distance d can resolve."""
    return int(min(12.0, max(5.0, math.log2(s.wavelength / (d * 0.005 + 0.0012)))))


@njit(**OPTIONS)
def surface(s, x, y, d):
    """Return (height with trees, bare height, tree height, tree shade) at distance d from the camera."""
    bare = ground(s, x, y, octaves_at(s, d))
    if d < TREE_REACH_KM and d > 0.07:
        density = woods(s, x, y, bare, 0.3) * smooth(0.07 + 0.3 * s.broadleaf, 0.22 + 0.5 * s.broadleaf, d)
        if density > 0.3:
            top, shade = tree_top(s, x, y, density)
            return bare + top, bare, top, shade
    return bare, bare, 0.0, 0.5


@njit(**OPTIONS)
def shadow_map(s):
    """Return coarse heights before the camera, for shadows: (SHADOW_SIDE, SHADOW_SIDE) over SHADOW_KM."""
    grid = np.empty((SHADOW_SIDE, SHADOW_SIDE), np.float32)
    for j in range(SHADOW_SIDE):
        for i in range(SHADOW_SIDE):
            x = (i / (SHADOW_SIDE - 1) - 0.5) * SHADOW_KM
            grid[j, i] = ground(s, x, j / (SHADOW_SIDE - 1) * SHADOW_KM - 1.0, 7)
    return grid


@njit(**OPTIONS)
def coarse(grid, x, y):
    u = min(0.999, max(0.0, x / SHADOW_KM + 0.5)) * (SHADOW_SIDE - 1)
    v = min(0.999, max(0.0, (y + 1.0) / SHADOW_KM)) * (SHADOW_SIDE - 1)
    i, j = int(u), int(v)
    u, v = u - i, v - j
    top = grid[j, i] * (1 - u) + grid[j, i + 1] * u
    return top * (1 - v) + (grid[j + 1, i] * (1 - u) + grid[j + 1, i + 1] * u) * v


@njit(**OPTIONS)
def lit(s, grid, x, y, h, light):
    """Return the share of the light's disc visible from a point, 0..1."""
    flat = math.sqrt(light[0] ** 2 + light[1] ** 2) + 1e-6
    rise = light[2] / flat
    seen, step, t = 1.0, 0.05, 0.06
    for _ in range(14):
        over = coarse(grid, x + light[0] / flat * t, y + light[1] / flat * t) - (h + 0.004 + rise * t)
        seen = min(seen, 1.0 - smooth(-0.012 * (1 + t), 0.012 * (1 + t), over))
        if seen < 0.02:
            return 0.0
        t += step
        step *= 1.32
    return seen


@njit(**OPTIONS)
def shade(s, grid, light, x, y, d, out):
    """Write the linear colour of the land at (x, y), at distance d, into out[0:3]; return its label."""
    h, bare, tree, tone = surface(s, x, y, d)
    e = max(0.0006, d * 0.0016)
    hx = surface(s, x + e, y, d)[0]
    hy = surface(s, x, y + e, d)[0]
    nx, ny = (h - hx) / e, (h - hy) / e
    bx, by = nx, ny
    if tree > 0.0:
        oct_ = octaves_at(s, d)
        bx, by = (bare - ground(s, x + e, y, oct_)) / e, (bare - ground(s, x, y + e, oct_)) / e
    slope = math.sqrt(bx * bx + by * by)
    fineness = math.log2(0.6 / (d * 0.004 + 0.0006))
    whole = math.floor(fineness)
    part, pixel = fineness - whole, 2.0**whole
    tx, ty = 0.80 * x - 0.60 * y, 0.60 * x + 0.80 * y  # rotated: no lattice line is parallel to the view
    ty += bare
    grain = fractal(tx * pixel, ty * pixel, 3, s.seed + 11) * (1.0 - part)
    grain += fractal(tx * pixel * 2.0, ty * pixel * 2.0, 3, s.seed + 11) * part
    grain *= 1.25
    mid = fractal(tx * 22.0, ty * 22.0, 4, s.seed + 12)
    label = material(s, x, y, bare, slope, grain)
    if tree > 0.003:
        leaf = tone < s.turning
        label = AUTUMN if leaf else FOREST
    r, g, b = 0.3, 0.3, 0.3
    if label == SNOW:
        v = 0.90 + 0.07 * grain + 0.06 * mid
        r, g, b = v, v * 1.01, v * 1.04
    elif label == ROCK:
        band = value(bare * 60.0 + 1.5 * mid, x * 0.5, s.seed + 13)
        v = 0.19 + 0.16 * grain + 0.06 * mid + 0.05 * band
        red = 0.35 * s.dryness + 0.05
        r, g, b = v * (1.04 + red), v * (1.0 + 0.1 * red), v * (0.97 - 0.5 * red)
    elif label in (FOREST, AUTUMN):
        v = (0.55 + 0.7 * tone) * (0.75 + 0.5 * grain + 0.2 * mid)
        r, g, b = 0.030 * v, 0.062 * v, 0.026 * v
        if s.broadleaf > 0.5:
            r, g, b = 0.055 * v, 0.092 * v, 0.024 * v
        if label == AUTUMN:
            r, g, b = (0.20 + 0.22 * tone) * v, (0.075 + 0.09 * mid + 0.07 * tone) * v, 0.018 * v
        if s.snow > 0.72:
            frost = smooth(0.1, 0.7, grain + 2.2 * (s.snow - 0.72))
            r, g, b = r + 0.55 * frost, g + 0.56 * frost, b + 0.6 * frost
    elif label == GRASS:
        blade = value(x * 9000.0, y * 1500.0, s.seed + 16) * smooth(0.07, 0.01, d)
        v = 0.9 + 0.7 * grain + 0.35 * mid + 0.35 * blade
        t = s.dryness + 0.35 * mid
        r, g, b = (0.085 + 0.15 * t) * v, (0.125 + 0.05 * t) * v, (0.030 + 0.02 * t) * v
        if d < 0.12 and hash01(int(x * 9000), int(y * 9000), s.seed + 15) > 0.985 - 0.02 * s.vegetation:
            r, g, b = 0.65, 0.55 * hash01(int(x * 50), int(y * 50), s.seed), 0.18
    elif label == SAND:
        ripple = value(x * 260.0 + 2.0 * mid, (y + 0.4 * x) * 900.0, s.seed + 14) * smooth(0.8, 0.05, d)
        v = 0.80 + 0.10 * grain + 0.12 * mid + 0.10 * ripple
        r, g, b = 0.55 * v, 0.40 * v, 0.235 * v
    elif label == EARTH:
        v = 0.8 + 0.45 * grain + 0.3 * mid
        r, g, b = 0.23 * v, 0.145 * v, 0.085 * v
    norm = 1.0 / math.sqrt(nx * nx + ny * ny + 1.0)
    facing = max(0.0, (nx * light[0] + ny * light[1] + light[2]) * norm)
    if tree > 0.0:
        facing = 0.35 * facing + 0.65 * facing * smooth(0.0, 0.8, tree / 0.02) + 0.06
    if label in (SNOW, SAND, GRASS):
        facing *= 1.0 + 0.45 * grain + 0.25 * mid
    seen = lit(s, grid, x, y, h, light) if facing > 0.0 else 0.0
    dome = 0.62 + 0.38 * norm - 0.35 * (1.0 - smooth(0.0, 0.4, tree / 0.016)) * (1.0 if tree > 0.0 else 0.0)
    soft = 1.0 - 0.75 * s.clouds * s.clouds
    direct = facing * seen * soft
    bounce = 0.12 * max(0.0, -(nx * light[0] + ny * light[1]) * norm)
    out[0] = r * (direct * light[3] + (dome + bounce) * light[6])
    out[1] = g * (direct * light[4] + (dome + bounce) * light[7])
    out[2] = b * (direct * light[5] + dome * light[8])
    return label


@njit(**OPTIONS)
def haze_over(s, light, d, h, dx, dy, dz, out):
    """Mix out[0:3] with the air in between; return the share of air, 0..1."""
    thick = 0.007 * 45.0**s.haze
    low = math.exp(-max(0.0, h) / (0.35 + 0.5 * (1.0 - s.haze)))
    air = 1.0 - math.exp(-d * thick * (0.35 + 0.65 * low))
    fog = np.empty(3)
    glow_color(s, light, dx, dy, max(0.0, dz), fog)
    for c in range(3):
        out[c] += (fog[c] - out[c]) * air
    return air
