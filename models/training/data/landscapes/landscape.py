"""Procedural landscape renderer: picture, per-pixel labels and mood of a seeded scene.

The height field is marched column by column from near to far; each column keeps its profile, which water
uses for its reflections. Light is a sun or moon with shadows, the sky's glow, and haze that thickens with
distance.
"""

from __future__ import annotations

import math

import numpy as np

from models.training.data.landscapes.fractal import OPTIONS, fractal, hash01, njit, smooth, value
from models.training.data.landscapes.shading import haze_over, octaves_at, shade, shadow_map, surface
from models.training.data.landscapes.sky import sky_color
from models.training.data.landscapes.terrain import MIST, WATER, Scene, ground

SUPERSAMPLE = 2
NEAR_KM, FAR_KM, STRIDE = 0.004, 30.0, 0.0055
MISTY = 0.62  # share of air above which land in a hazy scene is labelled mist


@njit(**OPTIONS)
def trace(s, light, side, picture, labels):
    """Render into picture (side, side, 3) float32 linear and labels (side, side) uint8."""
    grid = shadow_map(s)
    steps = int(math.log(FAR_KM / NEAR_KM) / STRIDE)
    profile_d = np.empty(steps)
    profile_h = np.empty(steps)
    focal = s.focal * side
    level = s.horizon * side
    out, other = np.empty(3), np.empty(3)
    d = NEAR_KM
    for i in range(steps):
        profile_d[i] = d
        d *= 1.0 + STRIDE
    hit = np.empty(side)
    for column in range(side):
        across = (column + 0.5 - side / 2) / focal
        top = side
        hit[:] = -1.0
        jitter = 1.0 + STRIDE * (hash01(column, 3, s.seed) - 0.5)
        before = -1e9
        for i in range(steps):
            d = profile_d[i] * jitter
            h = max(s.water, surface(s, across * d, d, d)[0])
            profile_h[i] = h
            row = level - focal * (h - s.camera) / d
            if row < top:
                first = max(0, math.ceil(row))
                for y in range(first, top):
                    t = (y + 0.5 - row) / max(1e-6, before - row) if before > row else 0.0
                    hit[y] = d * (1.0 - STRIDE * min(1.0, max(0.0, t)))
                top = min(top, first)
            before = row
            if top <= 0:
                profile_h[i:] = -9.0
                break
        for row in range(side):
            dz = (level - row - 0.5) / focal
            length = math.sqrt(1.0 + across * across + dz * dz)
            dx, dy, dz = across / length, 1.0 / length, dz / length
            d = hit[row]
            if d < 0.0:
                labels[row, column] = sky_color(s, light, dx, dy, dz, out)
            else:
                x, y = across * d, d
                bare = ground(s, x, y, octaves_at(s, d))
                if bare <= s.water:
                    labels[row, column] = WATER
                    mirror(
                        s,
                        grid,
                        light,
                        across,
                        d,
                        dx,
                        dy,
                        dz,
                        s.water - bare,
                        profile_d,
                        profile_h,
                        out,
                        other,
                    )
                else:
                    labels[row, column] = shade(s, grid, light, x, y, d, out)
                    bare = max(bare, s.camera * 0.5)
                if haze_over(s, light, d, max(bare, s.water), dx, dy, dz, out) > MISTY and s.haze > 0.5:
                    labels[row, column] = MIST
            picture[row, column, 0] = out[0]
            picture[row, column, 1] = out[1]
            picture[row, column, 2] = out[2]


@njit(**OPTIONS)
def mirror(s, grid, light, across, d, dx, dy, dz, deep, profile_d, profile_h, out, other):
    """Compute the colour of water: the reflection in the rippled surface over the depth's own colour."""
    x, y = across * d, d
    calm = 0.25 + 0.75 * smooth(0.75, 0.2, s.clouds + 0.5 * hash01(1, 1, s.seed))
    size = 14.0 / (0.02 + d)
    wave = value(x * size * 6.0, y * size * 22.0, s.seed + 21) + 0.6 * value(
        x * size * 15.0, y * size * 60.0, s.seed + 22
    )
    gust = 0.4 + 0.6 * smooth(-0.3, 0.4, fractal(x * 3.0, y * 9.0, 3, s.seed + 23))
    tilt = wave * 0.035 * (1.3 - calm) * gust
    up = max(0.002, -dz + tilt)
    rise = up / math.sqrt(max(1e-6, 1.0 - dz * dz)) * math.sqrt(1.0 + across * across)
    found = -1.0
    for i in range(len(profile_d)):
        far = profile_d[i]
        if far <= d * 1.01:
            continue
        if profile_h[i] > s.water + rise * (far - d):
            found = far
            break
        if rise * (far - d) > s.relief * 1.6 + 0.3:
            break
    if found > 0.0:
        sway = across + 0.02 * wave * (1.3 - calm)
        shade(s, grid, light, sway * found, found, found, other)
        haze_over(s, light, found, s.water + rise * (found - d), dx, dy, 0.0, other)
    else:
        sky_color(s, light, dx + 0.01 * wave, dy, min(0.99, up), other)
    fresnel = 0.03 + 0.97 * (1.0 - min(1.0, up)) ** 5
    fresnel = min(0.96, fresnel + 0.25)
    deepness = smooth(0.0, 0.02, deep)
    tint = 0.6 + 0.4 * (1.0 - deepness)
    day = light[7]
    body = (0.012 + 0.05 * (1 - deepness), 0.05 * tint + 0.03 * (1 - deepness), 0.062 * tint)
    for c in range(3):
        out[c] = other[c] * fresnel + (1.0 - fresnel) * body[c] * day * 1.6


def lights(s: Scene) -> np.ndarray:
    """Return direction (3), direct colour (3) and ambient colour (3) of sun or moon; float64."""
    height = s.sun_height
    night = 1.0 - float(np.clip((math.degrees(height) + 9) / 11, 0, 1))
    low = float(np.clip(1 - math.degrees(height) / 24, 0, 1))
    if height < math.radians(-1.0):
        direction = (math.sin(s.sun_azimuth + 0.7), math.cos(s.sun_azimuth + 0.7), 0.75)
        power, color = 0.24, np.array([0.62, 0.78, 1.0])
    else:
        rise = max(math.sin(height), 0.03)
        direction = (
            math.sin(s.sun_azimuth) * math.cos(height),
            math.cos(s.sun_azimuth) * math.cos(height),
            rise,
        )
        warm = low * (0.35 + 0.65 * s.warmth) + 0.25 * (s.warmth - 0.35)
        color = np.array([1.0, 1.0 - 0.42 * warm, 1.0 - 0.78 * warm])
        power = (2.6 - 1.15 * low) * (1 - 0.35 * s.clouds)
    direction = np.array(direction) / np.linalg.norm(direction)
    day = (1 - night) * (0.95 - 0.45 * low)
    cool = np.array([0.55, 0.72, 1.0]) * (1 - 0.35 * s.clouds) + 0.26 * s.clouds
    blush = np.array([1.0, 0.72, 0.62])
    mix = 0.35 * low * s.warmth
    ambient = (cool * (1 - mix) + blush * mix) * (0.55 * day + 0.13 * night)
    return np.concatenate([direction, color * power * 1.15, ambient])


def tone(linear: np.ndarray, exposure: float) -> np.ndarray:
    """Tone-map linear light to sRGB uint8 by a filmic curve (the fit of Narkowicz 2015)."""
    x = np.maximum(linear * exposure, 0)
    film = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    srgb = np.where(film <= 0.0031308, 12.92 * film, 1.055 * film ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


def render(scene: Scene, size_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render a scene: (picture (S, S, 3) uint8, labels (S, S) uint8 by MATERIALS, mood (7,) float32)."""
    side = size_px * SUPERSAMPLE
    picture = np.zeros((side, side, 3), np.float32)
    labels = np.zeros((side, side), np.uint8)
    light = lights(scene)
    trace(scene, light, side, picture, labels)
    exposure = 0.95 + 0.3 * (1 - scene.sun)
    if scene.sun_height > 0:
        exposure *= float(np.clip((0.36 / picture.mean()) ** 0.5, 0.75, 1.9))
    small = tone(picture, exposure).astype(np.float32)
    small = small.reshape(size_px, SUPERSAMPLE, size_px, SUPERSAMPLE, 3).mean((1, 3))
    mood = (scene.sun, scene.warmth, scene.haze, scene.clouds, scene.snow, scene.dryness, scene.vegetation)
    return np.rint(small).astype(np.uint8), labels[::SUPERSAMPLE, ::SUPERSAMPLE], np.array(mood, np.float32)
