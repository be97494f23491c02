"""Tests of brush strokes: position, width, softness and speed."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from loop_harness import SHARP, stroke

from renderer.actions import Begin, Brush, Extend, Line, Undo
from renderer.canvas.canvas import Canvas
from renderer.canvas.tools.brushes import SPACING, Stroke

SIDE = 96


def test_no_corner_is_cut_at_speed():
    canvas = Canvas(256, 256)
    hand = [(20, 20), (230, 25), (228, 230), (30, 200), (125, 90)]
    stroke(canvas, *hand, brush=Brush((0, 0, 0), 6, 1.0))
    for x, y in hand:
        assert canvas.pixels[y, x, 3] == 255


def test_a_fast_stroke_is_a_smooth_curve():
    hand = [(128 + 90 * math.cos(a), 128 + 90 * math.sin(a)) for a in np.linspace(0, 2 * np.pi, 13)]
    canvas = Canvas(256, 256)
    stroke(canvas, *hand, brush=Brush((0, 0, 0), 4, 1.0))
    y, x = np.nonzero(canvas.pixels[..., 3] > 128)
    assert np.abs(np.hypot(x - 128, y - 128) - 90).max() < 5  # straight segments would be off by 3 px
    assert np.hypot(x - 128, y - 128).mean() == pytest.approx(90, abs=0.6)


def test_a_stroke_is_seen_up_to_the_hand_before_it_ends():
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(Begin(SHARP, (10, 48, 1.0)))
    canvas.apply(Extend(((40, 48, 1.0), (80, 48, 1.0))))
    assert canvas.pixels[48, 80, 3] == 255
    canvas.apply(Extend(((80, 80, 1.0),)))
    assert canvas.pixels[80, 80, 3] == 255


def test_dabs_lie_close_enough():
    assert SPACING <= 1 / 8
    coverage = np.zeros((64, 400), np.uint8)
    line = Stroke(Brush((0, 0, 0), 30, 1.0), coverage)
    line.begin((20, 32, 1.0))
    line.extend((200, 32, 1.0))
    line.extend((380, 32, 1.0))
    line.end()
    edge = [np.nonzero(column)[0][0] for column in coverage[:, 40:360].T]
    assert max(edge) - min(edge) <= 1


def test_width_follows_pressure():
    def thickness(pressure: float) -> int:
        canvas = Canvas(SIDE, SIDE)
        stroke(canvas, (10, 48), (48, 48), (86, 48), pressure=pressure)
        return int((canvas.pixels[:, 48, 3] > 0).sum())

    assert thickness(0.2) < thickness(0.6) < thickness(1.0)


def test_hardness_is_the_fall_off():
    soft, hard = Canvas(SIDE, SIDE), Canvas(SIDE, SIDE)
    stroke(soft, (48, 48), brush=Brush((0, 0, 0), 40, 0.0))
    stroke(hard, (48, 48), brush=Brush((0, 0, 0), 40, 1.0))
    partial = [((c.pixels[..., 3] > 0) & (c.pixels[..., 3] < 255)).sum() for c in (soft, hard)]
    assert partial[0] > 5 * partial[1]


def test_line_is_straight_and_reaches_both_ends():
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(Line(SHARP, (15, 20), (80, 70)))
    for t in np.linspace(0, 1, 20):
        assert canvas.pixels[round(20 + 50 * t), round(15 + 65 * t), 3] == 255
    canvas.apply(Undo())
    assert canvas.blank


def test_a_stroke_of_ten_points_takes_about_a_millisecond():
    canvas = Canvas(512, 512)
    canvas.apply(Begin(Brush((9, 9, 9), 60, 0.5, 0.8), (250, 250, 0.7)))
    times = []
    for k in range(100):
        turns = [(k * 10 + i) / 40 for i in range(10)]
        points = tuple((256 + 150 * math.cos(1.3 * a), 256 + 150 * math.sin(a), 0.7) for a in turns)
        began = time.perf_counter()
        canvas.apply(Extend(points))
        times.append(time.perf_counter() - began)
    assert np.median(times) < 0.004  # 0.3 ms on an idle core; margin for a busy machine
