"""View transform: zoom, pan, rotation and mirroring of positions and pane pixels, and their input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.api import Rect
from renderer.ui.style.theme import BACK
from renderer.ui.view.layout import FITTED, arrange, place
from renderer.ui.view.panes import PanePixels
from renderer.ui.view.view_transform import (
    LEAST_SCALE,
    MOST_SCALE,
    STEPS,
    ViewSettings,
    ViewTransform,
    clamped,
    next_scale,
)

positions = st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000))
views = st.builds(
    ViewTransform,
    st.floats(LEAST_SCALE, MOST_SCALE),
    positions,
    positions,
    st.floats(0, 360),
    st.booleans(),
)


@given(views, positions)
def test_window_to_paper_and_back(view, at):
    assert view.to_window(*view.to_paper(*at)) == pytest.approx(at, abs=1e-5)


@given(views, positions, st.floats(0.1, 10), st.floats(-400, 400))
def test_zoom_rotation_and_mirror_keep_the_point_under_the_pointer(view, at, factor, degrees):
    point = view.to_paper(*at)
    for changed in (view.zoomed(factor, at), view.rotated(degrees, at), view.flipped(at), view.moved_to(at)):
        assert changed.to_paper(*at) == pytest.approx(point, abs=1e-4)


@given(views, positions, positions)
def test_lengths_are_scaled_and_nothing_is_skewed(view, a, b):
    seen = math.dist(view.to_window(*a), view.to_window(*b))
    assert seen == pytest.approx(math.dist(a, b) * view.scale, rel=1e-6, abs=1e-4)


@given(views, positions, st.floats(-500, 500), st.floats(-500, 500))
def test_panning_moves_every_point_by_so_much(view, at, dx, dy):
    x, y = view.to_window(*at)
    assert view.panned(dx, dy).to_window(*at) == pytest.approx((x + dx, y + dy), abs=1e-5)


@given(views, positions)
def test_mirrored_twice_is_as_before(view, at):
    twice = view.flipped(at).flipped(at)
    assert twice.to_window(10, 20) == pytest.approx(view.to_window(10, 20), abs=1e-3)
    mirrored = view.flipped(at).to_window(10, 20)
    x, y = view.to_window(10, 20)
    assert mirrored == pytest.approx((2 * at[0] - x, y), abs=1e-3)  # mirrored in window coordinates


@given(views, st.integers(0, 500), st.integers(0, 500), st.integers(1, 300), st.integers(1, 300))
def test_the_window_box_of_a_rect_holds_all_of_it(view, x, y, width, height):
    rect = Rect(x, y, x + width, y + height)
    box = view.window_box(rect)
    for at in ((x, y), (x + width, y), (x + width / 2, y + height)):
        wx, wy = view.to_window(*at)
        assert box.x0 <= wx <= box.x1 and box.y0 <= wy <= box.y1


@given(st.floats(LEAST_SCALE, MOST_SCALE))
def test_zoom_steps_go_up_and_down(scale):
    up, down = next_scale(scale, 1), next_scale(scale, -1)
    assert (up > scale or scale >= STEPS[-1] * 0.99) and (down < scale or scale <= STEPS[0] * 1.01)


def test_the_paper_cannot_be_lost():
    assert clamped(ViewSettings(2.0, (-900.0, 5.0)), (512, 512)).center == (0.0, 5.0)


@given(
    st.floats(0.1, 12),
    st.tuples(st.floats(0, 256), st.floats(0, 256)),
    st.sampled_from([0.0, 90.0, 180.0, 37.0]),
    st.booleans(),
)
def test_both_panes_show_the_same_place(scale, center, degrees, mirrored):
    settings = ViewSettings(scale, center, degrees, mirrored)
    one, two = arrange("side", (1280, 720), (256, 256), settings=settings).panes
    for dx, dy in ((0, 0), (40, -30), (-100, 80)):
        here = one.canvas_at(one.area.x0 + one.area.width / 2 + dx, one.area.y0 + one.area.height / 2 + dy)
        there = two.canvas_at(two.area.x0 + two.area.width / 2 + dx, two.area.y0 + two.area.height / 2 + dy)
        assert here == pytest.approx(there, abs=1e-6)


@given(st.floats(0.2, 8), st.tuples(st.floats(0, 256), st.floats(0, 256)), positions)
def test_settings_read_from_a_view_show_the_same(scale, center, at):
    area = Rect(300, 20, 800, 540)
    view = place("paper", area, (256, 256), ViewSettings(scale, center), align=0).view
    again = place("paper", area, (256, 256), ViewSettings.of(view.panned(13, -7), area), align=0).view
    assert again.to_paper(*at) == pytest.approx(view.panned(13, -7).to_paper(*at), abs=1e-4)


# Pixels


def noisy() -> PanePixels:
    panes = PanePixels(64, 96)
    panes.paper[:] = np.random.default_rng(1).integers(0, 256, (96, 64, 3), np.uint8)
    return panes


def shown(settings: ViewSettings, panes: PanePixels, area: Rect = Rect(7, 9, 207, 159)):
    pane = place("paper", area, (64, 96), settings, align=0)
    return pane, panes.scaled(pane, pane.box)


def test_at_100_percent_pixels_are_the_papers_own():
    panes = noisy()
    pane, pixels = shown(ViewSettings(1.0, (32, 48)), panes)
    assert np.array_equal(pixels, panes.paper)
    assert (pane.box.width, pane.box.height) == (64, 96)


def test_large_scales_show_single_pixels():
    panes = noisy()
    pane, pixels = shown(ViewSettings(8.0, (16, 16)), panes)
    x, y = pane.canvas_at(pane.box.x0 + 3.5, pane.box.y0 + 2.5)
    assert np.array_equal(pixels[2, 3], panes.paper[int(y), int(x)])
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) <= (200 // 8 + 1) * (150 // 8 + 2)


def test_a_mirrored_and_a_turned_view():
    panes = noisy()
    assert np.array_equal(shown(ViewSettings(1.0, (32, 48), mirrored=True), panes)[1], panes.paper[:, ::-1])
    _, turned = shown(ViewSettings(1.0, (32, 48), 90.0), panes)
    assert np.array_equal(turned, np.rot90(panes.paper, -1))


def test_around_a_turned_paper_is_the_windows_background():
    panes = noisy()
    pane, pixels = shown(ViewSettings(1.0, (32, 48), 45.0), panes)
    assert tuple(pixels[0, 0]) == BACK
    assert np.array_equal(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2] == BACK, [False] * 3)
    assert pane.box.width == pytest.approx((64 + 96) / math.sqrt(2), abs=3)


@pytest.mark.parametrize(
    "settings",
    [ViewSettings(s, (30, 40), r, m) for s in (0.2, 0.7, 1.0, 2.6, 5.0) for r, m in ((0, False), (33, True))],
)
def test_any_part_is_the_part_of_the_whole(settings):
    panes = noisy()
    pane, whole = shown(settings, panes)
    x, y = pane.box.x0 + pane.box.width // 3, pane.box.y0 + pane.box.height // 4
    part = Rect(x, y, min(pane.box.x1, x + 19), min(pane.box.y1, y + 11))
    inside = whole[y - pane.box.y0 :, x - pane.box.x0 :][: part.height, : part.width]
    wrong = np.abs(panes.scaled(pane, part).astype(int) - inside).max(-1) > 12  # warpAffine rounds to 1/32 px
    assert wrong.mean() < 0.02


def test_a_small_view_is_averaged_not_sampled():
    panes = PanePixels(64, 96)
    panes.paper[:] = np.indices((96, 64)).sum(0)[..., None] % 2 * 255
    _, pixels = shown(ViewSettings(0.25, (32, 48)), panes)
    assert np.abs(pixels.astype(int) - 127).max() <= 1


def test_fitted_views_show_the_whole_paper_at_any_angle():
    for degrees in (0, 30, 90, 200):
        pane = place("paper", Rect(0, 0, 500, 400), (64, 96), ViewSettings(rotation_deg=degrees), align=0)
        for x, y in ((0, 0), (64, 0), (0, 96), (64, 96)):
            wx, wy = pane.view.to_window(x, y)
            assert -1 <= wx <= 501 and -1 <= wy <= 401
    assert FITTED.default
