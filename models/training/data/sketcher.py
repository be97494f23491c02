"""Synthetic colour sketches of a view: few flat colours, rough edges, strokes, and blank parts.

Needs only numpy and cv2, and takes a few milliseconds, since every training batch is sketched anew.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.api import MATERIALS

PALETTE = np.array([material.color for material in MATERIALS], np.float32)  # (M, 3)
NAMES = [material.name for material in MATERIALS]
SUN = NAMES.index("sun")
LEVEL = [
    NAMES.index(name) for name in ("sky", "cloud", "water", "mist", "sand")
]  # painted in horizontal strokes
SCALE = 4  # regions are found at a quarter of the size
BANDS = 3  # shades of one material, by brightness
COVERS = ("full", "gaps", "part", "strokes", "blobs", "nothing")
COVER_SHARES = (0.52, 0.20, 0.12, 0.10, 0.05, 0.01)


def sketch(view: np.ndarray, labels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Sketch a view: (H, W, 4) uint8 RGBA, straight alpha; colour is 0 where alpha is 0.

    view: (H, W, 3) uint8. labels: (H, W) uint8 by MATERIALS. Sides are multiples of 4.
    strength: 0..1; at 0 the colours are those of the view's regions, at 1 they are pulled up to three
    quarters of the way to the palette's, with jitter.
    """
    height, width = labels.shape
    coarse, table = find_regions(view, labels, rng, strength)
    enlarged = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    regions: np.ndarray = cv2.medianBlur(enlarged, int(rng.choice((5, 7))))
    paper = np.empty((height, width, 4), np.uint8)
    paper[..., :3] = table[regions]
    cover = rng.choice(COVERS, p=COVER_SHARES)
    paper[..., 3] = cover_mask(cover, regions, rng)
    if cover != "nothing":
        draw_strokes(paper, regions, table, rng, cover)
        draw_sun(paper, labels, view, rng, strength)
        if rng.random() < 0.3:
            add_bristles(paper, rng)
    if rng.random() < 0.45:
        soften(paper, rng)
    paper[paper[..., 3] == 0] = 0
    return paper


def find_regions(
    view: np.ndarray, labels: np.ndarray, rng: np.random.Generator, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (regions (H/4, W/4) uint8 = label * BANDS + shade, region colours (M * BANDS, 3) uint8)."""
    height, width = labels.shape[0] // SCALE, labels.shape[1] // SCALE
    picture = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
    coarse = labels[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
    moved = displacement(height, width, rng)
    coarse = cv2.remap(coarse, *moved, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    picture = cv2.remap(picture, *moved, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    sigma = float(np.exp(rng.uniform(np.log(4), np.log(32)))) / SCALE / 2
    present = [label for label in np.unique(coarse) if label != SUN] or [0]
    scores = [cv2.GaussianBlur((coarse == label).astype(np.float32), (0, 0), sigma) for label in present]
    merged = np.asarray(present, np.uint8)[np.argmax(scores, axis=0)]

    soft = cv2.GaussianBlur(picture, (0, 0), max(1.0, sigma)).astype(np.float32)  # (H/4, W/4, 3)
    shades = int(rng.integers(1, BANDS + 1))
    bright = soft.mean(-1)
    usual = mean_of(merged, bright, len(MATERIALS))[merged]
    step = float(rng.uniform(14, 34))
    shade = np.clip(np.rint((bright - usual) / step + (shades - 1) / 2), 0, shades - 1)
    regions = (merged * BANDS + shade.astype(np.uint8)).astype(np.uint8)

    means = np.stack([mean_of(regions, soft[..., c], len(MATERIALS) * BANDS) for c in range(3)], -1)
    pull = strength * rng.uniform(0.3, 0.75)
    colors = means + (np.repeat(PALETTE, BANDS, 0) - means) * pull
    colors += rng.normal(
        0, 1 + 13 * strength * rng.random(), colors.shape
    )  # each colour has an independent error
    colors += rng.normal(0, 1 + 6 * strength, (1, 3))  # common colour error
    return regions, np.clip(colors, 0, 255).astype(np.uint8)


def displacement(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return random source coordinates (x, y) for an inaccurate tracing, each (height, width) float32."""
    reach = float(rng.uniform(0, 5)) if rng.random() < 0.7 else 0.0
    waves = rng.normal(0, reach / 2, (5, 5, 2)).astype(np.float32)
    waves = cv2.resize(waves, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x + waves[..., 0], y + waves[..., 1]


def mean_of(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Return the (count,) means of `values` over each group; 0 for an empty one."""
    flat = groups.ravel()
    total = np.bincount(flat, values.ravel(), count)
    return (total / np.maximum(np.bincount(flat, minlength=count), 1)).astype(np.float32)


def cover_mask(cover: str, regions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the area filled before single strokes are drawn on top: (H, W) uint8."""
    height, width = regions.shape
    if cover == "full":
        return np.full((height, width), 255, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    if cover == "gaps":  # some materials are left unpainted
        materials = np.unique(regions // BANDS)
        kept = materials[rng.random(len(materials)) > rng.uniform(0.25, 0.75)]
        return np.isin(regions // BANDS, kept).astype(np.uint8) * 255
    if cover == "part":  # one side is left unpainted
        noise = cv2.resize(rng.normal(0, 1, (6, 6)).astype(np.float32), (width, height))
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        field = x * np.cos(angle) + y * np.sin(angle) + 0.25 * noise
        return (field > rng.uniform(-0.5, 0.7)).astype(np.uint8) * 255
    if cover == "blobs":
        for _ in range(rng.integers(1, 6)):
            center = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(width * rng.uniform(0.04, 0.3)), int(height * rng.uniform(0.03, 0.18)))
            cv2.ellipse(mask, center, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    return mask


def draw_strokes(
    paper: np.ndarray, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator, cover: str
) -> None:
    """Draw curved strokes in the colour of the region at their start; they overlap and cross edges."""
    height, width = regions.shape
    most = {"full": 24, "gaps": 20, "part": 20, "strokes": 70, "blobs": 5}[cover]
    count = int(rng.integers(3 if cover == "strokes" else 0, most))
    size = width / 256
    x, y = rng.integers(0, width, count), rng.integers(0, height, count)
    here = regions[y, x]
    level = np.isin(here // BANDS, LEVEL)
    angle = np.where(level, rng.normal(0, 0.15, count), rng.uniform(-np.pi, np.pi, count))
    length = np.exp(rng.uniform(np.log(8), np.log(110), count)) * np.sqrt(size)
    thickness = np.exp(rng.uniform(np.log(3), np.log(26), count) + rng.uniform(-0.4, 0.4)) * np.sqrt(size)
    bend = rng.normal(0, 0.5, count)
    jitter = rng.normal(0, rng.uniform(0, 9), (count, 3))
    colors = np.clip(table[here] + jitter, 0, 255)
    along = np.linspace(-0.5, 0.5, 6)
    turned = angle[:, None] + bend[:, None] * along
    points_x = x[:, None] + np.cos(turned) * length[:, None] * along
    points_y = y[:, None] + np.sin(turned) * length[:, None] * along
    points = np.rint(np.stack([points_x, points_y], -1)).astype(np.int32)  # (count, 6, 2)
    for i in range(count):
        color = (*colors[i].tolist(), 255.0)
        cv2.polylines(paper, [points[i]], False, color, max(1, int(thickness[i])))


def draw_sun(
    paper: np.ndarray, labels: np.ndarray, view: np.ndarray, rng: np.random.Generator, strength: float
) -> None:
    """Paint a dab at the visible sun, usually too large; sometimes it is left out."""
    rows, columns = np.nonzero(labels == SUN)
    if len(rows) == 0 or rng.random() < 0.25:
        return
    radius = np.sqrt(len(rows) / np.pi) * rng.uniform(0.9, 1.8) + 1
    near = view[rows, columns].mean(0)
    color = near + (PALETTE[SUN] - near) * strength + rng.normal(0, 1 + 8 * strength, 3)
    center = (round(columns.mean() + rng.normal(0, 1.5)), round(rows.mean() + rng.normal(0, 1.5)))
    cv2.circle(paper, center, round(radius), (*np.clip(color, 0, 255).tolist(), 255.0), -1)


def add_bristles(paper: np.ndarray, rng: np.random.Generator) -> None:
    """Add streaks of uneven paint, in place."""
    height, width = paper.shape[:2]
    long = int(rng.integers(4, 24))
    shape = (max(2, height // 2), max(2, width // long))
    if rng.random() < 0.3:
        shape = shape[::-1]
    streaks = rng.integers(-12, 13, shape).astype(np.int16) * rng.uniform(0.2, 1.0)
    streaks = cv2.resize(streaks.astype(np.float32), (width, height))
    paper[..., :3] = cv2.add(paper[..., :3], cv2.merge([streaks] * 3), dtype=cv2.CV_8U)


def soften(paper: np.ndarray, rng: np.random.Generator) -> None:
    """Imitate a soft brush, in place: blur alpha, and let colours bleed into each other a little."""
    sigma = float(np.exp(rng.uniform(np.log(0.6), np.log(5))))
    if rng.random() < 0.7:
        edge = cv2.GaussianBlur(paper[..., 3], (0, 0), sigma)
        paper[..., 3] = edge
    if rng.random() < 0.5:
        paper[..., :3] = cv2.GaussianBlur(paper[..., :3], (0, 0), min(sigma, 2.5))
