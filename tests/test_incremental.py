"""Tests of incremental frames: partly computed frames equal whole frames byte for byte, for any edits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import ASSETS
from models.api import Cancelled, ModelError, Request
from models.painter import painter, regions
from models.painter.incremental import IncrementalFrames
from models.painter.regions import Box, Boxes, changed

WEIGHTS = ASSETS / "painter.safetensors"
SIDES = st.sampled_from([256, 288, 384])


@pytest.fixture(scope="module")
def whole():
    """Painter that computes every frame whole, with PackedNetwork.frame."""
    one = painter.load(WEIGHTS, device="cpu")
    one.incremental.takes = lambda *asked: False
    return one


@pytest.fixture(scope="module")
def partial():
    return painter.load(WEIGHTS, device="cpu")


def dabs(papers: np.ndarray, seed: int, count: int, size_px: int):
    """Yield papers, each with one more dab of paint or blank paper than the previous one."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        papers = papers.copy()
        y, x = rng.integers(-size_px // 2, papers.shape[0], 2)
        color = (*rng.integers(0, 256, 3), rng.choice([0, 130, 255]))
        papers[max(0, y) : max(0, y + size_px), max(0, x) : max(0, x + size_px)] = color
        yield papers


def share(model, request: Request) -> float:
    """Render a request; return its share of the work of a whole frame."""
    shares, plan = [], model.incremental.plan
    model.incremental.plan = lambda *given: shares.append(plan(*given)) or shares[-1]
    model.render(request)
    del model.incremental.plan
    return shares[0].share


@settings(max_examples=8, deadline=None)
@given(
    side=SIDES,
    width=SIDES,
    seed=st.integers(0, 99),
    size_px=st.integers(1, 90),
    steps=st.sampled_from([1, 1, 2]),
)
def test_any_edits_give_the_bytes_of_whole_frames(whole, partial, side, width, seed, size_px, steps):
    for paper in dabs(np.zeros((side, width, 4), np.uint8), seed, 4, size_px):
        request = Request(paper, seed=seed, steps=steps)
        np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)
    assert partial.incremental.why_off == "" == partial.card.why_not_faster.partition("no CUDA")[0]


def test_refinement_steps_of_a_large_paper_cost_what_a_stroke_reaches(whole, partial):
    """Step counts alternate as in the window; each continues from its own last frame."""
    papers = list(dabs(np.full((768, 768, 4), 140, np.uint8), 3, 2, 16))
    for paper in papers:
        for steps in (1, 2):
            request = Request(paper, steps=steps)
            took = share(partial, request)
            assert took == 1 if paper is papers[0] else 0 < took < 0.6, (steps, took)
            picture = partial.render(request).picture
            np.testing.assert_array_equal(picture, whole.render(request).picture)
            assert share(partial, request) == 0


def test_a_small_edit_costs_a_part_of_a_frame_and_none_costs_nothing(partial):
    first, second = dabs(np.zeros((512, 512, 4), np.uint8), 5, 2, 40)
    before = partial.render(Request(first)).picture
    assert 0 < share(partial, Request(second)) < 0.4
    assert share(partial, Request(second.copy())) == 0
    again = partial.render(Request(second)).picture
    partial.render(Request(first))
    np.testing.assert_array_equal(partial.render(Request(first)).picture, before)
    assert not np.array_equal(again, before)


@pytest.mark.parametrize(
    "other", [{"seed": 9}, {"strength": 0.3}, {"mood": (0.9,) * 7}, {"prompt": "night"}, {"origin": (64, 0)}]
)
def test_what_concerns_all_of_the_picture_is_computed_as_a_whole(whole, partial, other):
    (paper,) = dabs(np.zeros((256, 256, 4), np.uint8), 3, 1, 60)
    partial.render(Request(paper))
    request = Request(paper, **other)
    assert share(partial, request) == 1
    np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)


def test_more_steps_in_between_change_nothing(whole, partial):
    first, second = dabs(np.zeros((256, 256, 4), np.uint8), 7, 2, 50)
    for request in (Request(first), Request(first, steps=4), Request(second), Request(second, steps=4)):
        np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)


def too_small(monkeypatch) -> None:
    """Shrink the computed boxes, to simulate convolutions that give different bits for a part."""
    reached = Boxes._reached
    monkeypatch.setattr(
        Boxes,
        "_reached",
        lambda self, fine, body: reached(self, fine, body)._replace(fine_out=Box(0, 16, 0, 16)),
    )


def test_where_a_part_differs_from_the_whole_parts_are_given_up_and_it_is_said(whole, monkeypatch):
    too_small(monkeypatch)
    one = painter.load(WEIGHTS, device="cpu")
    for paper in dabs(np.zeros((256, 256, 4), np.uint8), 11, 4, 40):
        frame = one.render(Request(paper))
        np.testing.assert_array_equal(frame.picture, whole.render(Request(paper)).picture)
    assert not one.incremental.takes(1, 256, 256)
    assert frame.why_not_faster.startswith("frames are computed whole: on this CPU a part differs")
    assert one.card.why_not_faster == frame.why_not_faster


def test_parts_are_checked_while_the_pen_rests_and_not_while_it_moves(whole, monkeypatch):
    one = painter.load(WEIGHTS, device="cpu")
    assert not one.rest()  # no frame yet: nothing to check
    papers = list(dabs(np.zeros((256, 256, 4), np.uint8), 11, 4, 40))
    one.render(Request(papers[0]))
    computed, compute = [], IncrementalFrames._compute
    monkeypatch.setattr(
        IncrementalFrames, "_compute", lambda *given: computed.append(given[2].share) or compute(*given)
    )
    assert not one.rest() and len(computed) == 2
    for paper in papers[1:]:
        request = Request(paper)
        np.testing.assert_array_equal(one.render(request).picture, whole.render(request).picture)
    assert len(computed) == 2 + 3  # each frame is computed once
    assert not one.rest() and len(computed) == 5
    too_small(monkeypatch)
    other = painter.load(WEIGHTS, device="cpu")
    other.render(Request(papers[0]))
    other.rest()
    assert "a part differs" in other.card.why_not_faster
    np.testing.assert_array_equal(
        other.render(Request(papers[1])).picture, whole.render(Request(papers[1])).picture
    )


def test_after_a_frame_that_failed_nothing_is_gone_on_from(whole, partial, monkeypatch):
    first, second = dabs(np.zeros((256, 256, 4), np.uint8), 13, 2, 50)
    partial.render(Request(first))
    with monkeypatch.context() as broken:
        broken.setattr(partial.body, "unpack", lambda out, residual, t: residual * float("nan"))
        with pytest.raises(ModelError, match="not a number"):
            partial.render(Request(second))
    request = Request(second)
    np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)


def test_a_frame_that_is_cancelled_between_two_steps_leaves_nothing_to_go_on_from(whole, partial):
    first, second = dabs(np.zeros((256, 256, 4), np.uint8), 17, 2, 50)
    partial.render(Request(first, steps=2))
    with pytest.raises(Cancelled):
        partial.render(Request(second, steps=2), cancelled=lambda: True)
    request = Request(second, steps=2)
    np.testing.assert_array_equal(partial.render(request).picture, whole.render(request).picture)


def test_what_is_kept_fits_the_memory_and_is_what_was_counted(partial):
    frames = IncrementalFrames(partial.body)
    for steps in (1, 2):
        partial.render(Request(np.full((512, 512, 4), 90, np.uint8), steps=steps))
        kept = partial.incremental._kept[steps].nbytes()
        assert kept == frames.need_bytes(steps, 512, 512)
    one, two = (frames.need_bytes(steps, 512, 512) for steps in (1, 2))
    frames.memory_bytes = one + two
    assert frames.takes(1, 512, 512) and frames.takes(2, 512, 512)
    frames.memory_bytes = one
    assert frames.takes(1, 512, 512) and not frames.takes(2, 512, 512)
    frames.memory_bytes = one - 1
    assert not frames.takes(1, 512, 512)
    assert IncrementalFrames(partial.body).takes(1, 2048, 2048)


def test_a_painter_with_little_memory_paints_the_same(whole):
    small = painter.load(WEIGHTS, device="cpu", memory_mb=10)
    for paper in dabs(np.zeros((256, 256, 4), np.uint8), 19, 2, 50):
        for steps in (1, 2):
            request = Request(paper, steps=steps)
            np.testing.assert_array_equal(small.render(request).picture, whole.render(request).picture)
            assert sum(kept.nbytes() for kept in small.incremental._kept.values()) <= 10_000_000


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
        (reached,) = whole.reached(Box(start, start + 24, 500, 524), body)
        top, bottom = (regions.CELL_PX * end for end in (reached.fine_out.y0, reached.fine_out.y1))
        assert top <= max(0, start - 60) and bottom >= min(1024, start + 84)
        assert bottom - top <= 24 + 2 * radius + 16 * regions.COARSE_STEP
        assert reached.work(body) < 0.15 * whole.work(body)
        shapes.add(tuple((box.height, box.width) for box in reached))
    assert len(shapes) <= 2  # one shape at the border, one elsewhere
