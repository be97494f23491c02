"""Button icons, rendered from the SVG files in assets/icons."""

from __future__ import annotations

import io
from functools import lru_cache

import pygame
from pygame_gui import elements

from assets import ASSETS

ICONS = ASSETS / "icons"
INK = "#fff"  # colour used in the files; replaced by the requested one


@lru_cache(maxsize=128)
def icon(name: str, size_px: int, color: tuple[int, int, int]) -> pygame.Surface:
    """Render an icon as a square surface with premultiplied alpha, as pygame_gui needs it."""
    drawn = (
        (ICONS / f"{name}.svg").read_text(encoding="utf-8").replace(INK, "#{:02x}{:02x}{:02x}".format(*color))
    )
    svg = io.BytesIO(drawn.encode())
    return pygame.image.load_sized_svg(svg, (size_px, size_px)).convert_alpha().premul_alpha()


def set_icon(button: elements.UIButton, name: str, size_px: int, color: tuple[int, int, int]) -> None:
    """Put an icon on a button; white while the button is hovered or selected."""
    plain, bright = [icon(name, size_px, color)], [icon(name, size_px, (255, 255, 255))]
    button.normal_images, button.hovered_images, button.selected_images = plain, bright, bright
    middle = [(0.5, 0.5)]
    button.normal_image_positions = button.hovered_image_positions = button.selected_image_positions = middle
    button.rebuild()
