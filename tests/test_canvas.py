"""Tests of the canvas: effect of each edit on the pixels, undo, and independence of batching."""

from __future__ import annotations

import hashlib
import math
import platform
import threading
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_harness import ROOT, SHARP, stroke

from models.api import NOTHING
from renderer.actions import (
    Begin,
    Brush,
    Clear,
    End,
    Extend,
    Fill,
    FillSelection,
    InputError,
    Paste,
    Redo,
    Undo,
)
from renderer.canvas import undo as undo_module
from renderer.canvas.canvas import Canvas
from renderer.canvas.compositing import LEAST_ALPHA
from renderer.canvas.storage.compression import wait_until_packed
from renderer.stroke_log.log import read
from renderer.stroke_log.playback import Playback

SIDE = 96


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
        if not np.array_equal(canvas.pixels, states[-1]) or len(canvas.undo_history) >= len(states):
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
    monkeypatch.setattr(undo_module, "UNDO_BYTES", 200_000)
    canvas = Canvas(256, 256)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 4), np.uint8)
    for _ in range(5):
        canvas.apply(Paste(png(noise)))
    assert canvas.undo_history.nbytes <= 330_000  # the newest entry is kept at any size


def test_a_large_stroke_is_kept_as_a_small_patch():
    canvas = Canvas(512, 512)
    stroke(canvas, (10, 10), (500, 500), brush=Brush((1, 2, 3), 60))
    stroke(canvas, (10, 500), (500, 10), brush=Brush((200, 2, 3), 60))
    wait_until_packed()
    assert canvas.undo_history.nbytes < canvas.pixels.nbytes / 10


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


@pytest.mark.parametrize("opacity", [0.05, 0.3])
@pytest.mark.parametrize("hardness", [0.0, 1.0])
def test_thin_paint_reaches_its_colour_when_it_is_laid_often(opacity, hardness):
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(FillSelection((0, 200, 90)))
    for _ in range(150):
        stroke(canvas, (20, 48), (70, 48), brush=Brush((255, 10, 90), 24, hardness, opacity))
    assert canvas.pixels[48, 45].tolist() == [255, 10, 90, 255]


def test_thin_paint_on_blank_paper_becomes_opaque():
    canvas = Canvas(SIDE, SIDE)
    for _ in range(150):
        stroke(canvas, (20, 48), (70, 48), brush=Brush((255, 10, 90), 24, 1.0, 0.05))
    assert canvas.pixels[48, 45].tolist() == [255, 10, 90, 255]


@pytest.mark.parametrize("opacity", [0.05, 0.5, 1.0])
def test_a_soft_eraser_reaches_blank_paper(opacity):
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(FillSelection((9, 9, 9), material=3))
    for _ in range(150):
        stroke(canvas, (20, 48), (70, 48), brush=Brush(size_px=24, hardness=0.0, opacity=opacity, erase=True))
    assert not canvas.pixels[48, 45].any() and not canvas.materials[48, 45]
    assert canvas.paint_at(45, 48) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(brush, st.lists(point, min_size=1, max_size=6)), min_size=1, max_size=8))
def test_what_cannot_be_seen_is_unpainted(strokes):
    """After any painting and erasing, a pixel has visible alpha, or alpha, colour and material are all 0."""
    canvas = Canvas(SIDE, SIDE)
    for held, points in strokes:
        canvas.apply(Begin(replace(held, material=4), points[0]))
        canvas.apply(Extend(tuple(points[1:])))
        canvas.apply(End())
    alpha = canvas.pixels[..., 3]
    assert (alpha[alpha > 0] >= LEAST_ALPHA).all()
    assert not canvas.pixels[alpha == 0].any() and not canvas.materials[alpha == 0].any()


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


@pytest.mark.parametrize("hardness", [0.0, 0.5, 0.8, 1.0])
def test_fill_leaves_no_ring_at_a_soft_edge(hardness):
    canvas = Canvas(256, 256)
    ring = [(128 + 70 * math.cos(a), 128 + 70 * math.sin(a)) for a in np.linspace(0, 2 * np.pi, 40)]
    stroke(canvas, *ring, brush=Brush((40, 80, 40), 50, hardness))
    paint = canvas.snapshot()
    for x, y in ((128, 128), (2, 2)):
        canvas.apply(Fill((118, 169, 222), x, y, 24))
    assert canvas.pixels[..., 3].min() >= 250
    assert (canvas.pixels[paint[..., 3] == 255] == (40, 80, 40, 255)).all()
    canvas.apply(Undo())
    canvas.apply(Undo())
    assert np.array_equal(canvas.pixels, paint)


@pytest.mark.parametrize("opacity", [0.3, 0.6])
@pytest.mark.parametrize("hardness", [0.3, 0.9])
def test_fill_leads_over_to_a_half_transparent_stroke(hardness, opacity):
    """Across the edge, composed on white, every colour is between those of the fill and the stroke."""
    canvas, blue = Canvas(256, 256), np.array((60, 90, 160))
    stroke(canvas, (128, 20), (128, 236), brush=Brush(tuple(blue.tolist()), 60, hardness, opacity))
    canvas.apply(Fill((200, 170, 60), 10, 128, 24))
    row = canvas.pixels[128, :129].astype(float)
    shown = row[:, :3] * row[:, 3:] / 255 + 255 - row[:, 3:]
    inside = blue * opacity + 255 * (1 - opacity)
    low, high = np.minimum(inside, (200, 170, 60)) - 3, np.maximum(inside, (200, 170, 60)) + 3
    assert (shown >= low).all() and (shown <= high).all()
    assert np.abs(shown[128] - inside).max() < 3 and np.abs(np.diff(shown, axis=0)).max() < 130


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


def test_clear_can_be_undone():
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (10, 10), (80, 80))
    painted = canvas.snapshot()
    assert canvas.apply(Clear()) == canvas.whole
    assert canvas.blank
    canvas.apply(Undo())
    assert np.array_equal(canvas.pixels, painted)


@pytest.mark.parametrize("shape", [(40, 40), (98, 96), (96, 96)])
def test_an_image_of_the_papers_shape_covers_it(shape):
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(Paste(png(np.full((*shape, 4), (10, 200, 30, 255), np.uint8))))
    assert (canvas.pixels == (10, 200, 30, 255)).all()


def test_an_image_of_another_shape_is_fitted_whole():
    canvas = Canvas(SIDE, SIDE)
    image = np.full((200, 100, 4), (10, 200, 30, 255), np.uint8)
    image[:20], image[-20:] = (250, 0, 0, 255), (0, 0, 250, 255)
    canvas.apply(Paste(png(image)))
    painted = canvas.pixels[..., 3] > 0
    assert painted[:, 24:72].all() and not painted[:, :24].any() and not painted[:, 72:].any()
    assert canvas.pixels[2, 48, 0] == canvas.pixels[-3, 48, 2] == 250


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


def test_a_log_of_format_1_replays_byte_for_byte():
    """Compare with hashes of papers made by the format 1 program: strokes, fills, images, undo."""
    playback, papers = Playback(read(ROOT / "tests" / "format_1.jsonl")), []
    for share in (0.4, 0.8, 9):
        playback.advance(playback.seconds * share)
        papers.append(hashlib.sha256(playback.canvas.pixels.tobytes()).hexdigest()[:16])
    assert papers[0] == "55ed89d66cde3009" and playback.faults == 0
    if platform.machine() == "x86_64":  # OpenCV scales images slightly differently on other CPUs
        assert papers[1:] == ["009fd0f74019c868", "46dbea7a79066d55"]


def test_the_drawing_thread_does_not_compress(monkeypatch):
    """Pixels replaced by an edit are compressed on another thread: at pen-up, for Clear and for an image."""
    threads, real = set(), zlib.compress

    def compress(*words):
        threads.add(threading.get_ident())
        return real(*words)

    monkeypatch.setattr(zlib, "compress", compress)
    canvas = Canvas(256, 256)
    stroke(canvas, (20, 20), (200, 220), brush=Brush((9, 90, 9), 60))
    for edit in (
        Clear(),
        Undo(),
        FillSelection((1, 2, 3)),
        Paste(png(np.zeros((9, 9, 4), np.uint8))),
        Redo(),
    ):
        canvas.apply(edit)
    wait_until_packed()
    assert threads and threading.get_ident() not in threads


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
    assert canvas.paint_at(48.5, 48.2) == (SHARP.color, 0)
    assert canvas.paint_at(2, 2) is None
    assert canvas.paint_at(-1, 500) is None
