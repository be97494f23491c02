"""Random scenes from a seed: land, light, weather, season, and a camera above the ground."""

from __future__ import annotations

import math

import numpy as np

from models.training.data.landscapes.landscape import render
from models.training.data.landscapes.terrain import CLOUD, SKY, SUN, Scene, ground

HELD_OUT = 1 << 30  # seeds from here on are held out from training, and so is their land
LANDS = 1 << 24
PREVIEW_PX = 24
ATTEMPTS = 8
KINDS = ("alpine", "lake", "hills", "coast", "desert", "dunes", "ridge", "valley")
SHARES = (0.21, 0.24, 0.11, 0.08, 0.07, 0.05, 0.11, 0.13)


def scene(seed: int) -> Scene:
    """Return the scene of a seed, which never changes. Views with no sky or no land are skipped."""
    attempt = 0
    while True:
        made = propose(np.random.default_rng([seed, 20, attempt]))
        made = made._replace(seed=made.seed + LANDS * (seed >= HELD_OUT))
        labels = render(made, PREVIEW_PX)[1]
        air = float(np.isin(labels, (SKY, CLOUD, SUN)).mean())
        attempt += 1
        if 0.12 < air < 0.75 or attempt == ATTEMPTS:
            return made


def propose(rng: np.random.Generator) -> Scene:
    """Draw a random scene."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    kind = str(rng.choice(KINDS, p=SHARES))
    arid = kind in ("desert", "dunes")
    sun = between(0, 0.12) if rng.random() < 0.08 else between(0.12, 1.0) ** 1.1
    elevation = -9 + sun * 56 if sun < 0.25 else 5 + (sun - 0.25) / 0.75 * 55
    warmth = float(np.clip(rng.normal(0.62 - 0.3 * sun, 0.24), 0, 1))
    haze = between(0.0, 0.55) if rng.random() < 0.76 else between(0.55, 1.0)
    clouds = float(rng.beta(1.2, 1.5))
    snow = between(0.0, 0.7) if rng.random() < 0.8 else between(0.7, 1.0)
    dryness = between(0.0, 0.65) if rng.random() < 0.8 else between(0.6, 1.0)
    vegetation = between(0.1, 1.0)
    if arid:
        snow, dryness, vegetation = between(0, 0.15), between(0.75, 1.0), between(0.0, 0.25)
    relief = {"hills": between(0.25, 0.7), "coast": between(0.2, 0.9), "dunes": between(0.1, 0.5)}.get(
        kind, between(1.3, 3.0)
    )
    near = between(0.08, 0.6)
    sunward = rng.random() < 0.3  # the sun is in the picture
    if sunward:
        sun, elevation = between(0.09, 0.3), between(1.5, 15)
    made = Scene(
        seed=int(rng.integers(LANDS)),
        relief=relief,
        wavelength=between(3.0, 7.0) * (0.6 if kind in ("hills", "coast") else 1.0),
        crest={"hills": between(0, 0.2), "dunes": 0.0, "coast": between(0, 0.6)}.get(
            kind, between(0.35, 1.0)
        ),
        dunes=between(0.8, 1.0) if kind == "dunes" else 0.0,
        terraces=between(0.5, 0.95) if kind == "desert" else 0.0,
        flat={"ridge": between(0.3, 0.7), "hills": between(0.2, 0.6)}.get(kind, between(0.03, 0.2)),
        near=near,
        far=near + between(0.7, 3.2),
        water=-9.0,
        broadleaf=float(rng.random() < (0.6 if kind in ("hills", "valley") else 0.2)),
        turning=between(0.4, 1.0) if rng.random() < 0.16 and not arid else 0.0,
        sun_azimuth=between(-2.6, 2.6)
        if sun > 0.3
        else between(-0.35, 0.35)
        if sunward
        else between(-0.7, 0.7),
        sun_height=math.radians(elevation),
        camera=0.0,
        horizon=between(0.30, 0.62),
        focal=between(0.75, 1.5),
        sun=sun,
        warmth=warmth,
        haze=haze,
        clouds=clouds,
        snow=snow,
        dryness=dryness,
        vegetation=vegetation,
    )
    return stand(made, kind, rng)


def stand(made: Scene, kind: str, rng: np.random.Generator) -> Scene:
    """Set the water level of scenes with water, and put the camera above the land and water around it."""
    around = [ground(made, x, y, 9) for x in np.linspace(-0.4, 0.4, 9) for y in np.linspace(0.0, 1.5, 16)]
    here = max(
        ground(made, x, y, 12) for x in np.linspace(-0.03, 0.03, 7) for y in np.linspace(-0.01, 0.06, 8)
    )
    if kind in ("lake", "coast") or (kind in ("alpine", "valley") and rng.random() < 0.25):
        made = made._replace(water=float(np.quantile(around, rng.uniform(0.35, 0.9))))
    eye = {"ridge": (0.03, 0.25), "lake": (0.003, 0.03), "coast": (0.004, 0.05), "dunes": (0.01, 0.06)}.get(
        kind, (0.004, 0.08)
    )
    above = float(np.exp(rng.uniform(np.log(eye[0]), np.log(eye[1]))))
    return made._replace(camera=max(here, made.water) + above)
