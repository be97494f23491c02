"""Tests of the real loop from stroke to picture: which requests are made and which results are shown."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import numpy as np
import pygame
import pytest
from loop_harness import RED, SlowModel, differs

from models.api import ModelError, Rect
from renderer.actions import Begin, Brush, Change, Clear, End, Extend, Fill, Undo
from renderer.ui.headless import Headless
from renderer.ui.window import Window

# The pen never waits for the model


def test_strokes_are_drawn_at_display_rate_while_the_model_is_busy(make_loop):
    model = SlowModel(0.4)
    one = make_loop(model).ready()
    model.serving.clear()
    one.stroke((20, 20), (60, 60))
    one.until(model.serving.is_set)
    ticks, shots = [], [one.window.screen()]
    one.do(Begin(RED, (30, 100, 0.8)))
    for x in range(40, 200, 10):
        one.do(Extend(((x, 100, 0.8),)))
        began = time.perf_counter()
        one.tick()
        ticks.append(time.perf_counter() - began)
        shots.append(one.window.screen())
    assert np.median(ticks) < 0.03
    shown = [differs(a, b).any() for a, b in pairwise(shots)]
    assert all(shown), "a tick with a stroke left the window as it was"


def test_the_loop_never_calls_a_model(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    one.stroke((20, 20), (60, 60))
    one.rest()
    assert model.threads
    assert threading.get_ident() not in model.threads


def test_wet_ink_lies_over_the_picture_until_its_frame_is_there(make_loop):
    gate = threading.Event()
    gate.set()
    model = SlowModel(gate=gate)
    one = make_loop(model).ready()
    gate.clear()
    one.do(Fill((200, 30, 30), 5, 5))
    one.tick(2)
    ink = one.app.scene.ink
    assert ink.wet.min() == 255
    gate.set()
    one.rest()
    one.until(lambda: not ink.wet.any(), 5)


# Requests hold a snapshot of the paper


def test_the_worker_never_sees_a_half_painted_paper(make_loop):
    model = SlowModel(0.03)
    one = make_loop(model).ready()
    one.do(Begin(RED, (10, 10, 0.8)))
    for i in range(60):
        one.do(Extend(((10 + 4 * i, 10 + i, 0.8),)))
        one.tick()
    one.do(End())
    one.rest()
    assert model.torn == 0
    assert not any(request.paper.flags.writeable for request in model.requests)


# The latest request wins, dirty areas accumulate


def test_the_newest_paper_is_asked_for_with_all_that_changed(make_loop):
    gate = threading.Event()
    gate.set()
    model = SlowModel(gate=gate)
    one = make_loop(model).ready()
    gate.clear()
    model.serving.clear()
    one.stroke((20, 20), (22, 22))
    one.until(model.serving.is_set)
    served = len(model.requests)
    boxes = []
    for x in (60, 120, 180):
        before = one.app.canvas.snapshot()
        one.stroke((x, 60), (x + 9, 90))
        one.tick()
        rows, columns = np.nonzero(differs(before, one.app.canvas.pixels))
        boxes.append(Rect(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    gate.set()
    one.until(lambda: len(model.requests) > served)
    request = model.requests[served]
    assert request.sequence == model.requests[served - 1].sequence + 3
    for box in boxes:
        assert request.dirty.intersect(box) == box
    assert request.dirty.width < 200
    assert (request.paper == one.app.canvas.pixels).all()


def test_a_failed_request_gives_its_dirt_back(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    model.failures = [ModelError("not this time")]
    one.stroke((20, 20), (40, 40))
    one.until(lambda: one.app.stats.errors == 1)
    lost = model.requests[-1].dirty
    served = len(model.requests)
    one.stroke((200, 200), (220, 220))
    one.until(lambda: len(model.requests) > served)
    both = model.requests[served].dirty
    assert both.intersect(lost) == lost
    assert both.x1 > 200


# Stale results are discarded


@pytest.mark.parametrize("change", [Change("seed", 7), Change("prompt", "fog"), Change("mood.sun", 0.9)])
def test_a_result_of_an_older_epoch_is_refused(make_loop, change):
    gate = threading.Event()
    gate.set()
    model = SlowModel(gate=gate)
    one = make_loop(model).ready()
    shown = one.shown
    gate.clear()
    model.serving.clear()
    one.stroke((20, 20), (40, 40))
    one.until(model.serving.is_set)
    one.do(change)
    one.tick(2)
    gate.set()
    one.until(lambda: one.app.stats.stale == 1)
    assert one.app.stats.stale == 1
    one.until(lambda: one.shown > shown)
    assert one.app.picture.request.epoch == one.app.requests.epoch
    one.rest()
    assert one.app.stats.stale == 1


def test_a_slider_on_the_move_shows_pictures_all_the_while(make_loop):
    """Every slider step is a new epoch; if all running results were discarded, none would be shown."""
    model = SlowModel(0.03)
    one = make_loop(model).ready()
    shown = set()
    for i in range(60):
        one.do(Change("mood.sun", i / 60))
        one.tick()
        shown.add(one.app.picture.request.mood[0])
    assert len(shown) > 12
    assert one.app.stats.stale <= 1
    one.rest()
    assert one.app.picture.request.mood[0] == round(59 / 60, 3)


def test_a_change_of_strength_or_steps_lets_running_results_pass(make_loop):
    gate = threading.Event()
    gate.set()
    model = SlowModel(gate=gate)
    one = make_loop(model).ready()
    gate.clear()
    model.serving.clear()
    one.stroke((20, 20), (40, 40))
    one.until(model.serving.is_set)
    one.do(Change("strength", 0.3))
    one.tick()
    gate.set()
    one.rest()
    assert one.app.stats.stale == 0
    assert one.app.picture.request.strength == 0.3


def test_a_frame_older_than_the_shown_one_is_refused(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    newest = one.app.picture
    old = model.requests[0]
    one.app.engine._results.append(SlowModel().render(old))
    one.tick()
    assert one.app.picture is newest
    assert one.app.stats.stale == 1


# Strokes keep every point


class Posted(Headless):
    """Headless window that reads pygame's event queue like the real window."""

    poll = Window.poll


def test_every_motion_event_of_a_tick_becomes_a_point_of_one_edit(make_loop):
    one = make_loop(SlowModel(), window=Posted())
    one.tick(2)
    pane = one.window.layout(one.app.scene).panes[0]
    x, y = pane.box.x0 + 20, pane.box.y0 + 20
    seen = []
    apply = one.app.apply
    one.app.apply = lambda event: (seen.append(event.action), apply(event))[1]
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=(x, y), button=1, touch=False))
    for i in range(200):
        where = {"pos": (x + i % 150, y + i), "rel": (1, 1), "buttons": (1, 0, 0), "touch": False}
        pygame.event.post(pygame.event.Event(pygame.MOUSEMOTION, **where))
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONUP, pos=(x + 49, y + 199), button=1, touch=False))
    one.tick()
    assert [type(action) for action in seen] == [Begin, Extend, End]
    assert len(seen[1].points) == 200
    ys = [point[1] for point in seen[1].points]
    assert ys == sorted(ys) and len(set(ys)) == 200


# Without a change nothing is computed


def test_nothing_is_computed_when_nothing_changed(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    calls = len(model.requests)
    one.tick(60)
    assert len(model.requests) == calls
    assert one.app.stats.idle_calls == 0


def test_edits_that_change_no_pixel_ask_for_nothing(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    calls = len(model.requests)
    one.do(Clear(), Undo(), Change("seed", one.app.scene.params.seed), Change("steps", 1))
    one.stroke((50, 50), (90, 90), brush=Brush(erase=True))
    one.stroke((-500, -500), (-400, -400))
    one.tick(30)
    assert len(model.requests) == calls


def test_the_first_pixels_of_a_pale_stroke_count(make_loop):
    model = SlowModel()
    one = make_loop(model)
    one.do(Fill((200, 200, 200), 5, 5))
    one.ready()
    calls = len(model.requests)
    one.do(Begin(Brush((201, 200, 200), size_px=2), (100, 100, 0.8)))
    one.until(lambda: len(model.requests) > calls, 5)
    assert model.requests[calls].dirty.intersect(Rect(100, 100, 101, 101)).width == 1


def test_a_call_in_idleness_is_counted(make_loop):
    """A request without any change is counted in idle_calls, so the figure can fail."""
    model = SlowModel()
    one = make_loop(model).ready()
    one.tick(2)
    one.app.engine.submit(one.app.picture.request)
    calls = len(model.requests)
    one.until(lambda: len(model.requests) > calls)
    one.tick(3)
    assert one.app.stats.idle_calls == 1
