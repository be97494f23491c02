"""The paper: what each edit does to the pixels, how it is undone, and that batching does not matter."""

from __future__ import annotations

import math
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.api import NOTHING, Rect
from renderer import canvas as canvas_module
from renderer.actions import Begin, Brush, Clear, End, Extend, Fill, InputError, Line, Paste, Redo, Undo
from renderer.brushes import SPACING, Stroke
from renderer.canvas import Canvas

RED = Brush((200, 30, 30), size_px=20, hardness=1.0)
SIDE = 96


def stroke(canvas: Canvas, *points: tuple[float, float], brush: Brush = RED, pressure: float = 1.0) -> Rect:
    first, *rest = [(x, y, pressure) for x, y in points]
    changed = canvas.apply(Begin(brush, first))
    changed = changed.union(canvas.apply(Extend(tuple(rest))))
    return changed.union(canvas.apply(End()))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA))[1].tobytes()


coordinate = st.floats(-30, SIDE + 30).map(lambda v: round(v, 1))
point = st.tuples(coordinate, coordinate, st.floats(0, 1).map(lambda v: round(v, 2)))
brush = st.builds(
    Brush,
    color=st.tuples(*[st.integers(0, 255)] * 3),
    size_px=st.floats(1, 60).map(lambda v: round(v, 1)),
    hardness=st.floats(0, 1).map(lambda v: round(v, 2)),
    opacity=st.floats(0.05, 1).map(lambda v: round(v, 2)),
    erase=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(brush, point, st.lists(point, max_size=20), st.lists(st.integers(1, 5), min_size=20, max_size=20))
def test_a_stroke_is_the_same_however_its_points_were_batched(brush, first, points, sizes):
    def ground() -> Canvas:
        canvas = Canvas(SIDE, SIDE)
        stroke(canvas, (10, 10), (80, 70), brush=Brush((20, 90, 160), 40, 0.3, 0.7))
        canvas.apply(Begin(brush, first))
        return canvas

    whole, split = ground(), ground()
    whole.apply(Extend(tuple(points)))
    rest = list(points)
    for size in sizes:
        split.apply(Extend(tuple(rest[:size])))
        rest = rest[size:]
    for canvas in (whole, split):
        canvas.apply(End())
    assert np.array_equal(whole.pixels, split.pixels)


@settings(max_examples=40, deadline=None)
@given(brush, st.lists(point, min_size=1, max_size=12))
def test_the_rect_holds_every_pixel_that_changed(brush, points):
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (20, 50), (70, 40))
    for edit in (Begin(brush, points[0]), Extend(tuple(points[1:])), End(), Undo(), Redo()):
        before = canvas.pixels.copy()
        box = canvas.apply(edit)
        changed = (before != canvas.pixels).any(-1)
        changed[box.slices] = False
        assert not changed.any()
        assert box == box.intersect(canvas.whole)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(brush, st.lists(point, min_size=1, max_size=4)), min_size=1, max_size=6))
def test_undo_and_redo_bring_back_every_byte(strokes):
    canvas = Canvas(SIDE, SIDE)
    states = [canvas.snapshot()]
    for held, points in strokes:
        canvas.apply(Begin(held, points[0]))
        canvas.apply(Extend(tuple(points[1:])))
        canvas.apply(End())
        if not np.array_equal(canvas.pixels, states[-1]) or len(canvas._undo) >= len(states):
            states.append(canvas.snapshot())
    for state in reversed(states[:-1]):
        canvas.apply(Undo())
        assert np.array_equal(canvas.pixels, state)
    for state in states[1:]:
        canvas.apply(Redo())
        assert np.array_equal(canvas.pixels, state)


def test_undo_is_at_least_100_deep():
    canvas = Canvas(SIDE, SIDE)
    states = [canvas.snapshot()]
    for i in range(120):
        stroke(canvas, (i % 90, i * 7 % 90), (i * 3 % 90, 50), brush=Brush((i, 255 - i, 7), 9))
        states.append(canvas.snapshot())
    for i in range(100):
        canvas.apply(Undo())
        assert np.array_equal(canvas.pixels, states[119 - i])


def test_undo_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(canvas_module, "UNDO_BYTES", 200_000)
    canvas = Canvas(256, 256)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 4), np.uint8)
    for _ in range(5):
        canvas.apply(Paste(png(noise)))
    assert sum(len(patch.data) for patch in canvas._undo) <= 200_000


def test_a_large_stroke_is_kept_as_a_small_patch():
    canvas = Canvas(512, 512)
    stroke(canvas, (10, 10), (500, 500), brush=Brush((1, 2, 3), 60))
    stroke(canvas, (10, 500), (500, 10), brush=Brush((200, 2, 3), 60))
    assert len(canvas._undo[-1].data) < canvas.pixels.nbytes / 20


def test_an_edit_after_undo_ends_redo():
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (10, 10), (20, 20))
    canvas.apply(Undo())
    stroke(canvas, (50, 50), (60, 60))
    assert canvas.apply(Redo()) == NOTHING


def test_opacity_holds_for_the_whole_stroke_and_adds_between_strokes():
    canvas = Canvas(SIDE, SIDE)
    thin = Brush((255, 0, 0), 20, 1.0, 0.5)
    stroke(canvas, (20, 48), (80, 48), (20, 48), (80, 48), brush=thin)
    assert canvas.pixels[48, 50, 3] == 128
    stroke(canvas, (20, 48), (80, 48), brush=thin)
    assert canvas.pixels[48, 50, 3] in (191, 192)


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
    assert np.abs(np.hypot(x - 128, y - 128) - 90).max() < 5  # straight pieces would lie 3 further in
    assert np.hypot(x - 128, y - 128).mean() == pytest.approx(90, abs=0.6)


def test_a_stroke_is_seen_up_to_the_hand_before_it_ends():
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(Begin(RED, (10, 48, 1.0)))
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


def test_the_eraser_takes_paint_back_to_blank():
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (10, 48), (86, 48))
    stroke(canvas, (0, 48), (95, 48), brush=Brush((9, 9, 9), 60, 1.0, erase=True))
    assert canvas.blank
    assert not canvas.pixels.any()


def test_fill_keeps_to_its_region_and_leaves_no_seam():
    canvas = Canvas(SIDE, SIDE)
    ring = [(48 + 30 * math.cos(a), 48 + 30 * math.sin(a)) for a in np.linspace(0, 2 * np.pi, 40)]
    stroke(canvas, *ring, brush=Brush((10, 10, 10), 8, 0.6))
    box = canvas.apply(Fill((250, 0, 0), 48, 48, 10))
    assert box.x0 > 10 and box.x1 < 86
    assert tuple(canvas.pixels[48, 48]) == (250, 0, 0, 255)
    assert canvas.pixels[2, 2, 3] == 0
    assert (canvas.pixels[48, 20:76, 3] == 255).all()


def test_fill_follows_its_tolerance():
    near = np.full((SIDE, SIDE, 4), (100, 100, 100, 255), np.uint8)
    near[:, 48:] = (110, 100, 100, 255)
    for tolerance, expected in ((9, 100), (10, 0)):
        canvas = Canvas(SIDE, SIDE)
        canvas.apply(Paste(png(near)))
        canvas.apply(Fill((0, 0, 0), 60, 5, tolerance))
        assert canvas.pixels[50, 10, 0] == expected


def test_fill_off_the_paper_does_nothing():
    assert Canvas(SIDE, SIDE).apply(Fill((1, 1, 1), -4, 500, 0)) == NOTHING


def test_line_is_straight_and_reaches_both_ends():
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(Line(RED, (15, 20), (80, 70)))
    for t in np.linspace(0, 1, 20):
        assert canvas.pixels[round(20 + 50 * t), round(15 + 65 * t), 3] == 255
    canvas.apply(Undo())
    assert canvas.blank


def test_clear_can_be_undone():
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (10, 10), (80, 80))
    painted = canvas.snapshot()
    assert canvas.apply(Clear()) == canvas.whole
    assert canvas.blank
    canvas.apply(Undo())
    assert np.array_equal(canvas.pixels, painted)


@pytest.mark.parametrize("shape", [(40, 40), (200, 100), (96, 96)])
def test_paste_covers_the_paper(shape):
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(Paste(png(np.full((*shape, 4), (10, 200, 30, 255), np.uint8))))
    assert (canvas.pixels == (10, 200, 30, 255)).all()


def test_paste_keeps_transparency_without_dark_seams():
    image = np.zeros((50, 50, 4), np.uint8)
    image[10:40, 10:40] = (250, 240, 230, 255)
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(Paste(png(image)))
    assert canvas.pixels[2, 2, 3] == 0
    seen = canvas.pixels[canvas.pixels[..., 3] > 8].astype(int)
    assert np.abs(seen[:, :3] - (250, 240, 230)).max() < 24


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_bad_image_changes_nothing(data):
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (10, 10), (80, 80))
    painted = canvas.snapshot()
    with pytest.raises(InputError) as caught:
        canvas.apply(Paste(data))
    assert "\n" not in str(caught.value)
    assert np.array_equal(canvas.pixels, painted)


def test_an_image_over_64_megapixels_is_refused():
    data = cv2.imencode(".png", np.zeros((8001, 8000), np.uint8))[1].tobytes()
    with pytest.raises(InputError, match="megapixels"):
        Canvas(SIDE, SIDE).apply(Paste(data))


def test_a_snapshot_is_not_reached_by_later_edits():
    canvas = Canvas(SIDE, SIDE)
    taken = canvas.snapshot()
    stroke(canvas, (10, 10), (80, 80))
    assert not taken.any()
    with pytest.raises(ValueError):
        taken[0, 0] = 1


def test_colour_under_the_pointer():
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (48, 48))
    assert canvas.color_at(48.5, 48.2) == RED.color
    assert canvas.color_at(2, 2) is None
    assert canvas.color_at(-1, 500) is None


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
    assert np.median(times) < 0.004  # 0.3 ms on an idle core; the rest is for a busy machine
