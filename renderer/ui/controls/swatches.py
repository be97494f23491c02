"""The material palette, recent colours, and a sample stroke of the current brush."""

from __future__ import annotations

import string
from dataclasses import replace

import numpy as np
import pygame

from models.api import MATERIALS
from renderer.actions import Begin, Brush, End, Extend, FillSelection, Point
from renderer.canvas.canvas import Canvas
from renderer.ui.input.keymap import PALETTE_KEYS
from renderer.ui.input.tools import MOST_COLORS, Color
from renderer.ui.style.theme import CARD, WELL, Theme, rounded, rounded_plate, text
from renderer.ui.view.panes import ivory, over

WAVE = 24  # points of the sample stroke


class Swatches:
    """Palette swatches, four per row, each with the material's name and key."""

    def __init__(self, theme: Theme, x: float, y: float, width: float, height: float, gutter: float):
        self.theme = theme
        places = [
            (x + i % 4 * (width + gutter), y + i // 4 * (height + gutter)) for i in range(len(MATERIALS))
        ]
        self._unscrolled = [theme.box(*place, width, height) for place in places]
        self.boxes = self._unscrolled
        self._sample: tuple | None = None

    def move_to(self, scroll_px: int) -> None:
        """Move with the panel when it is scrolled up by this many pixels."""
        self.boxes = [box.move(0, -scroll_px) for box in self._unscrolled]

    def at(self, position: tuple[int, int]) -> int | None:
        """Index of the material at a window position."""
        return next((i for i, box in enumerate(self.boxes) if box.collidepoint(position)), None)

    def draw(self, surface: pygame.Surface, chosen: int) -> None:
        """Draw the swatches. chosen: material of the brush, 0 for a custom colour."""
        px, round_px = self.theme.px, self.theme.px(6)
        for number, (box, material, key) in enumerate(
            zip(self.boxes, MATERIALS, PALETTE_KEYS, strict=True), 1
        ):
            color = material.color
            rounded(surface, color, box, round_px)
            if number == chosen:
                rounded(surface, (255, 255, 255), box.inflate(px(4), px(4)), round_px + px(2), px(2))
                rounded(surface, CARD, box, round_px, px(1))
            light = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] > 128
            ink = (
                tuple(int(c * 0.3) for c in color) if light else tuple(c + (255 - c) * 8 // 10 for c in color)
            )
            name = text(material.name, self.theme.heading, ink)
            surface.blit(name, name.get_rect(midbottom=(box.centerx, box.bottom - px(2))))
            number = text(key, self.theme.font(10), ink)
            surface.blit(number, number.get_rect(topright=(box.right - px(4), box.top + px(1))))

    def draw_sample(self, surface: pygame.Surface, box: pygame.Rect, brush: Brush, tool: str) -> None:
        """Draw a sample stroke of the brush."""
        state = (brush, tool, box.size)
        if self._sample is None or self._sample[0] != state:
            self._sample = (state, sample(brush, tool, box.size, self.theme.px(6)))
        surface.blit(self._sample[1], box)


class ColorChips:
    """Row of recently used custom colours; a click selects one."""

    def __init__(self, theme: Theme, x: float, y: float, width: float):
        self.theme = theme
        step = width / MOST_COLORS
        self._unscrolled = [theme.box(x + i * step, y, step - 3, 13) for i in range(MOST_COLORS)]
        self.boxes = self._unscrolled

    def move_to(self, scroll_px: int) -> None:
        """Move with the panel when it is scrolled up by this many pixels."""
        self.boxes = [box.move(0, -scroll_px) for box in self._unscrolled]

    def at(self, position: tuple[int, int], colors: list[Color]) -> Color | None:
        for box, color in zip(self.boxes, colors, strict=False):
            if box.collidepoint(position):
                return color
        return None

    def draw(self, surface: pygame.Surface, colors: list[Color]) -> None:
        for i, box in enumerate(self.boxes):
            rounded(surface, colors[i] if i < len(colors) else WELL, box, self.theme.px(3))


def color_of(words: str) -> Color | None:
    """Parse a colour such as "#76a9de", "76A9DE" or "#7ad"; None if the text is not a colour."""
    digits = words.strip().lstrip("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    if len(digits) != 6 or not all(digit in string.hexdigits for digit in digits):
        return None
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def sample(brush: Brush, tool: str, size: tuple[int, int], corner_px: int) -> pygame.Surface:
    width, height = size
    canvas = Canvas(width, height)
    x = np.linspace(width * 0.12, width * 0.88, WAVE)
    y = height / 2 - np.sin(np.linspace(0, 2 * np.pi, WAVE)) * height * 0.16
    p = 0.55 + 0.45 * np.sin(np.linspace(0.2, np.pi - 0.2, WAVE))
    points: list[Point] = [(float(a), float(b), float(c)) for a, b, c in zip(x, y, p, strict=True)]
    if tool == "eraser":
        canvas.apply(FillSelection(brush.color))
    canvas.apply(Begin(replace(brush, erase=tool == "eraser"), points[0]))
    canvas.apply(Extend(tuple(points[1:])))
    canvas.apply(End())
    shown = pygame.image.frombuffer(over(ivory(width, height), canvas.pixels).tobytes(), size, "RGB")
    cut = rounded_plate(size, (255, 255, 255), corner_px).copy()
    cut.blit(shown, (0, 0), special_flags=pygame.BLEND_RGB_MULT)
    return cut
