"""Tests of the window layout and of the content of the panes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.api import NOTHING, Rect
from renderer.actions import Begin, Brush, End, Extend
from renderer.canvas.canvas import Canvas
from renderer.canvas.wet_ink import WetInk
from renderer.picture_params import PictureParams
from renderer.runtime.latency import RunStatistics
from renderer.scene import VIEWS, Scene
from renderer.ui.view.layout import FITTED, Pane, arrange, place
from renderer.ui.view.panes import PanePixels, ivory, over
from renderer.ui.view.view_transform import ViewSettings


def scene(side: int = 64) -> Scene:
    return Scene(Canvas(side, side), WetInk(side, side), PictureParams(), RunStatistics())


def test_two_papers_of_512_fit_a_window_of_1280x720_dot_for_dot():
    layout = arrange("side", (1280, 720), (512, 512))
    assert [pane.scale for pane in layout.panes] == [1.0, 1.0]
    assert [(pane.box.width, pane.box.height) for pane in layout.panes] == [(512, 512)] * 2


@given(
    st.sampled_from(VIEWS),
    st.integers(700, 4000),
    st.integers(500, 2400),
    st.sampled_from([(512, 512), (256, 1024), (2048, 256)]),
    st.booleans(),
    st.sampled_from([1.0, 1.5, 2.0]),
    st.sampled_from(
        [
            FITTED,
            ViewSettings(3.0, (40, 50), 30, True),
            ViewSettings(0.3, (0, 0)),
            ViewSettings(None, rotation_deg=45),
        ]
    ),
)
def test_nothing_overlaps_and_nothing_hangs_out(view, width, height, canvas, hud, scale, settings):
    width, height = round(width * scale), round(height * scale)
    layout = arrange(view, (width, height), canvas, hud=hud, scale=scale, settings=settings)
    parts = [*(pane.box for pane in layout.panes), layout.panel, layout.bar, layout.hud]
    parts = [part for part in parts if not part.empty]
    for i, part in enumerate(parts):
        assert part == part.intersect(Rect(0, 0, width, height))
        for other in parts[i + 1 :]:
            assert part.intersect(other).empty, (part, other)


def pane_at(x: int, y: int, side: int, scale: float) -> Pane:
    """Pane fitted to a square canvas, with its corner at (x, y)."""
    area = Rect(x, y, x + round(side * scale), y + round(side * scale))
    return place("paper", area, (side, side), align=0)


@given(st.sampled_from([0.25, 0.5, 1.25, 1.5, 2.0, 3.0]), st.floats(-20, 600), st.floats(-20, 600))
def test_canvas_positions_follow_the_scale(scale, x, y):
    pane = pane_at(100, 50, 512, scale)
    assert pane.canvas_at(100 + x * scale, 50 + y * scale) == pytest.approx((x, y), abs=1e-6)


def test_changed_pixels_of_the_canvas_lie_in_their_box_of_the_window():
    pane = pane_at(10, 20, 512, 1.5)
    box = pane.window_box(Rect(100, 100, 110, 104))
    assert box.x0 <= 160 and box.x1 >= 175 and box.y0 <= 170 and box.y1 >= 176
    assert box.width < 22
    assert pane.window_box(NOTHING).empty


def test_blank_paper_is_not_flat_and_not_white():
    paper = ivory(256, 256)
    assert 0.5 < paper.std(axis=(0, 1)).max() < 6
    assert paper.mean() < 250
    assert np.array_equal(paper, ivory(256, 256))


def test_paint_lies_on_paper_by_its_alpha():
    below = np.full((1, 3, 3), 200, np.uint8)
    paint = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [100, 100, 100, 128]]], np.uint8)
    assert over(below, paint)[0, :, 0].tolist() == [200, 0, 150]


def test_the_picture_is_bit_for_bit_the_models_where_nothing_is_wet():
    one = scene()
    view = PanePixels(64, 64)
    one.picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    one.picture_new = True
    view.update(one, NOTHING)
    assert np.array_equal(view.picture, one.picture)


def test_wet_ink_is_the_paper_itself():
    one = scene()
    view = PanePixels(64, 64)
    one.picture, one.picture_new = np.full((64, 64, 3), 40, np.uint8), True
    view.update(one, NOTHING)
    before = one.canvas.pixels.copy()
    box = NOTHING
    for edit in (Begin(Brush((250, 0, 0), 10, 1.0), (20, 20, 1.0)), Extend(((40, 20, 1.0),)), End()):
        box = box.union(one.canvas.apply(edit))
    one.ink.touch(box, before[box.slices], one.canvas.pixels[box.slices], 1)
    one.changed, one.picture_new = box, False
    changed = view.update(one, NOTHING)
    assert tuple(view.picture[20, 30]) == (250, 0, 0)
    assert (view.picture[50:] == 40).all()
    assert changed == {"paper": box, "picture": box}


@pytest.mark.parametrize("scale", [0.5, 1.5, 2.0])
def test_a_part_of_a_scaled_pane_is_the_part_of_the_whole(scale):
    view = PanePixels(64, 64)
    view.paper[:] = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    pane = pane_at(7, 9, 64, scale)
    whole = view.scaled(pane, pane.box)
    part = Rect(12, 15, 30, 33)
    assert np.abs(view.scaled(pane, part).astype(int) - whole[6:24, 5:23]).max() <= 1
