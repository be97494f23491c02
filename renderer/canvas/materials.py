"""Material labels of pixels: 0 for unknown, otherwise 1 + index in MATERIALS."""

from __future__ import annotations

import numpy as np

from models.api import MATERIALS

UNKNOWN = 0
_NUMBERS = {material.color: number for number, material in enumerate(MATERIALS, 1)}


def material_of(color: tuple[int, ...]) -> int:
    """The material with exactly this palette colour, otherwise UNKNOWN."""
    return _NUMBERS.get((int(color[0]), int(color[1]), int(color[2])), UNKNOWN)


def from_colors(pixels: np.ndarray) -> np.ndarray:
    """Materials (H, W) uint8 of the pixels of (H, W, 4) uint8 that have an exact palette colour."""
    made = np.zeros(pixels.shape[:2], np.uint8)
    packed = pixels[..., :3].astype(np.uint32) @ np.array((1 << 16, 1 << 8, 1), np.uint32)
    packed[pixels[..., 3] == 0] = 1 << 24  # unpainted pixels are stored as black
    for color, number in _NUMBERS.items():
        made[packed == (color[0] << 16 | color[1] << 8 | color[2])] = number
    return made


def name_of(material: int) -> str:
    """Name of a material; empty for UNKNOWN."""
    return MATERIALS[material - 1].name if material else ""
