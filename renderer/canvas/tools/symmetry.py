"""Symmetric painting: the mirrored or rotated images of a point."""

from __future__ import annotations

import math

from renderer.actions import Symmetry

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): (x, y) -> (a x + b y + c, d x + e y + f)."""

IDENTITY: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def images(symmetry: Symmetry | None) -> tuple[Affine, ...]:
    """Affine maps from a point to each of its symmetry images, the identity first."""
    if symmetry is None:
        return (IDENTITY,)
    x, y = symmetry.x, symmetry.y
    if symmetry.kind == "vertical":
        return IDENTITY, (-1.0, 0.0, 2 * x, 0.0, 1.0, 0.0)
    if symmetry.kind == "horizontal":
        return IDENTITY, (1.0, 0.0, 0.0, 0.0, -1.0, 2 * y)
    turned = []
    for step in range(1, symmetry.count):
        angle = 2 * math.pi * step / symmetry.count
        cos, sin = math.cos(angle), math.sin(angle)
        turned.append((cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y))
    return IDENTITY, *turned
