"""Generate assets/sessions and assets/sketches: stroke logs of five scenes, from seeded simulated strokes.

Each stroke follows its target path with smooth random deviations, overshoot and correction. Its speed rises
and falls along the stroke, and there are pauses between strokes. Run: python tools/make_samples.py
"""

from __future__ import annotations

import math

import numpy as np

from assets import ASSETS
from models.api import MATERIALS
from renderer.actions import Begin, Brush, Change, End, Event, Extend, Undo
from renderer.canvas.canvas import Canvas
from renderer.files.png import write_png
from renderer.picture_params import PictureParams
from renderer.stroke_log.codec import rounded
from renderer.stroke_log.log import LogHeader, LogWriter

SIDE = 512
HZ = 60
COLORS = {material.name: material.color for material in MATERIALS}


class SampleHand:
    """Collects the events of one scene; `clock` is the time in seconds."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.events: list[Event] = []
        self.clock = 0.6

    def put(self, action) -> None:
        self.events.append(Event(rounded(action), self.clock))

    def rest(self, low: float = 0.5, high: float = 1.5) -> None:
        self.clock += self.rng.uniform(low, high)

    def change(self, name: str, value, seconds: float = 0.0) -> None:
        """Change a setting. With `seconds`, a slider is dragged to the value from 0.3 away in that time."""
        if seconds:
            for share in np.linspace(0, 1, max(2, int(seconds * 12))):
                self.put(Change(name, round(float(value[0] + (value[1] - value[0]) * share), 3)))
                self.clock += 1 / 12
        else:
            self.put(Change(name, value))
        self.rest(0.4, 0.9)

    def stroke(
        self, points, color: str | tuple, size: float, *, erase=False, hardness=0.8, opacity=1.0
    ) -> None:
        """Draw one hand-like stroke along corner points."""
        rng = self.rng
        corners = np.array(points, float)
        corners += rng.normal(0, 2.5, corners.shape)
        lengths = np.hypot(*np.diff(corners, axis=0).T)
        total = float(lengths.sum())
        ticks = max(6, int(HZ * (0.25 + total / rng.uniform(300, 520))))
        along = np.linspace(0, 1, ticks)
        along = along - 0.12 * np.sin(2 * math.pi * along) / math.pi  # slow at both ends
        at = np.interp(along * total, np.concatenate(([0], np.cumsum(lengths))), np.arange(len(corners)))
        x, y = (np.interp(at, np.arange(len(corners)), corners[:, k]) for k in (0, 1))
        sway = np.cumsum(rng.normal(0, 1, (2, ticks)), 1)
        sway -= np.linspace(0, 1, ticks) * sway[:, -1:]
        x, y = x + 0.6 * sway[0], y + 0.6 * sway[1]
        speed = np.hypot(np.gradient(x), np.gradient(y)) * HZ
        pressure = 1 - 0.75 * np.clip(speed / 2600, 0, 1)
        brush = Brush(COLORS[color] if isinstance(color, str) else color, size, hardness, opacity, erase)
        self.put(Begin(brush, (x[0], y[0], 0.8)))
        for i in range(1, ticks):
            self.clock += 1 / HZ
            self.put(Extend(((x[i], y[i], pressure[i]),)))
        self.put(End())
        self.rest()

    def wash(self, top: float, bottom: float, color: str | tuple, size: float = 80, *, hardness=0.8) -> None:
        """Fill a band from side to side with a zigzag."""
        corners, y, here, there = [], top + size * 0.3, -14.0, SIDE + 14.0
        while y < bottom - size * 0.25:
            corners += [(here, y), (there, y + size * 0.1)]
            here, there = there, here
            y += size * 0.46
        self.stroke(corners, color, size, hardness=hardness)

    def mass(self, outline: list, base: float, color: str | tuple, size: float = 22, *, rows=3) -> None:
        """Draw a mountain or a range: its outline, then rows of broad strokes inside it down to `base`."""
        self.stroke(outline, color, size)
        broad = max(size, 1.15 * (base - min(y for _, y in outline)) / rows)
        for share in np.linspace(0.3, 0.95, rows):
            self.stroke([(x, y + (base - y) * share) for x, y in outline], color, broad)

    def conifer(self, x: float, foot: float, height: float, color: str | tuple = "forest") -> None:
        """Draw a conifer: a trunk, and branches as one zigzag stroke that widens towards the foot."""
        self.stroke([(x, foot), (x + 1, foot - height)], color, max(5, height * 0.07))
        branches = []
        for share in (0.18, 0.4, 0.62, 0.85):
            y, reach = foot - height * (1 - share), height * 0.21 * share + 3
            branches += [(x - reach, y + 4), (x, y - height * 0.05), (x + reach, y + 4)]
        self.stroke(branches, color, height * 0.1)

    def cloud(self, x: float, y: float, width: float) -> None:
        """Draw a soft cloud with a flat bottom and a round top."""
        foot = [(x, y), (x + width * 0.5, y - 3), (x + width, y)]
        back = [(0.25, 0.08), (0.45, 0.15), (0.7, 0.07)]
        self.stroke(foot, "cloud", width * 0.13, hardness=0.1, opacity=0.85)
        over = [(x + width * right, y - width * up) for right, up in back]
        self.stroke(over, "cloud", width * 0.2, hardness=0.1, opacity=0.75)


def lake(hand: SampleHand) -> None:
    hand.wash(-20, 262, "sky", 96)
    far = [(-10, 215), (70, 168), (130, 200), (215, 150), (290, 200), (385, 158), (450, 198), (525, 175)]
    hand.mass(far, 265, (146, 164, 188), rows=2)
    near = [(120, 270), (190, 215), (228, 198), (280, 128), (312, 92), (338, 118), (372, 178), (420, 214)]
    hand.mass([*near, (490, 270)], 280, "rock")
    hand.stroke([(330, 122), (352, 180), (392, 222), (430, 262)], (88, 82, 88), 40)
    hand.stroke([(272, 158), (240, 205), (205, 240)], (150, 140, 132), 30)
    hand.stroke([(288, 122), (311, 96), (334, 122)], "snow", 22, hardness=0.5)
    hand.stroke([(300, 116), (286, 146), (276, 176), (262, 190)], "snow", 15, hardness=0.5)
    hand.stroke([(318, 112), (322, 142), (338, 166)], "snow", 14, hardness=0.5)
    hand.stroke([(-8, 274), (130, 262), (300, 276), (520, 256)], "forest", 36)
    hand.stroke([(520, 288), (250, 294), (-8, 296)], "forest", 28)
    hand.wash(296, 530, "water", 84)
    hand.cloud(40, 84, 150)
    hand.stroke([(250, 52), (300, 60)], "cloud", 26, hardness=0.3)
    hand.put(Undo())
    hand.rest(0.5, 1.0)
    hand.cloud(395, 66, 110)
    hand.stroke([(-8, 508), (60, 482), (150, 488), (250, 520)], "grass", 70)
    hand.stroke([(-8, 470), (60, 448), (120, 458), (180, 484)], (122, 150, 62), 28)
    for x, height in ((26, 150), (70, 100), (118, 72)):
        hand.conifer(x, 482, height)
    hand.change("mood.haze", (0.3, 0.65), 2.5)
    hand.change("mood.haze", (0.65, 0.2), 2.0)
    hand.change("prompt", "golden sunset")
    hand.rest(3, 4)
    hand.change("prompt", "winter morning")
    hand.rest(3, 4)
    hand.change("prompt", "")


def dusk(hand: SampleHand) -> None:
    hand.change("mood.sun", (0.6, 0.24), 2.0)
    hand.change("mood.warmth", (0.4, 0.95), 1.6)
    hand.wash(-20, 120, (120, 116, 166), 90)
    hand.wash(90, 190, (214, 140, 128), 80, hardness=0.3)
    hand.wash(165, 262, (248, 190, 120), 70, hardness=0.3)
    hand.stroke([(340, 196), (343, 197)], "sun", 40)
    hand.stroke([(30, 92), (110, 80), (200, 90), (260, 84)], (246, 176, 150), 20, hardness=0.2, opacity=0.9)
    hand.stroke([(330, 66), (420, 56), (520, 66)], (246, 176, 150), 16, hardness=0.2, opacity=0.9)
    far = [(-10, 214), (80, 186), (150, 214), (230, 200), (300, 224), (390, 206), (460, 182), (525, 204)]
    hand.mass(far, 266, (128, 100, 124), 18, rows=2)
    near = [(-10, 232), (60, 226), (150, 248), (240, 256), (330, 250), (420, 238), (525, 222)]
    hand.mass(near, 276, (70, 60, 76), 16, rows=2)
    hand.wash(270, 440, (58, 84, 122), 84)
    for y, left, right in (
        (284, 318, 368),
        (302, 306, 380),
        (326, 314, 372),
        (352, 300, 384),
        (382, 316, 368),
    ):
        hand.stroke([(left, y), (right, y + 3)], (246, 190, 130), 11, hardness=0.3, opacity=0.7)
    hand.stroke([(-8, 446), (140, 428), (330, 452), (520, 436)], (70, 84, 48), 44)
    hand.wash(440, 530, (62, 76, 44), 64)
    for x, foot, height in (
        (50, 470, 210),
        (96, 462, 150),
        (138, 470, 110),
        (440, 476, 170),
        (484, 470, 230),
    ):
        hand.conifer(x, foot, height, (34, 48, 40))
    hand.change("mood.clouds", (0.35, 0.8), 2.2)
    hand.change("mood.clouds", (0.8, 0.3), 2.0)
    hand.change("seed", 7)
    hand.rest(2, 3)
    hand.change("seed", 0)
    hand.change("mood.sun", (0.24, 0.05), 2.4)
    hand.rest(2, 3)


def dunes(hand: SampleHand) -> None:
    hand.change("mood.dryness", (0.3, 1.0), 1.5)
    hand.change("mood.vegetation", (0.5, 0.05), 1.2)
    hand.wash(-20, 205, "sky", 92)
    far = [(-10, 190), (60, 172), (110, 150), (170, 152), (210, 176), (300, 188), (360, 166), (420, 160)]
    hand.mass([*far, (525, 186)], 220, (176, 140, 120), 26, rows=2)
    hand.wash(205, 360, "sand", 80)
    hand.wash(330, 530, "sand", 90)
    hand.stroke([(-10, 262), (90, 236), (200, 226), (300, 246), (400, 276), (525, 284)], (238, 208, 158), 24)
    hand.stroke([(200, 246), (290, 268), (390, 300), (525, 316)], (190, 150, 104), 36, hardness=0.5)
    hand.stroke([(-10, 400), (120, 352), (250, 330), (360, 352), (525, 420)], (240, 212, 162), 28)
    hand.stroke([(255, 352), (340, 384), (430, 432), (520, 474)], (178, 136, 90), 56, hardness=0.5)
    hand.stroke([(300, 420), (380, 470), (450, 515)], (178, 136, 90), 50, hardness=0.5)
    hand.stroke([(-10, 480), (90, 450), (190, 470), (300, 520)], (232, 200, 150), 34)
    hand.stroke([(398, 70), (401, 71)], "sun", 36)
    hand.cloud(60, 74, 150)
    hand.stroke([(0, 500), (90, 480)], "earth", 40)
    hand.stroke([(0, 500), (90, 480)], "sand", 30, erase=True)
    hand.put(Undo())
    hand.put(Undo())
    hand.rest(0.6, 1.0)
    hand.change("strength", (0.6, 0.9), 1.8)
    hand.change("strength", (0.9, 0.3), 2.0)
    hand.change("strength", (0.3, 0.6), 1.0)
    hand.change("prompt", "desert evening")
    hand.rest(3, 4)
    hand.change("prompt", "night")
    hand.rest(3, 4)
    hand.change("prompt", "")
    for x, height in ((60, 38), (74, 24), (48, 20)):
        hand.stroke([(x, 332), (x + 3, 332 - height * 0.6), (x - 2, 332 - height)], "grass", 11)
    hand.change("mood.sun", (0.6, 0.25), 2.0)
    hand.rest(2, 3)
    hand.change("mood.sun", (0.25, 0.9), 2.5)
    hand.rest(2, 3)


def few(hand: SampleHand) -> None:
    """A scene of five strokes, like a beginner's first try."""
    hand.stroke([(0, 90), (256, 70), (512, 100)], "sky", 150)
    hand.stroke([(40, 300), (180, 130), (300, 300)], "rock", 70)
    hand.stroke([(0, 320), (250, 300), (512, 318)], "forest", 50)
    hand.stroke([(0, 400), (256, 390), (512, 405)], "water", 110)
    hand.stroke([(0, 490), (200, 480), (512, 500)], "grass", 60)


def scribble(hand: SampleHand) -> None:
    hand.stroke([(120, 300), (240, 180), (200, 330), (330, 200), (310, 350), (420, 240)], "rock", 30)


SESSIONS = {"lake": (lake, 1), "dusk": (dusk, 2), "dunes": (dunes, 3)}
SKETCHES = {**SESSIONS, "five-strokes": (few, 4), "scribble": (scribble, 5)}


def main() -> None:
    for name, (scene, seed) in SKETCHES.items():
        hand = SampleHand(seed)
        scene(hand)
        if name in SESSIONS:
            header = LogHeader(SIDE, SIDE, "painter", "", PictureParams().as_dict())
            writer = LogWriter(ASSETS / "sessions" / f"{name}.jsonl", header)
            for event in hand.events:
                writer.write(event)
            writer.close()
        canvas = Canvas(SIDE, SIDE)
        for event in hand.events:
            if not isinstance(event.action, Change):
                canvas.apply(event.action)
        write_png(ASSETS / "sketches" / f"{name}.png", canvas.pixels)
        print(f"{name}: {hand.clock:.0f} s, {len(hand.events)} events")


if __name__ == "__main__":
    main()
