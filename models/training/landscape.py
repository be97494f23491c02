"""A seeded view of a landscape that never was: picture, label of every pixel, and the mood it was made with.

The land is marched column by column from near to far, each column keeping its profile, so that water can
look up what it mirrors. Light is a sun or moon with shadows, the sky's glow, and haze that thickens with
distance.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from models.training.fractal import OPTIONS, fractal, hash01, smooth, value
from models.training.sky import glow_color, sky_color
from models.training.terrain import (
    AUTUMN,
    EARTH,
    FOREST,
    GRASS,
    MIST,
    ROCK,
    SAND,
    SNOW,
    TREE_REACH_KM,
    WATER,
    Scene,
    ground,
    material,
    tree_top,
    woods,
)

SUPERSAMPLE = 2
NEAR_KM, FAR_KM, STRIDE = 0.004, 30.0, 0.0055
SHADOW_SIDE, SHADOW_KM = 160, 16.0
MISTY = 0.62  # share of air from which a hazy scene's land is called mist


@njit(**OPTIONS)
def octaves_at(s, d):
    """As many octaves as a pixel at distance d can show."""
    return int(min(12.0, max(5.0, math.log2(s.wavelength / (d * 0.005 + 0.0012)))))


@njit(**OPTIONS)
def surface(s, x, y, d):
    """(height with trees, bare height, tree height, tree shade) at distance d from the camera."""
    bare = ground(s, x, y, octaves_at(s, d))
    if d < TREE_REACH_KM and d > 0.07:
        density = woods(s, x, y, bare, 0.3) * smooth(0.07 + 0.3 * s.broadleaf, 0.22 + 0.5 * s.broadleaf, d)
        if density > 0.3:
            top, shade = tree_top(s, x, y, density)
            return bare + top, bare, top, shade
    return bare, bare, 0.0, 0.5


@njit(**OPTIONS)
def shadow_map(s):
    """Coarse heights in front of the camera, for shadows: (SHADOW_SIDE, SHADOW_SIDE) over SHADOW_KM."""
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
    """Share of the light's disc that is seen from a point, 0..1."""
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
    """Linear colour of the land at (x, y) seen from distance d, into out[0:3]; returns its label."""
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
    tx, ty = 0.80 * x - 0.60 * y, 0.60 * x + 0.80 * y  # turned, so that no lattice line runs along the view
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
    """Mix out[0:3] with the air between; returns the share of air, 0..1."""
    thick = 0.007 * 45.0**s.haze
    low = math.exp(-max(0.0, h) / (0.35 + 0.5 * (1.0 - s.haze)))
    air = 1.0 - math.exp(-d * thick * (0.35 + 0.65 * low))
    fog = np.empty(3)
    glow_color(s, light, dx, dy, max(0.0, dz), fog)
    for c in range(3):
        out[c] += (fog[c] - out[c]) * air
    return air


@njit(**OPTIONS)
def trace(s, light, side, picture, labels):
    """Fill picture (side, side, 3) float32 linear and labels (side, side) uint8."""
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
    """Colour of water: what the rippled surface mirrors, over the depth's own colour."""
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
    """Direction (3), direct colour (3), ambient colour (3), of sun or moon; float64."""
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
    """Linear light -> sRGB uint8 by a filmic curve (the fit of Narkowicz 2015)."""
    x = np.maximum(linear * exposure, 0)
    film = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    srgb = np.where(film <= 0.0031308, 12.92 * film, 1.055 * film ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


def render(scene: Scene, size_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(picture (S, S, 3) uint8, labels (S, S) uint8 by MATERIALS, mood (7,) float32)."""
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
