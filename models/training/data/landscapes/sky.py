"""Sky of a scene: gradient, glow around the sun, layered clouds, stars. Compiled by numba."""

from __future__ import annotations

import math

from models.training.data.landscapes.fractal import OPTIONS, fractal, hash01, njit, smooth
from models.training.data.landscapes.terrain import CLOUD, SKY, SUN


@njit(**OPTIONS)
def glow_color(s, light, dx, dy, dz, out):
    """Write the linear colour of clear air along a direction into out[0:3]."""
    degrees = math.degrees(s.sun_height)
    day = smooth(-9.0, 4.0, degrees)
    low = smooth(26.0, 1.0, degrees) * day
    up = max(0.0, dz)
    zenith = 1.0 - math.exp(-up * 4.2)
    warm = 0.25 + 0.75 * s.warmth
    toward = max(0.0, dx * math.sin(s.sun_azimuth) + dy * math.cos(s.sun_azimuth))
    band = math.exp(-up * (7.0 - 2.0 * s.haze)) * low * warm * (0.45 + 0.55 * toward)
    grey = 0.75 * s.clouds * s.clouds
    bright = 0.25 + 0.75 * day
    r = (0.62 - 0.53 * zenith) * day + 0.008
    g = (0.74 - 0.45 * zenith) * day + 0.013
    b = (0.92 - 0.20 * zenith) * day + 0.036
    r = r * (1 - 0.45 * low) + band * 1.05
    g = g * (1 - 0.50 * low) + band * (0.50 - 0.08 * s.warmth)
    b = b * (1 - 0.42 * low) + band * (0.26 - 0.20 * s.warmth)
    mean = (r + g + b) / 3.0 * (1.0 - 0.22 * s.clouds)
    tint = 0.10 * (s.warmth - 0.4) * day
    out[0] = (r + (mean - r) * grey) * (1 + tint)
    out[1] = g + (mean * 1.01 - g) * grey
    out[2] = (b + (mean * 1.04 - b) * grey) * (1 - tint)
    sunward = dx * light[0] + dy * light[1] + dz * light[2]
    halo = max(0.0, sunward) ** 24 * 0.45 + max(0.0, sunward) ** 220 * 1.1
    halo *= bright * (1.0 - 0.75 * s.clouds) * (1.0 if degrees > -3.0 else 0.25)
    out[0] += halo * light[3] * 0.5
    out[1] += halo * light[4] * 0.5
    out[2] += halo * light[5] * 0.5


@njit(**OPTIONS)
def density(s, x, y, seed):
    """Return the cloud density at a point of a layer, 0..1."""
    body = fractal(x, y, 6, seed) + 0.45 * fractal(x * 0.31 + 4.0, y * 0.31, 2, seed + 9)
    edge = 0.42 - 0.95 * s.clouds
    return smooth(edge, edge + 0.30, body)


@njit(**OPTIONS)
def sky_color(s, light, dx, dy, dz, out):
    """Write the linear colour of the sky along a direction into out[0:3]; return SKY, CLOUD or SUN."""
    glow_color(s, light, dx, dy, dz, out)
    label = SKY
    degrees = math.degrees(s.sun_height)
    day = smooth(-9.0, 4.0, degrees)
    if day < 0.5 and dz > 0.0:
        u, v = int(math.atan2(dx, dy) * 900.0), int(dz * 900.0)
        spark = hash01(u, v, s.seed + 5)
        if spark > 0.9965:
            star = (spark - 0.9965) / 0.0035 * (0.5 - day) * (1.0 - s.haze) * 1.6
            for c in range(3):
                out[c] += star
    sunward = dx * light[0] + dy * light[1] + dz * light[2]
    disc = smooth(0.99945, 0.99962, sunward)
    if disc > 0.0:
        power = 3.0 if degrees > -1.0 else 0.8
        for c in range(3):
            out[c] += disc * power * (0.6 + 0.4 * light[3 + c])
        if disc > 0.5:
            label = SUN
    if dz > 0.004 and s.clouds > 0.02:
        fade = smooth(0.004, 0.07, dz)
        for layer in range(2):
            high = 0.55 + 1.5 * layer
            stretch = 1.0 if layer == 0 else 2.3
            px, py = dx / (dz + 0.05) * high * 0.75, dy / (dz + 0.05) * high * 0.75 * stretch
            here = density(s, px, py, s.seed + 300 + 40 * layer)
            if here <= 0.0:
                continue
            there = density(s, px + 0.10 * light[0], py + 0.10 * light[1] - 0.02, s.seed + 300 + 40 * layer)
            thick = here * (0.9 if layer == 0 else 0.5) * fade
            lit = smooth(0.45, -0.35, there - here) * 0.75 + 0.25
            rim = max(0.0, sunward) ** 10 * (1.0 - here) * 1.3
            for c in range(3):
                base = 0.42 * light[6 + c] + 0.10 * day
                color = base + light[3 + c] * (0.42 * lit + 0.5 * rim) * (1.0 - 0.55 * s.clouds * here)
                out[c] += (color - out[c]) * thick
            if thick > 0.45 and label != SUN:
                label = CLOUD
    return label
