"""Terrain of a scene: height, trees and material at every point. Compiled by numba.

Units are kilometres; the camera is at (0, 0) and looks along +y.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from models.training.data.landscapes.fractal import (
    OPTIONS,
    eroded,
    fractal,
    hash01,
    njit,
    ridged,
    smooth,
    value,
)

SKY, CLOUD, SUN, SNOW, ROCK, FOREST, GRASS, SAND, WATER, EARTH, AUTUMN, MIST = range(12)
TREE_CELL = 0.008
TREE_REACH_KM = 2.2  # beyond this distance trees are texture


class Scene(NamedTuple):
    """All parameters of one view. Moods are 0..1 in the order of MOOD_AXES."""

    seed: int
    relief: float  # height of the far mountains, km
    wavelength: float  # of the largest forms, km
    crest: float  # 0 rounded hills, 1 sharp ridges
    dunes: float  # 0 none, 1 only dunes
    terraces: float  # 0 none, 1 mesas and canyon walls
    flat: float  # share of the relief that remains near the camera
    near: float  # distance in km at which the land begins to rise
    far: float  # distance in km at which it has risen
    water: float  # level, km; very low for none
    broadleaf: float  # 0 conifers, 1 round crowns
    turning: float  # 0 green, 1 autumn leaves
    sun_azimuth: float  # radians from +y towards +x
    sun_height: float  # radians above the horizon; below zero the moon is used
    camera: float  # km above sea level
    horizon: float  # share of the picture's height above the horizon
    focal: float  # in picture widths
    sun: float
    warmth: float
    haze: float
    clouds: float
    snow: float
    dryness: float
    vegetation: float


@njit(**OPTIONS)
def ground(s, x, y, octaves):
    """Return the height of the bare land in km."""
    wx = x + 0.9 * value(x * 0.31 + 5.2, y * 0.31 + 1.3, s.seed + 91)
    wy = y + 0.9 * value(x * 0.31 + 9.2, y * 0.31 + 7.7, s.seed + 92)
    k = 1.0 / s.wavelength
    soft = 0.5 + 0.62 * eroded(wx * k, wy * k, octaves, s.seed)
    h = soft * 0.9
    if s.crest > 0.0:
        sharp = ridged(wx * k * 1.3 + 17.0, wy * k * 1.3 + 3.0, octaves, s.seed + 40)
        h = soft * (1.0 - s.crest) + s.crest * (1.05 * sharp + 0.15 * soft)
    if s.terraces > 0.0:
        step = h * 5.0
        base = math.floor(step)
        h = h * (1.0 - s.terraces) + s.terraces * (base + smooth(0.55, 0.8, step - base)) / 5.0
    reach = math.sqrt(x * x * 0.55 + y * y)
    rise = s.flat + (1.0 - s.flat) * smooth(s.near, s.far, reach + 1.2 * value(x * 0.4, y * 0.4, s.seed + 93))
    h = h * rise * s.relief
    if s.dunes > 0.0:
        h = h * (1.0 - 0.6 * s.dunes) + s.dunes * dune(s, x, y)
    return h


@njit(**OPTIONS)
def dune(s, x, y):
    """Return the height in km of sand waves with a gentle windward and a steep lee side."""
    u = x * 0.8 + y * 0.6 + 0.5 * value(x * 0.6, y * 0.6, s.seed + 61)
    phase = u * 1.7 + 0.4 * value(x * 1.9, y * 1.9, s.seed + 62)
    t = phase - math.floor(phase)
    wave = t / 0.72 if t < 0.72 else (1.0 - t) / 0.28
    size = 0.5 + 0.5 * value(x * 0.45 + 3.0, y * 0.45, s.seed + 63)
    return 0.2 * size * wave * wave * (3.0 - 2.0 * wave) + 0.02


@njit(**OPTIONS)
def woods(s, x, y, h, slope):
    """Return the density of trees, 0..1."""
    if s.vegetation < 0.03 or h < s.water + 0.003:
        return 0.0
    line = 0.25 + 0.75 * s.relief * (0.35 + 0.45 * s.vegetation)
    patch = fractal(x * 1.7 + 31.0, y * 1.7, 4, s.seed + 71)
    wet = s.vegetation * 1.5 - 0.72 - 0.55 * s.dryness
    here = smooth(-0.12, 0.12, patch * 0.8 + wet)
    return here * (1.0 - smooth(line * 0.8, line, h + 0.1 * patch)) * (1.0 - smooth(0.9, 1.3, slope))


@njit(**OPTIONS)
def tree_top(s, x, y, density):
    """Return (crown height in km over (x, y), 0 between trees; shade of that tree, 0..1)."""
    top, shade = 0.0, 0.5
    cx, cy = math.floor(x / TREE_CELL), math.floor(y / TREE_CELL)
    for j in range(cy - 1, cy + 2):
        for i in range(cx - 1, cx + 2):
            if hash01(i, j, s.seed + 81) > density * 1.1:
                continue
            tx = (i + hash01(i, j, s.seed + 82)) * TREE_CELL
            ty = (j + hash01(i, j, s.seed + 83)) * TREE_CELL
            tall = 0.010 + 0.016 * hash01(i, j, s.seed + 84)
            wide = tall * (0.20 + 0.26 * s.broadleaf)
            dx, dy = x - tx, y - ty
            r = math.sqrt(dx * dx + dy * dy) / wide
            if r >= 1.0:
                continue
            rough = value(x * 900.0, y * 900.0, s.seed + 85)
            if s.broadleaf > 0.5:
                high = tall * (0.45 + 0.55 * math.sqrt(max(0.0, 1.0 - r * r))) * (0.92 + 0.1 * rough)
            else:
                high = tall * (1.0 - r) * (0.9 + 0.25 * rough)
            if high > top:
                top, shade = high, hash01(i, j, s.seed + 86)
    return top, shade


@njit(**OPTIONS)
def material(s, x, y, h, slope, grain):
    """Return the label at a point; grain is noise in -1..1 at the pixel's scale there."""
    broad = fractal(x * 2.3, y * 2.3, 4, s.seed + 51)
    line = s.relief * (1.25 - 1.45 * s.snow) + 0.12 * s.relief * broad + 0.03 * grain * s.relief
    if h > line and slope < 0.95 + 0.25 * grain + 0.3 * s.snow:
        return SNOW
    if slope > 0.78 + 0.22 * grain + 0.12 * broad:
        return ROCK
    if s.dunes > 0.5:
        return SAND
    shore = h - s.water
    if shore < 0.0035 + 0.003 * broad + 0.0015 * grain:
        return SAND if broad > -0.25 else ROCK
    density = woods(s, x, y, h, slope)
    if density > 0.5 + 0.35 * grain:
        return AUTUMN if s.turning > 0.5 + 0.5 * grain + 0.3 * broad else FOREST
    dry = s.dryness * 1.5 - 0.55 + 0.5 * broad + 0.15 * grain
    if dry > 0.75:
        return SAND
    if dry > 0.35:
        return EARTH
    return ROCK if h > s.relief * 0.8 + 0.1 * broad else GRASS
