"""Draw the program's icon: a lake in front of a mountain, in palette colours, with one brush stroke."""

from __future__ import annotations

import cv2
import numpy as np

from assets import ASSETS
from models.api import MATERIALS
from renderer.actions import Begin, Brush, End, Extend
from renderer.canvas.canvas import Canvas

SIDE, SMALL = 512, 128
COLORS = {material.name: material.color for material in MATERIALS}
STROKES = (
    ("sky", 150, ((-20, 60), (260, 50), (540, 70))),
    ("sky", 150, ((540, 170), (260, 180), (-20, 165))),
    ("mist", 130, ((-20, 290), (260, 285), (540, 295))),
    ("sun", 110, ((392, 130), (394, 131))),
    ("rock", 120, ((90, 330), (180, 230), (230, 175), (290, 240), (400, 340))),
    ("rock", 140, ((150, 320), (240, 280), (340, 330))),
    ("snow", 46, ((188, 190), (230, 140), (282, 200))),
    ("forest", 90, ((-20, 352), (160, 340), (330, 352), (540, 338))),
    ("water", 150, ((-20, 430), (250, 420), (540, 435))),
    ("water", 120, ((540, 500), (250, 505), (-20, 500))),
    ("cloud", 26, ((110, 440), (220, 425), (330, 448), (430, 432))),
)


def main() -> None:
    canvas = Canvas(SIDE, SIDE)
    for name, size, places in STROKES:
        first, *rest = [(x, y, 0.9) for x, y in places]
        for edit in (Begin(Brush(COLORS[name], size, 0.9), first), Extend(tuple(rest)), End()):
            canvas.apply(edit)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    corner = SIDE // 5
    cv2.rectangle(mask, (corner, 0), (SIDE - corner, SIDE), 255, -1)
    cv2.rectangle(mask, (0, corner), (SIDE, SIDE - corner), 255, -1)
    for x in (corner, SIDE - corner):
        for y in (corner, SIDE - corner):
            cv2.circle(mask, (x, y), corner, 255, -1)
    icon = np.dstack((canvas.pixels[..., 2::-1], mask))
    small = cv2.resize(icon, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    cv2.imencode(".png", small)[1].tofile(ASSETS / "icon.png")


if __name__ == "__main__":
    main()
