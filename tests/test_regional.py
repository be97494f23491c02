"""Frames of which only a part is worked out: the same bytes as whole ones, for any edits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import ASSETS
from models.api import ModelError, Request
from models.painter import painter, regions
from models.painter.incremental import Regional
from models.painter.regions import Box, Boxes, changed

WEIGHTS = ASSETS / "painter.safetensors"
SIDES = st.sampled_from([256, 288, 384])


@pytest.fixture(scope="module")
def whole():
    """A painter that works out every frame as a whole."""
    one = painter.load(WEIGHTS, device="cpu")
    one.regional.takes = lambda *asked: False
    return one


@pytest.fixture(scope="module")
def partial():
    return painter.load(WEIGHTS, device="cpu")


def dabs(papers: np.ndarray, seed: int, count: int, size_px: int):
    """Papers, each with one dab of paint, or of blank paper, more than the one before."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        papers = papers.copy()
        y, x = rng.integers(-size_px // 2, papers.shape[0], 2)
        color = (*rng.integers(0, 256, 3), rng.choice([0, 130, 255]))
        papers[max(0, y) : max(0, y + size_px), max(0, x) : max(0, x + size_px)] = color
        yield papers


@settings(max_examples=8, deadline=None)
@given(side=SIDES, width=SIDES, seed=st.integers(0, 99), size_px=st.integers(1, 90))
def test_any_edits_give_the_bytes_of_whole_frames(whole, partial, side, width, seed, size_px):
    for paper in dabs(np.zeros((side, width, 4), np.uint8), seed, 4, size_px):
        request = Request(paper, seed=seed)
        np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)
    assert partial.regional._trusted


def test_a_small_edit_costs_a_part_of_a_frame_and_none_costs_nothing(partial):
    partial.regional._trials_left = 0
    first, second = dabs(np.zeros((512, 512, 4), np.uint8), 5, 2, 40)
    before = partial.render(Request(first)).picture
    partial.render(Request(second))
    assert 0 < partial.regional.share < 0.4
    again = partial.render(Request(second.copy())).picture
    assert partial.regional.share == 0
    partial.render(Request(first))
    np.testing.assert_array_equal(partial.render(Request(first)).picture, before)
    assert not np.array_equal(again, before)


@pytest.mark.parametrize(
    "other", [{"seed": 9}, {"strength": 0.3}, {"mood": (0.9,) * 7}, {"prompt": "night"}, {"origin": (64, 0)}]
)
def test_what_concerns_all_of_the_picture_is_worked_out_as_a_whole(whole, partial, other):
    (paper,) = dabs(np.zeros((256, 256, 4), np.uint8), 3, 1, 60)
    partial.render(Request(paper))
    request = Request(paper, **other)
    np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)
    assert partial.regional.share == 1


def test_more_steps_in_between_change_nothing(whole, partial):
    first, second = dabs(np.zeros((256, 256, 4), np.uint8), 7, 2, 50)
    for request in (Request(first), Request(first, steps=4), Request(second)):
        np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)


def test_where_a_part_differs_from_the_whole_parts_are_given_up(whole, monkeypatch):
    """Boxes that are too small stand for convolutions that give a part other bits."""
    reached = Boxes.reached
    monkeypatch.setattr(
        Boxes,
        "reached",
        lambda self, box, body: reached(self, box, body)._replace(fine_out=Box(0, 16, 0, 16)),
    )
    one = painter.load(WEIGHTS, device="cpu")
    for paper in dabs(np.zeros((256, 256, 4), np.uint8), 11, 4, 40):
        request = Request(paper)
        np.testing.assert_array_equal(one.render(request).picture, whole.render(request).picture)
    assert not one.regional.takes(1, 256, 256)


def test_after_a_frame_that_failed_nothing_is_gone_on_from(whole, partial, monkeypatch):
    first, second = dabs(np.zeros((256, 256, 4), np.uint8), 13, 2, 50)
    partial.render(Request(first))
    partial.regional._trials_left = 0
    with monkeypatch.context() as broken:
        broken.setattr(partial.body, "unpack", lambda out, residual, t: residual * float("nan"))
        with pytest.raises(ModelError, match="not a number"):
            partial.render(Request(second))
    request = Request(second)
    np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)


def test_only_one_step_and_no_paper_above_a_million_pixels_is_kept(partial):
    one = Regional(partial.body)
    assert one.takes(1, 1024, 1024)
    assert not one.takes(2, 512, 512)
    assert not one.takes(1, 1024, 1056)


def test_the_changed_box_is_the_smallest():
    before = np.zeros((4, 64, 96), np.uint8)
    after = before.copy()
    assert changed(before, after) is None
    after[2, 10, 20] = after[0, 30, 25] = 1
    assert changed(before, after) == Box(10, 31, 20, 26)


@given(
    ends=st.tuples(*[st.integers(0, 36)] * 4),
    step=st.sampled_from([4, 8, 16]),
    side=st.sampled_from([32, 36, 40]),
)
def test_snapped_boxes_hold_the_box_lie_within_the_whole_and_have_few_sizes(ends, step, side):
    ys, xs = (sorted(min(end, side - 1) for end in pair) for pair in (ends[:2], ends[2:]))
    box, whole = Box(ys[0], ys[1] + 1, xs[0], xs[1] + 1), Box(0, side, 0, side)
    snapped = box.snapped(step, whole)
    assert snapped.y0 <= box.y0 and box.y1 <= snapped.y1 <= side
    assert snapped.x0 <= box.x0 and box.x1 <= snapped.x1 <= side
    assert snapped.y0 >= 0 and snapped.x0 >= 0
    for length in (snapped.height, snapped.width):
        assert length % step == 0 or length == side


def test_an_edit_reaches_as_far_as_the_network_and_boxes_have_few_shapes(partial):
    whole, shapes = Boxes.whole(1024, 1024), set()
    radius, body = partial.network.receptive_radius_px(), partial.body
    for start in range(0, 1000, 8):
        reached = whole.reached(Box(start, start + 24, 500, 524), body)
        top, bottom = (regions.CELL_PX * end for end in (reached.fine_out.y0, reached.fine_out.y1))
        assert top <= max(0, start - 60) and bottom >= min(1024, start + 84)
        assert bottom - top <= 24 + 2 * radius + 16 * regions.COARSE_STEP
        assert reached.work(body) < 0.15 * whole.work(body)
        shapes.add(tuple((box.height, box.width) for box in reached))
    assert len(shapes) <= 2  # at the border and elsewhere
