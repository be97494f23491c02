"""Twelve hand-made sketches with materials for the gallery, one of each kind that must work."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.api import MATERIALS
from models.training.data.material_sketcher import NUMBER, Sheet

Points = list[tuple[float, float]]
COLORS = {material.name: material.color for material in MATERIALS}


class Hand:
    """Draws on a square sheet in coordinates from 0 to 1; any material may have a custom colour.

    Material "" is paint of unknown material, such as a free colour.
    """

    def __init__(self, side_px: int):
        self.side = side_px
        self.sheet = Sheet.blank(side_px, side_px)

    def _color(self, material: str, color: tuple[int, int, int] | None) -> tuple[np.ndarray, int]:
        given = np.array(color or COLORS[material], np.uint8)
        return given, NUMBER[material] if material else 0

    def _points(self, points: Points) -> np.ndarray:
        return np.rint(np.array(points) * self.side).astype(np.int32)

    def area(self, material: str, points: Points, color: tuple[int, int, int] | None = None) -> None:
        self.sheet.polygon(self._points(points), *self._color(material, color))

    def band(self, material: str, top: float, bottom: float, color=None) -> None:
        self.area(material, [(0, top), (1, top), (1, bottom), (0, bottom)], color)

    def stroke(self, material: str, points: Points, width: float, color=None) -> None:
        self.sheet.line(self._points(points), *self._color(material, color), max(1, round(width * self.side)))

    def disc(self, material: str, x: float, y: float, rx: float, ry: float, color=None) -> None:
        center, axes = self._points([(x, y), (rx, ry)])
        self.sheet.ellipse(tuple(center.tolist()), tuple(axes.tolist()), 0.0, *self._color(material, color))

    def tree(self, material: str, x: float, foot: float, tall: float) -> None:
        self.area(material, [(x - tall * 0.3, foot), (x, foot - tall), (x + tall * 0.3, foot)])


def lake(hand: Hand) -> None:
    """Full paper: sky, mountains with snow, forest, lake."""
    hand.band("sky", 0, 0.5)
    hand.area(
        "rock",
        [(0, 0.5), (0.18, 0.28), (0.3, 0.38), (0.52, 0.14), (0.75, 0.36), (1, 0.3), (1, 0.6), (0, 0.6)],
    )
    hand.area("snow", [(0.42, 0.26), (0.52, 0.14), (0.62, 0.25), (0.53, 0.3)])
    hand.band("forest", 0.52, 0.64)
    hand.band("water", 0.62, 1)


def one_stroke_mountain(hand: Hand) -> None:
    """One jagged stroke of rock on blank paper."""
    hand.stroke("rock", [(0.05, 0.62), (0.3, 0.35), (0.42, 0.5), (0.62, 0.25), (0.95, 0.6)], 0.05)


def outlines(hand: Hand) -> None:
    """Flat fills inside thin dark outlines."""
    hand.band("sky", 0, 0.45)
    hills = [(0, 0.5), (0.25, 0.36), (0.5, 0.48), (0.8, 0.33), (1, 0.45), (1, 0.7), (0, 0.7)]
    hand.area("grass", hills)
    hand.stroke("grass", hills[:5], 0.006, (40, 60, 20))
    field = [(0, 0.68), (0.5, 0.6), (1, 0.7), (1, 1), (0, 1)]
    hand.area("earth", field)
    hand.stroke("earth", field[:3], 0.006, (50, 34, 20))


def tree_symbols(hand: Hand) -> None:
    """Single trees on a meadow."""
    hand.band("sky", 0, 0.48)
    hand.band("grass", 0.48, 1)
    for x, foot, tall in (
        (0.1, 0.6, 0.16),
        (0.25, 0.66, 0.2),
        (0.45, 0.58, 0.12),
        (0.6, 0.82, 0.34),
        (0.88, 0.7, 0.26),
    ):
        hand.tree("forest", x, foot, tall)


def dusk(hand: Hand) -> None:
    """A violet sky, an orange band, a low sun: palette materials in custom colours."""
    hand.band("sky", 0, 0.35, (120, 84, 160))
    hand.band("sky", 0.35, 0.55, (240, 150, 90))
    hand.disc("sun", 0.66, 0.5, 0.05, 0.05)
    hand.area("rock", [(0, 0.6), (0.2, 0.45), (0.45, 0.58), (1, 0.52), (1, 0.7), (0, 0.7)], (70, 58, 84))
    hand.band("water", 0.66, 1, (110, 80, 130))


def blobs(hand: Hand) -> None:
    """Overlapping blobs without straight edges."""
    hand.band("sky", 0, 1)
    hand.disc("cloud", 0.3, 0.2, 0.2, 0.08)
    hand.disc("cloud", 0.42, 0.15, 0.13, 0.07)
    for x, y, r in ((0.15, 0.75, 0.3), (0.55, 0.8, 0.34), (0.95, 0.72, 0.28)):
        hand.disc("grass", x, y, r, r * 0.7)
    for x, y in ((0.25, 0.6), (0.34, 0.62), (0.7, 0.62)):
        hand.disc("forest", x, y, 0.08, 0.07)
    hand.band("grass", 0.9, 1)


def coast(hand: Hand) -> None:
    """Sea, beach and cliff."""
    hand.band("sky", 0, 0.42)
    hand.band("water", 0.42, 0.75)
    hand.area("sand", [(0, 0.72), (0.5, 0.66), (1, 0.9), (1, 1), (0, 1)])
    hand.area("rock", [(0.62, 0.46), (0.7, 0.26), (1, 0.2), (1, 0.6), (0.75, 0.56)])


def desert(hand: Hand) -> None:
    """Dunes and a table mountain."""
    hand.band("sky", 0, 0.5)
    hand.area("rock", [(0.1, 0.5), (0.16, 0.3), (0.42, 0.3), (0.5, 0.5)], (168, 96, 64))
    hand.area("sand", [(0, 0.5), (0.4, 0.48), (0.7, 0.56), (1, 0.46), (1, 1), (0, 1)])


def half_blank(hand: Hand) -> None:
    """Only a sky and a line of water; the rest is blank."""
    hand.band("sky", 0, 0.4)
    hand.stroke("cloud", [(0.2, 0.18), (0.6, 0.14), (0.8, 0.2)], 0.06)
    hand.stroke("water", [(0, 0.62), (0.4, 0.6), (1, 0.66)], 0.05)


def free_colors(hand: Hand) -> None:
    """Paint of unknown material: a red field, a blue slope, a yellow sky."""
    hand.band("", 0, 0.45, (244, 214, 120))
    hand.area("", [(0, 0.5), (0.3, 0.25), (0.7, 0.45), (1, 0.3), (1, 0.65), (0, 0.65)], (70, 90, 150))
    hand.band("", 0.62, 1, (178, 60, 48))


def five_strokes(hand: Hand) -> None:
    """Five strokes of five materials, mostly blank."""
    hand.stroke("sky", [(0.05, 0.15), (0.95, 0.12)], 0.14)
    hand.stroke("snow", [(0.2, 0.45), (0.4, 0.28), (0.6, 0.46)], 0.08)
    hand.stroke("forest", [(0.02, 0.6), (0.5, 0.58), (0.98, 0.62)], 0.06)
    hand.stroke("water", [(0.1, 0.78), (0.9, 0.76)], 0.1)
    hand.stroke("grass", [(0.0, 0.95), (1.0, 0.93)], 0.08)


def blank(hand: Hand) -> None:
    """Blank paper."""


SKETCHES: tuple[Callable[[Hand], None], ...] = (
    lake,
    one_stroke_mountain,
    outlines,
    tree_symbols,
    dusk,
    blobs,
    coast,
    desert,
    half_blank,
    free_colors,
    five_strokes,
    blank,
)


def drawn(side_px: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return (name, paper (S, S, 4) uint8, materials (S, S) uint8) of every sketch."""
    found = []
    for draw in SKETCHES:
        hand = Hand(side_px)
        draw(hand)
        found.append((draw.__name__, hand.sheet.paper, hand.sheet.materials))
    return found
