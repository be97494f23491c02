"""Remakes assets/sessions and assets/sketches: a seeded hand that paints five scenes, stroke after stroke.

The hand aims, overshoots and corrects: its points lie on smooth random detours round the way it means to go,
its speed rises and falls along a stroke, and it rests between strokes. Run: python assets/make_samples.py
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).resolve().parent
sys.path.insert(0, str(ASSETS.parent))

from models.api import MATERIALS  # noqa: E402
from renderer.actions import Begin, Brush, Change, End, Event, Extend, Undo  # noqa: E402
from renderer.canvas import Canvas  # noqa: E402
from renderer.codec import rounded  # noqa: E402
from renderer.pictures import write_png  # noqa: E402
from renderer.session import Header, SessionWriter  # noqa: E402
from renderer.settings import Look  # noqa: E402

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
        """Set something; a slider is drawn there from 0.3 away, over some time."""
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
        """One stroke along corner points, drawn as a hand would."""
        rng = self.rng
        corners = np.array(points, float)
        corners += rng.normal(0, 2.5, corners.shape)
        lengths = np.hypot(*np.diff(corners, axis=0).T)
        total = float(lengths.sum())
        ticks = max(6, int(HZ * (0.25 + total / rng.uniform(300, 520))))
        along = np.linspace(0, 1, ticks)
        along = along - 0.12 * np.sin(2 * math.pi * along) / math.pi  # slow, fast, slow
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

    def wash(self, top: float, bottom: float, color: str | tuple, size: float = 70) -> None:
        """Fill a band from side to side with a zigzag."""
        y, x, corners = top + size / 2.4, -10.0, []
        while y < bottom - size / 3:
            corners.append((x, y))
            x = SIDE + 10.0 if x < 0 else -10.0
            corners.append((x, y + size * 0.12))
            y += size * 0.52
        self.stroke(corners, color, size)

    def ridge(
        self, left: float, right: float, base: float, height: float, color: str, size: float = 26
    ) -> None:
        """A mountain's outline, then its inside with a few broad strokes."""
        rng = self.rng
        n = int(rng.integers(5, 8))
        xs = np.linspace(left, right, n)
        lift = np.sin(np.linspace(0, math.pi, n)) * rng.uniform(0.55, 1.0, n)
        ys = base - height * np.clip(lift, 0.0, 1.0)
        outline = list(zip(xs, ys, strict=True))
        self.stroke(outline, color, size)
        for share in (0.35, 0.7):
            inner = [(x, y + (base - y) * share) for x, y in outline]
            self.stroke(inner, color, height * 0.42)


def lake(hand: SampleHand) -> None:
    hand.wash(-10, 225, "sky", 80)
    hand.ridge(-30, 260, 285, 190, "rock")
    hand.ridge(200, 540, 285, 230, "rock")
    hand.stroke([(95, 130), (125, 112), (160, 140)], "snow", 24)
    hand.stroke([(330, 105), (370, 70), (420, 110)], "snow", 30)
    hand.stroke([(350, 130), (385, 105), (410, 135)], "snow", 20)
    hand.stroke([(-5, 282), (130, 272), (300, 280), (515, 268)], "forest", 34)
    hand.stroke([(-5, 292), (250, 290), (515, 286)], "forest", 22)
    hand.wash(292, 520, "water", 74)
    hand.stroke([(70, 60), (140, 48), (210, 62)], "cloud", 34, hardness=0.3)
    hand.stroke([(290, 40), (340, 30)], "cloud", 26, hardness=0.3)
    hand.put(Undo())
    hand.rest(0.5, 1.0)
    hand.stroke([(250, 52), (330, 38), (400, 50)], "cloud", 30, hardness=0.3)
    hand.stroke([(-5, 500), (90, 470), (170, 505)], "grass", 46)
    hand.stroke([(20, 500), (26, 440), (30, 400)], "forest", 20)
    hand.stroke([(60, 505), (64, 460), (66, 430)], "forest", 16)
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
    hand.wash(-10, 110, (150, 120, 170), 76)
    hand.wash(90, 190, (232, 150, 110), 64)
    hand.wash(170, 250, (246, 196, 120), 56)
    hand.stroke([(352, 208), (356, 210)], "sun", 46)
    hand.ridge(-40, 220, 262, 80, "rock", 20)
    hand.ridge(160, 420, 262, 60, "rock", 20)
    hand.ridge(340, 560, 262, 110, "rock", 20)
    hand.stroke([(-10, 270), (200, 262), (520, 268)], "forest", 26)
    hand.wash(272, 400, "water", 60)
    hand.stroke([(300, 300), (360, 330), (330, 370)], (250, 200, 140), 20, opacity=0.8)
    hand.wash(390, 520, "grass", 70)
    hand.stroke([(60, 430), (66, 350), (70, 300)], "forest", 26)
    hand.stroke([(105, 440), (108, 380), (110, 345)], "forest", 20)
    hand.stroke([(440, 450), (446, 370), (448, 320)], "forest", 28)
    hand.stroke([(40, 90), (150, 70), (260, 95)], (250, 190, 160), 24, hardness=0.2)
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
    hand.wash(-10, 200, "sky", 84)
    hand.stroke([(-10, 220), (120, 180), (260, 215), (400, 190), (520, 215)], "rock", 46)
    hand.wash(215, 330, "sand", 70)
    hand.stroke([(-10, 300), (170, 250), (360, 310), (520, 270)], (236, 208, 156), 40)
    hand.stroke([(-10, 360), (200, 330), (420, 390), (520, 350)], "earth", 36)
    hand.wash(350, 520, "sand", 80)
    hand.stroke([(60, 420), (210, 370), (330, 430)], (180, 140, 92), 28)
    hand.stroke([(250, 480), (380, 430), (520, 470)], (240, 212, 162), 34)
    hand.stroke([(390, 70), (394, 72)], "sun", 40)
    hand.stroke([(60, 70), (140, 60), (220, 78)], "cloud", 26, hardness=0.3)
    hand.stroke([(0, 500), (90, 480)], "earth", 40)
    hand.stroke([(0, 500), (90, 480)], "sand", 30, erase=True)
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
    hand.stroke([(440, 330), (446, 290), (450, 260)], "grass", 18)
    hand.stroke([(470, 336), (474, 300)], "grass", 14)
    hand.change("mood.sun", (0.6, 0.25), 2.0)
    hand.rest(2, 3)
    hand.change("mood.sun", (0.25, 0.9), 2.5)
    hand.rest(2, 3)


def few(hand: SampleHand) -> None:
    """Five strokes, as a first try looks."""
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
            header = Header(SIDE, SIDE, "painter", "", Look().as_dict())
            writer = SessionWriter(ASSETS / "sessions" / f"{name}.jsonl", header)
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
