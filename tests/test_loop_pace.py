"""Tests of the timing of requests: latency, steady frame rate, and refinement while the pen is idle."""

from __future__ import annotations

import time

import numpy as np
from loop_harness import RED, SlowModel

from renderer.actions import Begin, End, Event, Extend, Fill
from renderer.picture_params import PictureParams

# Latency is measured from the input event


def test_latency_runs_from_the_event_to_the_flip_that_shows_its_effect(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    model.seconds = 0.15
    del one.app.stats.latency_ms[:]
    event_s = time.perf_counter() - 0.25  # the event waited in the queue for a quarter of a second
    one.do(Fill((1, 2, 3), 9, 9), at_s=event_s)
    shown = one.shown
    one.until(lambda: one.shown > shown)
    passed_ms = (time.perf_counter() - event_s) * 1e3
    (latency,) = one.app.stats.latency_ms
    assert 400 <= latency <= passed_ms + 1


def test_latency_is_at_most_two_model_frames_and_two_display_intervals(make_loop):
    model = SlowModel(0.1)
    one = make_loop(model).ready()
    del one.app.stats.latency_ms[:]
    gaps, last_s = [], time.perf_counter()
    one.do(Begin(RED, (20, 20, 0.8)))
    for i in range(150):
        one.do(Extend(((20 + i, 20 + i % 30, 0.8),)))
        one.tick()
        now_s = time.perf_counter()
        gaps.append(now_s - last_s)
        last_s = now_s
    assert len(one.app.stats.latency_ms) > 60
    served = [frame_ms / 1e3 for frame_ms in one.app.stats.frame_ms]
    allowed_ms = (2 * max(served) + 2 * np.percentile(gaps, 95)) * 1e3
    assert np.percentile(one.app.stats.latency_ms, 95) <= allowed_ms


# Steady frame rate


class HeavyModel(SlowModel):
    """Model that takes 25 ms per step at 512x512, proportionally less for fewer pixels."""

    def render(self, request, **_):
        height, width = request.paper.shape[:2]
        self.seconds = 0.025 * request.steps * height * width / 512**2
        return super().render(request)


def test_a_target_is_held_with_fewer_steps_and_then_a_smaller_picture(make_loop):
    model = HeavyModel()
    one = make_loop(model, side=512, params=PictureParams(steps=2, target_fps=60)).ready()
    served = len(model.requests)
    one.do(Begin(RED, (20, 20, 0.8)))
    for i in range(60):
        one.do(Extend(((20 + 5 * i, 20 + i % 30, 0.8),)))
        one.tick()
    choices = [(request.steps, request.paper.shape[1]) for request in model.requests[served:]]
    assert choices[-1] == (1, 384)
    assert one.app.scene.picture.shape == (512, 512, 3)
    one.do(End())
    one.rest()
    assert one.app.picture.picture.shape == (512, 512, 3)


# Refine when idle


def test_a_resting_picture_is_refined_with_two_then_four_steps(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    served = len(model.requests)
    one.stroke((20, 20), (60, 60))
    one.rest()
    one.tick(20)
    assert [request.steps for request in model.requests[served:]] == [1, 2, 4]


def test_a_moving_pen_is_never_answered_with_a_refinement(make_loop):
    model = SlowModel(0.01)
    one = make_loop(model).ready()
    served = len(model.requests)
    one.do(Begin(RED, (10, 10, 0.8)))
    for i in range(40):
        one.do(Extend(((10 + 4 * i, 40, 0.8),)))
        one.tick()
    assert {request.steps for request in model.requests[served:]} == {1}


def test_a_new_stroke_takes_the_place_of_a_waiting_refinement(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    one.stroke((20, 20), (60, 60))
    one.until(lambda: model.requests[-1].steps == 2)
    served = len(model.requests)
    one.stroke((90, 20), (99, 60))
    one.until(lambda: len(model.requests) > served)
    assert model.requests[served].steps == 1


def test_latency_is_finer_than_the_ticks_of_a_coarse_clock(make_loop, monkeypatch):
    """time.monotonic has 15.6 ms steps on Windows before Python 3.13; the loop uses another clock."""
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() // 0.015625 * 0.015625)
    one = make_loop(SlowModel()).ready()
    del one.app.stats.latency_ms[:], one.app.stats.tick_ms[:]
    poll = one.window.poll
    one.window.poll = lambda now_s, scene: [Event(event.action, now_s) for event in poll(now_s, scene)]
    for level in range(8):
        one.do(Fill((level, 2, 3), 9, 9))
        shown = one.shown
        one.until(lambda shown=shown: one.shown > shown)
    off_ms = [min(ms % 15.625, -ms % 15.625) for ms in (*one.app.stats.latency_ms, *one.app.stats.tick_ms)]
    assert len(off_ms) > 16 and max(off_ms) > 0.5
