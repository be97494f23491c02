"""Tests of the real loop with the real painter."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from loop_harness import LoopHarness, differs

from models.api import Rect
from models.painter import prompt_mood
from renderer import app as app_module
from renderer.actions import Begin, Brush, Change, End, Event, Fill
from renderer.picture_params import PictureParams
from renderer.ui.controls.sliders import set_by_prompt
from renderer.ui.headless import Headless
from renderer.ui.window import Window


@pytest.fixture
def painting(make_loop, painter):
    """Real loop with the real painter at 512x512 and one stroke in each of three materials."""
    one = make_loop(lambda: painter, side=512)
    for i, color in enumerate(((118, 169, 222), (38, 72, 44), (44, 98, 138))):
        one.stroke((40, 100 + 150 * i), (470, 110 + 150 * i), brush=Brush(color, size_px=90))
    return one.ready()


def test_untouched_stays_untouched_to_the_bit(painting, painter):
    """Pixels out of a stroke's reach are bit-identical in the one-step frames before and after it."""
    reach = painter.network.receptive_radius_px()
    assert reach <= 128
    shown, show = [], painting.app.requests.show
    painting.app.requests.show = lambda frame, now_s: (shown.append(frame), show(frame, now_s))
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


def test_blank_paper_is_not_white_paint(make_loop, painter):
    one = make_loop(lambda: painter).ready()
    blank = one.app.picture.picture
    one.do(Fill((255, 255, 255), 5, 5))
    one.tick()
    one.rest()
    white = one.app.picture.picture
    assert np.abs(blank.astype(int) - white.astype(int)).mean() > 2


def test_strength_is_continuous(make_loop, painter):
    one = make_loop(lambda: painter, params=PictureParams(steps=4))
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


def test_a_crop_of_time_paints_the_same_again(make_loop, painter, tmp_path):
    """Replaying the log on another paper gives a bit-identical paper and picture."""
    from renderer.stroke_log.log import read

    one = make_loop(lambda: painter)
    path = tmp_path / "log.jsonl"
    one.app.persistence.log_to(path)
    one.ready()
    one.stroke((20.123, 30.456), (100.98, 77.7), (200.2, 40.44), brush=Brush((38, 72, 44), 33.33, 0.777, 0.9))
    one.do(Change("seed", 5), Change("mood.haze", 0.7))
    one.tick()
    one.rest()
    two = make_loop(lambda: painter)
    two.ready()
    two.pending = [Event(event.action, time.perf_counter()) for event in read(path).events]
    two.tick()
    two.rest()
    assert (one.app.canvas.pixels == two.app.canvas.pixels).all()
    assert (one.app.picture.picture == two.app.picture.picture).all()


def test_sliders_show_what_the_words_of_the_prompt_do(make_loop, painter):
    one = make_loop(lambda: painter, params=PictureParams(prompt="foggy noon with dragons")).ready()
    one.app.scene.read_prompt = prompt_mood.read
    prompt_value = set_by_prompt(one.app.scene)
    assert prompt_value == {"mood.haze": 1.0, "mood.sun": 1.0, "mood.warmth": 0.3}
    before = one.window.screen()
    one.window.panel.stale, one.window.panel.set_by_prompt = True, prompt_value
    one.tick()
    haze = one.window.panel.sliders["mood.haze"].rect
    row = slice(haze.top, haze.bottom), slice(haze.left, one.window.layout(one.app.scene).panel.x1)
    assert differs(before[row], one.window.screen()[row]).any()


def test_only_numpy_crosses_threads(painting):
    frame = painting.app.picture
    assert type(frame.picture) is np.ndarray and frame.picture.dtype == np.uint8
    assert type(frame.request.paper) is np.ndarray
    assert all(type(ms) is float for ms in frame.stage_ms.values())
    assert set(frame.stage_ms) == {"upload", "start", "denoise", "decode", "download"}


def test_a_desk_is_the_real_loop():
    assert issubclass(Headless, Window)
    assert LoopHarness.tick.__globals__["App"] is app_module.App
