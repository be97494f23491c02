"""The life of a stroke: each rule of the design against the real loop, without a display."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import numpy as np
import pygame
import pytest
from easel import RED, Desk, SlowModel

from models.api import ModelError, Rect
from renderer import app as app_module
from renderer import messages
from renderer.actions import Begin, Brush, Change, Clear, Command, End, Event, Extend, Fill, Paste, Undo
from renderer.settings import Look
from renderer.window import Headless, Window


def differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a != b).any(-1)


# The pen never waits


def test_strokes_are_drawn_at_display_rate_while_the_model_is_busy(desk):
    model = SlowModel(0.4)
    one = desk(model).ready()
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


def test_the_loop_never_calls_a_model(desk):
    model = SlowModel()
    one = desk(model).ready()
    one.stroke((20, 20), (60, 60))
    one.rest()
    assert model.threads
    assert threading.get_ident() not in model.threads


def test_wet_ink_lies_over_the_picture_until_its_frame_is_there(desk):
    gate = threading.Event()
    gate.set()
    model = SlowModel(gate=gate)
    one = desk(model).ready()
    gate.clear()
    one.do(Fill((200, 30, 30), 5, 5))
    one.tick(2)
    ink = one.app.scene.ink
    assert ink.wet.min() == 255
    gate.set()
    one.rest()
    one.until(lambda: not ink.wet.any(), 5)


# Snapshot on submit


def test_the_worker_never_sees_a_half_painted_paper(desk):
    model = SlowModel(0.03)
    one = desk(model).ready()
    one.do(Begin(RED, (10, 10, 0.8)))
    for i in range(60):
        one.do(Extend(((10 + 4 * i, 10 + i, 0.8),)))
        one.tick()
    one.do(End())
    one.rest()
    assert model.torn == 0
    assert not any(request.paper.flags.writeable for request in model.requests)


# Latest wins, dirt accumulates


def test_the_newest_paper_is_asked_for_with_all_that_changed(desk):
    gate = threading.Event()
    gate.set()
    model = SlowModel(gate=gate)
    one = desk(model).ready()
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


def test_a_failed_request_gives_its_dirt_back(desk):
    model = SlowModel()
    one = desk(model).ready()
    model.failures = [ModelError("not this time")]
    one.stroke((20, 20), (40, 40))
    one.until(lambda: one.app.meter.errors == 1)
    lost = model.requests[-1].dirty
    served = len(model.requests)
    one.stroke((200, 200), (220, 220))
    one.until(lambda: len(model.requests) > served)
    both = model.requests[served].dirty
    assert both.intersect(lost) == lost
    assert both.x1 > 200


# Stale results are refused


@pytest.mark.parametrize("change", [Change("seed", 7), Change("prompt", "fog"), Change("mood.sun", 0.9)])
def test_a_result_of_an_older_epoch_is_refused(desk, change):
    gate = threading.Event()
    gate.set()
    model = SlowModel(gate=gate)
    one = desk(model).ready()
    shown = one.shown
    gate.clear()
    model.serving.clear()
    one.stroke((20, 20), (40, 40))
    one.until(model.serving.is_set)
    one.do(change)
    one.tick(2)
    gate.set()
    one.until(lambda: one.app.meter.stale == 1)
    assert one.app.meter.stale == 1
    one.until(lambda: one.shown > shown)
    assert one.app.picture.request.epoch == one.app._epoch
    one.rest()
    assert one.app.meter.stale == 1


def test_a_slider_on_the_move_shows_pictures_all_the_while(desk):
    """Every step of it is a new epoch; were all that is under way refused, none would ever be shown."""
    model = SlowModel(0.03)
    one = desk(model).ready()
    shown = set()
    for i in range(60):
        one.do(Change("mood.sun", i / 60))
        one.tick()
        shown.add(one.app.picture.request.mood[0])
    assert len(shown) > 12
    assert one.app.meter.stale <= 1
    one.rest()
    assert one.app.picture.request.mood[0] == round(59 / 60, 3)


def test_a_change_of_strength_or_steps_lets_running_results_pass(desk):
    gate = threading.Event()
    gate.set()
    model = SlowModel(gate=gate)
    one = desk(model).ready()
    gate.clear()
    model.serving.clear()
    one.stroke((20, 20), (40, 40))
    one.until(model.serving.is_set)
    one.do(Change("strength", 0.3))
    one.tick()
    gate.set()
    one.rest()
    assert one.app.meter.stale == 0
    assert one.app.picture.request.strength == 0.3


def test_a_frame_older_than_the_shown_one_is_refused(desk):
    model = SlowModel()
    one = desk(model).ready()
    newest = one.app.picture
    old = model.requests[0]
    one.app.engine._results.append(SlowModel().render(old))
    one.tick()
    assert one.app.picture is newest
    assert one.app.meter.stale == 1


# Strokes keep every point


class Posted(Headless):
    """Headless, but fed from pygame's own queue as the real window is."""

    poll = Window.poll


def test_every_motion_event_of_a_tick_becomes_a_point_of_one_edit(desk):
    one = desk(SlowModel(), window=Posted())
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


# Nothing changed, nothing computed


def test_nothing_is_computed_when_nothing_changed(desk):
    model = SlowModel()
    one = desk(model).ready()
    calls = len(model.requests)
    one.tick(60)
    assert len(model.requests) == calls
    assert one.app.meter.idle_calls == 0


def test_edits_that_change_no_pixel_ask_for_nothing(desk):
    model = SlowModel()
    one = desk(model).ready()
    calls = len(model.requests)
    one.do(Clear(), Undo(), Change("seed", one.app.look.seed), Change("steps", 1))
    one.stroke((50, 50), (90, 90), brush=Brush(erase=True))
    one.stroke((-500, -500), (-400, -400))
    one.tick(30)
    assert len(model.requests) == calls


def test_the_first_pixels_of_a_pale_stroke_count(desk):
    model = SlowModel()
    one = desk(model)
    one.do(Fill((200, 200, 200), 5, 5))
    one.ready()
    calls = len(model.requests)
    one.do(Begin(Brush((201, 200, 200), size_px=2), (100, 100, 0.8)))
    one.until(lambda: len(model.requests) > calls, 5)
    assert model.requests[calls].dirty.intersect(Rect(100, 100, 101, 101)).width == 1


def test_a_call_in_idleness_is_counted(desk):
    """The figure can fail: a request that nobody's change asked for shows in it."""
    model = SlowModel()
    one = desk(model).ready()
    one.tick(2)
    one.app.engine.submit(one.app.picture.request)
    calls = len(model.requests)
    one.until(lambda: len(model.requests) > calls)
    one.tick(3)
    assert one.app.meter.idle_calls == 1


# Latency is measured from the input event


def test_latency_runs_from_the_event_to_the_flip_that_shows_its_effect(desk):
    model = SlowModel()
    one = desk(model).ready()
    model.seconds = 0.15
    del one.app.meter.latency_ms[:]
    event_s = time.monotonic() - 0.25  # the event lay in the queue for a quarter of a second
    one.do(Fill((1, 2, 3), 9, 9), at_s=event_s)
    shown = one.shown
    one.until(lambda: one.shown > shown)
    passed_ms = (time.monotonic() - event_s) * 1e3
    (latency,) = one.app.meter.latency_ms
    assert 400 <= latency <= passed_ms + 1


def test_latency_is_at_most_two_model_frames_and_two_display_intervals(desk):
    model = SlowModel(0.1)
    one = desk(model).ready()
    del one.app.meter.latency_ms[:]
    gaps, last_s = [], time.monotonic()
    one.do(Begin(RED, (20, 20, 0.8)))
    for i in range(150):
        one.do(Extend(((20 + i, 20 + i % 30, 0.8),)))
        one.tick()
        now_s = time.monotonic()
        gaps.append(now_s - last_s)
        last_s = now_s
    assert len(one.app.meter.latency_ms) > 60
    served = [frame_ms / 1e3 for frame_ms in one.app.meter.frame_ms]
    allowed_ms = (2 * max(served) + 2 * np.percentile(gaps, 95)) * 1e3
    assert np.percentile(one.app.meter.latency_ms, 95) <= allowed_ms


# Steady frame rate


class HeavyModel(SlowModel):
    """25 ms a step at 512x512, less in proportion for fewer pixels."""

    def render(self, request, **_):
        height, width = request.paper.shape[:2]
        self.seconds = 0.025 * request.steps * height * width / 512**2
        return super().render(request)


def test_a_target_is_held_with_fewer_steps_and_then_a_smaller_picture(desk):
    model = HeavyModel()
    one = desk(model, side=512, look=Look(steps=2, target_fps=60)).ready()
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


def test_a_resting_picture_is_refined_with_two_then_four_steps(desk):
    model = SlowModel()
    one = desk(model).ready()
    served = len(model.requests)
    one.stroke((20, 20), (60, 60))
    one.rest()
    one.tick(20)
    assert [request.steps for request in model.requests[served:]] == [1, 2, 4]


def test_a_moving_pen_is_never_answered_with_a_refinement(desk):
    model = SlowModel(0.01)
    one = desk(model).ready()
    served = len(model.requests)
    one.do(Begin(RED, (10, 10, 0.8)))
    for i in range(40):
        one.do(Extend(((10 + 4 * i, 40, 0.8),)))
        one.tick()
    assert {request.steps for request in model.requests[served:]} == {1}


def test_a_new_stroke_takes_the_place_of_a_waiting_refinement(desk):
    model = SlowModel()
    one = desk(model).ready()
    one.stroke((20, 20), (60, 60))
    one.until(lambda: model.requests[-1].steps == 2)
    served = len(model.requests)
    one.stroke((90, 20), (99, 60))
    one.until(lambda: len(model.requests) > served)
    assert model.requests[served].steps == 1


# Errors


def test_a_load_error_is_shown_and_the_paper_stays(desk):
    def load():
        raise ModelError("no weights at nowhere")

    one = desk(load)
    one.stroke((20, 20), (60, 60))
    one.until(lambda: one.app.engine.state == "failed")
    one.stroke((120, 20), (160, 60))
    one.tick(2)
    assert one.app.scene.status == "no weights at nowhere"
    assert one.app.canvas.pixels[40, 40, 3] and one.app.canvas.pixels[40, 140, 3]
    assert one.app.messages.errors == 0


def test_the_paper_can_be_painted_while_the_model_loads(desk):
    gate, model = threading.Event(), SlowModel()

    def load():
        gate.wait(10)
        return model

    one = desk(load)
    one.stroke((20, 20), (60, 60))
    one.tick(5)
    assert one.app.canvas.pixels[40, 40, 3] and one.app.scene.status.startswith("loading")
    assert one.app.picture is None and not model.requests
    gate.set()
    one.ready()
    assert (model.requests[0].paper == one.app.canvas.pixels).all()


def test_a_failure_keeps_the_last_good_picture_and_says_so(desk):
    model = SlowModel()
    one = desk(model).ready()
    good = one.app.picture
    model.failures = [ModelError("the picture is not a number")]
    one.stroke((20, 20), (60, 60))
    one.until(lambda: one.app.meter.errors == 1)
    one.tick(2)
    assert one.app.picture is good
    assert "the picture is not a number" in one.app.scene.messages
    one.stroke((20, 90), (60, 90))
    one.rest()


def test_errors_of_the_loop_print_one_traceback_and_then_count(desk, capsys, monkeypatch):
    one = desk(SlowModel()).ready()
    monkeypatch.setattr(messages, "LOG_EVERY_ERRORS", 10)
    good = one.app.submit

    def bad(now_s):
        raise RuntimeError("a fault in the loop")

    one.app.submit = bad
    began = time.perf_counter()
    for _ in range(21):
        one.app.step()
    assert time.perf_counter() - began > 20 / 70, "an error every tick makes the loop spin"
    printed = capsys.readouterr().err
    assert printed.count("Traceback") == 1
    assert 1 <= printed.count("errors in the loop") <= 3
    assert one.app.messages.errors == 21
    one.app.submit = good
    one.app.step()
    assert any("a fault in the loop" in line for line in one.app.scene.messages)


def test_a_bad_event_takes_no_other_with_it(desk):
    one = desk(SlowModel()).ready()
    one.do(Paste(b"no image"), Fill((9, 9, 9), 5, 5), Change("colour", 3), Command("load", "/nowhere"))
    one.app.step()
    assert one.app.canvas.pixels[5, 5].tolist() == [9, 9, 9, 255]
    assert len(one.app.scene.messages) == 3
    assert one.app.messages.errors == 0


def test_an_unknown_model_is_told_and_the_present_one_stays(desk):
    model = SlowModel()
    one = desk(model).ready()

    def load(name):
        raise ModelError(f"no model is named {name!r}")

    one.app._load = load
    one.do(Change("model", "monet"))
    one.app.step()
    assert one.app.look.model == "painter"
    assert one.app.messages.errors == 0
    assert any("monet" in line for line in one.app.scene.messages)


# Shutdown


def test_closing_ends_the_worker_and_can_be_done_twice(desk, tmp_path):
    model = SlowModel(0.05)
    one = desk(model)
    one.app.record_session(tmp_path / "log.jsonl")
    one.ready()
    one.stroke((20, 20), (60, 60))
    one.tick()
    one.app.close()
    one.app.close()
    assert model.closed == 1
    assert not any(thread.name == "engine" for thread in threading.enumerate())
    assert not pygame.display.get_init()
    assert (tmp_path / "log.jsonl").read_text().endswith("\n")


def test_quit_ends_the_run(desk):
    one = desk(SlowModel()).ready()
    one.do(Command("quit"))
    one.tick()
    assert not one.app.running


# With the real painter


@pytest.fixture
def painting(desk, painter):
    """The real loop with the real painter at 512x512, one stroke of each of three materials on it."""
    one = desk(lambda: painter, side=512)
    for i, color in enumerate(((118, 169, 222), (38, 72, 44), (44, 98, 138))):
        one.stroke((40, 100 + 150 * i), (470, 110 + 150 * i), brush=Brush(color, size_px=90))
    return one.ready()


def test_untouched_stays_untouched_to_the_bit(painting, painter):
    """Pixels out of a stroke's reach: the same in the one-step frames before and after it."""
    reach = painter.network.receptive_radius_px()
    assert reach <= 128
    shown, show = [], painting.app.show
    painting.app.show = lambda frame, now_s: (shown.append(frame), show(frame, now_s))
    painting.do(Change("strength", 0.59))
    painting.rest()
    first = painting.app.canvas.snapshot()
    painting.do(Begin(Brush((255, 226, 130), size_px=30), (20, 20, 0.8)), End())
    painting.rest()
    before, after = (frame.picture for frame in shown if frame.request.steps == 1)
    rows, columns = np.nonzero(differs(first, painting.app.canvas.pixels))
    box = Rect(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1).grow(reach)
    changed = differs(before, after)
    assert changed[:40, :40].any()
    changed[box.intersect(Rect(0, 0, 512, 512)).slices] = False
    assert box.x1 < 512 and not changed.any()


def test_blank_paper_is_not_white_paint(desk, painter):
    one = desk(lambda: painter).ready()
    blank = one.app.picture.picture
    one.do(Fill((255, 255, 255), 5, 5))
    one.tick()
    one.rest()
    white = one.app.picture.picture
    assert np.abs(blank.astype(int) - white.astype(int)).mean() > 2


def test_strength_is_continuous(desk, painter):
    one = desk(lambda: painter, look=Look(steps=4))
    one.do(Fill((112, 146, 62), 5, 5))
    one.ready()
    pictures = []
    for strength in (0.60, 0.61, 0.62, 0.63):
        one.do(Change("strength", strength))
        one.tick()
        one.until(lambda s=strength: one.app.picture.request.strength == s)
        pictures.append(one.app.picture.picture.astype(float))
    steps = [np.abs(a - b).mean() for a, b in pairwise(pictures)]
    assert min(steps) > 0
    assert max(steps) < 4 * min(steps)


def test_a_crop_of_time_paints_the_same_again(desk, painter, tmp_path):
    """What the log holds, replayed on another paper, is the same paper and the same picture to the bit."""
    from renderer.session import read

    one = desk(lambda: painter)
    path = tmp_path / "log.jsonl"
    one.app.record_session(path)
    one.ready()
    one.stroke((20.123, 30.456), (100.98, 77.7), (200.2, 40.44), brush=Brush((38, 72, 44), 33.33, 0.777, 0.9))
    one.do(Change("seed", 5), Change("mood.haze", 0.7))
    one.tick()
    one.rest()
    two = desk(lambda: painter)
    two.ready()
    two.hand = [Event(event.action, time.monotonic()) for event in read(path).events]
    two.tick()
    two.rest()
    assert (one.app.canvas.pixels == two.app.canvas.pixels).all()
    assert (one.app.picture.picture == two.app.picture.picture).all()


def test_only_numpy_crosses_threads(painting):
    frame = painting.app.picture
    assert type(frame.picture) is np.ndarray and frame.picture.dtype == np.uint8
    assert type(frame.request.paper) is np.ndarray
    assert all(type(ms) is float for ms in frame.stage_ms.values())
    assert set(frame.stage_ms) == {"upload", "start", "denoise", "decode", "download"}


def test_a_desk_is_the_real_loop():
    assert issubclass(Headless, Window)
    assert Desk.tick.__globals__["App"] is app_module.App


# A demo


def played(tmp_path, *actions, settings=None):
    from renderer.session import Header, SessionWriter, read

    writer = SessionWriter(tmp_path / "log", Header(256, 256, settings=settings or {}))
    for number, action in enumerate(actions):
        writer.write(Event(action, number * 0.05))
    writer.close()
    return read(tmp_path / "log")


def test_a_demo_paints_by_itself_with_the_settings_of_its_log(desk, tmp_path):
    one = desk(SlowModel(), look=Look(seed=9))
    session = played(tmp_path, Fill((9, 9, 9), 5, 5), settings={"prompt": "fog", "seed": 3, "strength": 0.2})
    one.app.play(session)
    assert (one.app.look.prompt, one.app.look.seed, one.app.look.strength) == ("fog", 9, 0.2)
    one.until(lambda: one.app.canvas.pixels[5, 5, 3] == 255)


def test_any_input_takes_the_brush_from_a_demo(desk, tmp_path):
    one = desk(SlowModel())
    one.app.play(played(tmp_path, *[Fill((i, i, i), 5, 5) for i in range(1, 200)]))
    one.until(lambda: one.app.canvas.pixels[5, 5, 0] > 3)
    one.do(Fill((250, 0, 0), 5, 5))
    one.tick(20)
    assert one.app.canvas.pixels[5, 5].tolist() == [250, 0, 0, 255]
    assert not one.app.scene.demo


def test_a_demo_begins_again_on_a_clear_paper(desk, tmp_path, monkeypatch):
    from renderer import demo

    monkeypatch.setattr(demo, "PAUSE_S", 0.1)
    one = desk(SlowModel())
    one.app.play(played(tmp_path, Begin(RED, (9, 9, 0.8)), End()))
    one.until(lambda: one.app.canvas.pixels[9, 9, 3] == 255)
    one.until(lambda: one.app.canvas.blank)
    one.until(lambda: one.app.canvas.pixels[9, 9, 3] == 255)
