"""Icons of the buttons: shapes on a grid of 24 units, drawn eight times too large and smoothed down."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import pygame

GRID, OVER = 24, 8
Shape = tuple  # ("line", width, points) | ("area", points) | ("dot", centre, radius)


def mirror(shapes: list[Shape]) -> list[Shape]:
    turned = []
    for kind, *rest in shapes:
        *numbers, points = rest
        turned.append((kind, *numbers, [(GRID - x, y) for x, y in points]))
    return turned


def box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]


BACK_ARROW = [
    (
        "line",
        2.2,
        [(6, 9), (14, 9), (16.8, 10), (18.6, 12), (19, 14), (18.6, 16), (16.8, 18), (14, 19), (9, 19)],
    ),
    ("area", [(3.5, 9), (9.5, 3.8), (9.5, 14.2)]),
]
ENDS = [("dot", (5.5, 18.5), 2.6), ("dot", (18.5, 5.5), 2.6)]
HOOK = [
    (8, 8.6),
    (8.8, 6.2),
    (10.6, 4.8),
    (13.4, 4.8),
    (15.4, 6.2),
    (16, 8.6),
    (15, 10.8),
    (12.6, 12.6),
    (12, 15),
]
LEFT, RIGHT = box(3.5, 6, 10.5, 18), box(13.5, 6, 20.5, 18)
ICONS: dict[str, list[Shape]] = {
    "tool.brush": [
        ("line", 3.4, [(19.5, 4.5), (12.4, 11.6)]),
        ("area", [(9.6, 11.2), (13, 14.6), (11.6, 18.4), (8, 20.4), (3.4, 20.6), (5.4, 17.8), (6, 14.2)]),
    ],
    "tool.eraser": [
        ("line", 2.0, [(9, 19.5), (4, 14.5), (14, 4.5), (20, 10.5), (11, 19.5), (9, 19.5), (20, 19.5)]),
        ("area", [(9, 19.5), (4, 14.5), (8.6, 9.9), (14.6, 15.9), (11, 19.5)]),
    ],
    "tool.line": [("line", 2.4, [(5.5, 18.5), (18.5, 5.5)]), *ENDS],
    "tool.fill": [
        ("line", 2.0, [(4, 12.5), (11, 5.5), (18, 12.5), (11, 19.5), (4, 12.5)]),
        ("area", [(4, 12.5), (18, 12.5), (11, 19.5)]),
        ("line", 2.0, [(11, 5.5), (8, 2.8)]),
        ("area", [(20.6, 14), (22.6, 18), (20.6, 20.2), (18.6, 18)]),
    ],
    "tool.pick": [
        ("line", 2.2, [(4, 20), (5.4, 16), (12, 9.4), (14.6, 12), (8, 18.6), (4, 20)]),
        ("line", 2.6, [(10.6, 6.6), (17.4, 13.4)]),
        ("line", 5.2, [(15.4, 8.6), (18.2, 5.8)]),
    ],
    "undo": BACK_ARROW,
    "redo": mirror(BACK_ARROW),
    "clear": [
        ("line", 2.0, [(4.5, 7), (19.5, 7)]),
        ("line", 2.0, [(9.5, 6.5), (9.5, 4), (14.5, 4), (14.5, 6.5)]),
        ("line", 2.0, [(6.5, 7), (7.5, 20), (16.5, 20), (17.5, 7)]),
        ("line", 1.6, [(10.4, 10.5), (10.7, 16.5)]),
        ("line", 1.6, [(13.6, 10.5), (13.3, 16.5)]),
    ],
    "open": [("line", 2.0, [(3.5, 6), (9, 6), (11, 8.5), (20.5, 8.5), (20.5, 19), (3.5, 19), (3.5, 6)])],
    "save": [
        ("line", 2.2, [(12, 4), (12, 13)]),
        ("area", [(7, 10.5), (17, 10.5), (12, 16)]),
        ("line", 2.2, [(4.5, 15), (4.5, 20), (19.5, 20), (19.5, 15)]),
    ],
    "rewind": [("area", [(12, 5.5), (3.5, 12), (12, 18.5)]), ("area", [(20.5, 5.5), (12, 12), (20.5, 18.5)])],
    "keep": [("area", [(6.5, 3.5), (17.5, 3.5), (17.5, 20.5), (12, 15.8), (6.5, 20.5)])],
    "record": [("dot", (12, 12), 6.6)],
    "view": [("line", 2.0, LEFT), ("line", 2.0, RIGHT), ("area", RIGHT)],
    "full": [
        ("line", 2.2, [(4, 9), (4, 4.5), (8.5, 4.5)]),
        ("line", 2.2, [(15.5, 4.5), (20, 4.5), (20, 9)]),
        ("line", 2.2, [(20, 15), (20, 19.5), (15.5, 19.5)]),
        ("line", 2.2, [(8.5, 19.5), (4, 19.5), (4, 15)]),
    ],
    "hud": [("line", 2.6, [(x, 19), (x, y)]) for x, y in ((4.5, 13), (9.5, 8), (14.5, 11), (19.5, 5))],
    "help": [("line", 2.4, HOOK), ("dot", (12, 19.2), 1.7)],
    "dice": [
        ("line", 2.0, box(4.5, 4.5, 19.5, 19.5)),
        *(("dot", spot, 1.7) for spot in ((8.6, 8.6), (15.4, 8.6), (12, 12), (8.6, 15.4), (15.4, 15.4))),
    ],
}  # fmt: skip


@lru_cache(maxsize=64)
def icon(name: str, size_px: int, color: tuple[int, int, int]) -> pygame.Surface:
    """A square surface with premultiplied alpha, as pygame_gui wants it."""
    unit = size_px * OVER / GRID
    large = pygame.Surface((size_px * OVER, size_px * OVER), pygame.SRCALPHA)
    large.fill((*color, 0))
    if name == "color":
        wheel(large)
    for kind, *rest in ICONS.get(name, ()):
        *numbers, last = rest
        if kind == "dot":
            (center,), radius = numbers, last
            pygame.draw.circle(large, color, (center[0] * unit, center[1] * unit), radius * unit)
            continue
        points = [(x * unit, y * unit) for x, y in last]
        if kind == "area":
            pygame.draw.polygon(large, color, points)
            continue
        thick = numbers[0] * unit
        for a, b in pairwise(points):
            bar(large, color, a, b, thick)
    return pygame.transform.smoothscale(large, (size_px, size_px)).premul_alpha()


def dress(button, name: str, size_px: int, color: tuple[int, int, int]) -> None:
    """Put the icon on a pygame_gui button; brighter where the button is under the pointer or chosen."""
    plain, bright = [icon(name, size_px, color)], [icon(name, size_px, (255, 255, 255))]
    button.normal_images, button.hovered_images, button.selected_images = plain, bright, bright
    middle = [(0.5, 0.5)]
    button.normal_image_positions = button.hovered_image_positions = button.selected_image_positions = middle
    button.rebuild()


def bar(surface: pygame.Surface, color, a: tuple, b: tuple, thick: float) -> None:
    """A straight line with round ends."""
    length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
    dx, dy = (b[1] - a[1]) / length * thick / 2, (a[0] - b[0]) / length * thick / 2
    corners = [(a[0] + dx, a[1] + dy), (b[0] + dx, b[1] + dy), (b[0] - dx, b[1] - dy), (a[0] - dx, a[1] - dy)]
    pygame.draw.polygon(surface, color, corners)
    for end in (a, b):
        pygame.draw.circle(surface, color, end, thick / 2)


def wheel(surface: pygame.Surface) -> None:
    """A ring of all hues: the free colour."""
    side = surface.get_width()
    middle, outer, inner = side / 2, side * 0.42, side * 0.2
    for degree in range(0, 360, 5):
        hue = pygame.Color(0)
        hue.hsva = (degree, 62, 95, 100)
        a, b = math.radians(degree - 1), math.radians(degree + 6)
        ring = [(r, t) for r, t in ((outer, a), (outer, b), (inner, b), (inner, a))]
        points = [(middle + r * math.cos(t), middle + r * math.sin(t)) for r, t in ring]
        pygame.draw.polygon(surface, hue, points)
