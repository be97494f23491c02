"""Synthetic hand-made sketches with materials: flat fills, outlines, symbols, blobs and blank parts.

Needs only numpy and cv2, and takes a few milliseconds, since every crop of every batch is sketched anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models.api import MATERIALS
from models.training.data.sketcher import add_bristles, cover_mask, displacement, mean_of, soften

UNKNOWN, COUNT = 0, len(MATERIALS) + 1  # labels: 0 unknown, else 1 + index in MATERIALS
PALETTE = np.array([(128, 128, 128), *(material.color for material in MATERIALS)], np.float32)
NUMBER = {material.name: index for index, material in enumerate(MATERIALS, 1)}
LEVEL = [NUMBER[name] for name in ("sky", "cloud", "water", "mist", "sand")]  # painted in horizontal strokes
STEEP = [NUMBER[name] for name in ("rock", "snow", "earth")]  # drawn as triangles
WOODED = [NUMBER[name] for name in ("forest", "autumn")]  # drawn as tree symbols
SCALE = 4  # regions are found at a quarter of the size
BANDS = 3  # shades of one material, by brightness
KINDS = {
    "regions": 0.28,  # the view's materials in up to three shades
    "flat": 0.14,  # one colour for each material
    "outlined": 0.10,  # thin outlines filled flat
    "bands": 0.12,  # horizontal bands, the horizon often at another height
    "mountains": 0.08,  # each mountain one triangle or one jagged stroke
    "blobs": 0.08,  # overlapping ellipses
    "strokes": 0.14,  # single strokes on blank paper
    "blank": 0.06,  # two strokes or none
}
UNKNOWN_SHARE = 0.15  # share of sketches with paint of unknown material


@dataclass
class Sheet:
    """A paper to paint on. paper: (H, W, 4) uint8 RGBA. materials: (H, W) uint8."""

    paper: np.ndarray
    materials: np.ndarray

    @classmethod
    def blank(cls, height: int, width: int) -> Sheet:
        return cls(np.zeros((height, width, 4), np.uint8), np.zeros((height, width), np.uint8))

    def fill(self, mask: np.ndarray, color: np.ndarray, material: int) -> None:
        """Paint where `mask`, (H, W), is true."""
        self.paper[mask] = (*color.tolist(), 255)
        self.materials[mask] = material

    def polygon(self, points: np.ndarray, color: np.ndarray, material: int) -> None:
        """Fill a polygon. points: (N, 2) int32 of (x, y)."""
        cv2.fillPoly(self.paper, [points], (*color.tolist(), 255))
        cv2.fillPoly(self.materials, [points], int(material))

    def line(self, points: np.ndarray, color: np.ndarray, material: int, thickness: int) -> None:
        cv2.polylines(self.paper, [points], False, (*color.tolist(), 255), thickness)
        cv2.polylines(self.materials, [points], False, int(material), thickness)

    def ellipse(self, center: tuple, axes: tuple, angle: float, color: np.ndarray, material: int) -> None:
        cv2.ellipse(self.paper, center, axes, angle, 0, 360, (*color.tolist(), 255), -1)
        cv2.ellipse(self.materials, center, axes, angle, 0, 360, int(material), -1)


def sketch(
    view: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    strength: float,
    *,
    kind: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sketch a view: (paper (H, W, 4) uint8 RGBA, materials (H, W) uint8); both 0 where nothing is painted.

    view: (H, W, 3) uint8. labels: (H, W) uint8, 0 unknown, else 1 + index in MATERIALS. Sides are multiples
    of 4. kind: one of KINDS, or None for a random one. strength: 0..1; at 0 colours are those of the view's
    regions, at 1 they are pulled up to three quarters of the way to the palette's, with jitter.
    """
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    shades = int(rng.integers(1, BANDS + 1)) if kind in ("regions", "strokes") else 1
    smooth_px = float(np.exp(rng.uniform(np.log(4), np.log(24 if shades > 1 else 48))))
    regions, table = find_regions(view, labels, rng, strength, smooth_px=smooth_px, shades=shades)
    if rng.random() < 0.25:  # unchanged palette colours
        known = np.repeat(np.arange(COUNT) > UNKNOWN, BANDS)
        table[known] = np.repeat(PALETTE, BANDS, 0)[known].astype(np.uint8)
    sheet = Sheet.blank(*labels.shape)
    PAINT[kind](sheet, regions, table, rng)
    if rng.random() < 0.2:
        draw_trees(sheet, regions, table, rng)
    if rng.random() < 0.15:
        add_bristles(sheet.paper, rng)
    if rng.random() < 0.3:
        soften(sheet.paper, rng)
    if rng.random() < UNKNOWN_SHARE:
        hidden = rng.random(COUNT) < (1.0 if rng.random() < 0.6 else 0.5)
        sheet.materials[hidden[sheet.materials]] = UNKNOWN
    bare = sheet.paper[..., 3] == 0
    sheet.paper[bare], sheet.materials[bare] = 0, 0
    return sheet.paper, sheet.materials


def find_regions(
    view: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    strength: float,
    *,
    smooth_px: float,
    shades: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (regions (H, W) uint8 = label * BANDS + shade, region colours (COUNT * BANDS, 3) uint8)."""
    height, width = labels.shape[0] // SCALE, labels.shape[1] // SCALE
    picture = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
    coarse = np.ascontiguousarray(labels[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE])
    moved = displacement(height, width, rng)
    coarse = cv2.remap(coarse, *moved, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    sigma = smooth_px / SCALE / 2
    present = np.unique(coarse)
    scores = [cv2.GaussianBlur((coarse == label).astype(np.float32), (0, 0), sigma) for label in present]
    merged = present[np.argmax(scores, axis=0)].astype(np.uint8)
    soft = cv2.GaussianBlur(picture, (0, 0), max(1.0, sigma)).astype(np.float32)
    regions = merged * BANDS
    if shades > 1:
        bright = soft.mean(-1)
        usual = mean_of(merged, bright, COUNT)[merged]
        step = float(rng.uniform(14, 34))
        shade = np.clip(np.rint((bright - usual) / step + (shades - 1) / 2), 0, shades - 1)
        regions = regions + shade.astype(np.uint8)
    means = np.stack([mean_of(regions, soft[..., c], COUNT * BANDS) for c in range(3)], -1)
    toward = np.repeat(PALETTE, BANDS, 0)
    pull = np.repeat(np.arange(COUNT) > UNKNOWN, BANDS)[:, None] * strength * rng.uniform(0.3, 0.75)
    colors = means + (toward - means) * pull
    colors += rng.normal(0, 1 + 13 * strength * rng.random(), colors.shape)  # independent colour errors
    colors += rng.normal(0, 1 + 6 * strength, (1, 3))  # common colour error
    large = cv2.resize(regions, (labels.shape[1], labels.shape[0]), interpolation=cv2.INTER_NEAREST)
    large: np.ndarray = cv2.medianBlur(large, 7)
    return large, np.clip(colors, 0, 255).astype(np.uint8)


def paint_regions(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    """Fill every region, leaving parts blank, and draw strokes over the edges."""
    cover = str(rng.choice(("full", "gaps", "part", "blobs"), p=(0.5, 0.2, 0.2, 0.1)))
    mask = cover_mask(cover, regions, rng) > 0
    sheet.paper[..., :3], sheet.paper[..., 3] = table[regions], mask * np.uint8(255)
    sheet.materials[:] = regions // BANDS
    draw_strokes(sheet, regions, table, rng, int(rng.integers(0, 8 if cover == "full" else 14)))


def paint_flat(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    """Fill every material with one colour, leaving some out."""
    for region in np.unique(regions):
        if rng.random() < 0.9:
            sheet.fill(regions == region, table[region], region // BANDS)


def paint_outlined(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    """Paint flat polygons of few corners with a thin dark outline."""
    loose = float(rng.uniform(1.5, 8))
    order = sorted(np.unique(regions), key=lambda region: -int((regions == region).sum()))
    lined = rng.random() < 0.7
    for region in order:
        mask = (regions == region).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in found:
            if cv2.contourArea(contour) < 40:
                continue
            points = cv2.approxPolyDP(contour, loose, True)[:, 0].astype(np.int32)
            if len(points) < 3:
                continue
            if rng.random() < 0.85:
                sheet.polygon(points, table[region], region // BANDS)
            if lined:
                dark = (table[region] * rng.uniform(0.2, 0.6)).astype(np.uint8)
                closed = np.concatenate((points, points[:1]))
                sheet.line(closed, dark, region // BANDS, int(rng.integers(1, 4)))


def paint_bands(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    """Paint horizontal bands of each row's most common material, possibly all shifted up or down."""
    height, width = regions.shape
    shift = int(rng.normal(0, height * 0.08)) if rng.random() < 0.6 else 0
    step = int(rng.integers(8, 33))
    for top in range(0, height, step):
        row = regions[min(height - 1, max(0, top + step // 2 + shift))]
        region = int(np.bincount(row).argmax())
        if rng.random() < 0.93:
            tilt = rng.normal(0, step * 0.15, 2)
            corners = ((0, top + tilt[0]), (width, top + tilt[1]), (width, top + step), (0, top + step))
            sheet.polygon(np.rint(corners).astype(np.int32), table[region], region // BANDS)
    draw_strokes(sheet, regions, table, rng, int(rng.integers(0, 10)))


def paint_mountains(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    """Paint mountains as triangles or one jagged stroke; the rest is flat or blank."""
    height, width = regions.shape
    if rng.random() < 0.6:
        for region in np.unique(regions):
            if region // BANDS not in STEEP:
                sheet.fill(regions == region, table[region], region // BANDS)
    for region in np.unique(regions):
        if region // BANDS not in STEEP:
            continue
        rows, columns = np.nonzero(regions == region)
        if len(rows) < 200:
            continue
        top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
        if rng.random() < 0.5:
            peak = int(columns[rows == top].mean() + rng.normal(0, 4))
            points = np.array(((left, bottom), (peak, top), (right, bottom)), np.int32)
            sheet.polygon(points, table[region], region // BANDS)
        else:
            count = int(rng.integers(3, 9))
            at = np.linspace(left, right, count).astype(np.int32)
            first = np.array([rows[columns == x].min() if (columns == x).any() else bottom for x in at])
            jagged = first + rng.normal(0, 3, count) + (np.arange(count) % 2) * rng.uniform(0, 12)
            points = np.stack((at, np.clip(jagged, 0, height - 1)), 1).astype(np.int32)
            sheet.line(points, table[region], region // BANDS, int(rng.integers(3, max(4, width // 10))))


def paint_blobs(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    """Paint overlapping ellipses, each of the material at its middle."""
    height, width = regions.shape
    for _ in range(int(rng.integers(2, 22))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        region = int(regions[y, x])
        axes = (
            int(np.exp(rng.uniform(np.log(8), np.log(width / 3)))),
            int(np.exp(rng.uniform(np.log(6), np.log(height / 4)))),
        )
        angle = float(rng.normal(0, 8) if region // BANDS in LEVEL else rng.uniform(0, 180))
        sheet.ellipse((x, y), axes, angle, table[region], region // BANDS)


def paint_strokes(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    draw_strokes(sheet, regions, table, rng, int(rng.integers(2, 30)))


def paint_little(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    draw_strokes(sheet, regions, table, rng, int(rng.integers(0, 3)))


PAINT = {
    "regions": paint_regions,
    "flat": paint_flat,
    "outlined": paint_outlined,
    "bands": paint_bands,
    "mountains": paint_mountains,
    "blobs": paint_blobs,
    "strokes": paint_strokes,
    "blank": paint_little,
}


def draw_strokes(
    sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator, count: int
) -> None:
    """Draw curved strokes of the material at their start; they overlap and cross edges."""
    height, width = regions.shape
    for _ in range(count):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        region = int(regions[y, x])
        level = region // BANDS in LEVEL
        angle = rng.normal(0, 0.15) if level or rng.random() < 0.4 else rng.uniform(-np.pi, np.pi)
        length = float(np.exp(rng.uniform(np.log(16), np.log(220))))
        thickness = int(np.exp(rng.uniform(np.log(4), np.log(44))))
        along = np.linspace(-0.5, 0.5, 6)
        turned = angle + rng.normal(0, 0.5) * along
        points = np.stack((x + np.cos(turned) * length * along, y + np.sin(turned) * length * along), 1)
        color = np.clip(table[region] + rng.normal(0, 4, 3), 0, 255).astype(np.uint8)
        sheet.line(np.rint(points).astype(np.int32), color, region // BANDS, max(1, thickness))


def draw_trees(sheet: Sheet, regions: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> None:
    """Draw tree symbols on wooded areas: triangles, discs on a trunk, or single upright strokes."""
    rows, columns = np.nonzero(np.isin(regions // BANDS, WOODED))
    if len(rows) < 60:
        return
    form = int(rng.integers(3))
    size = float(np.exp(rng.uniform(np.log(6), np.log(26))))
    for index in rng.integers(len(rows), size=int(rng.integers(1, 14))):
        y, x, region = int(rows[index]), int(columns[index]), int(regions[rows[index], columns[index]])
        tall, color, material = size * rng.uniform(0.7, 1.3), table[region], region // BANDS
        if form == 0:
            points = ((x - tall * 0.35, y), (x, y - tall), (x + tall * 0.35, y))
            sheet.polygon(np.rint(points).astype(np.int32), color, material)
        elif form == 1:
            radius = max(2, round(tall * 0.4))
            trunk = np.array(((x, y), (x, round(y - tall * 0.6))), np.int32)
            sheet.line(trunk, (color * 0.6).astype(np.uint8), material, max(1, radius // 4))
            sheet.ellipse((x, round(y - tall * 0.7)), (radius, radius), 0.0, color, material)
        else:
            stem = np.array(((x, y), (x, round(y - tall))), np.int32)
            sheet.line(stem, color, material, max(2, round(tall * 0.3)))
