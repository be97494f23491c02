"""Replay of stroke logs: the same bytes as live, at any rate, size and speed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from loop_harness import SlowModel
from video_helpers import circle, digest, frames_of, log, planned

from renderer.actions import Begin, Brush, Change, Fill
from renderer.canvas.canvas import Canvas
from renderer.offline.replay import ReplayRenderer
from renderer.stroke_log.demo import scale_action
from renderer.stroke_log.log import read
from renderer.stroke_log.playback import Playback


def test_replayed_frames_are_the_bytes_that_the_window_showed(make_loop, painter, tmp_path):
    """Every picture of a live painting, refined ones included, equals the replayed one of that moment."""
    one = make_loop(lambda: painter).ready()
    one.app.persistence.log_to(tmp_path / "log.jsonl")
    live: dict[tuple[int, int], str] = {}
    written = 0

    def params() -> None:
        picture = one.app.picture
        if written and picture.request.sequence == one.app.requests.sequence:
            live[written, picture.request.steps] = digest(picture.picture)

    for number, brush in enumerate((Brush((118, 169, 222), 60), Brush((44, 98, 138), 40, 0.4, 0.7))):
        for action in circle(number):
            one.do(Begin(brush, action.point) if isinstance(action, Begin) else action)
            one.app.step()
            written += 1
            one.until(lambda: one.app.picture.request.sequence == one.app.requests.sequence)
            params()
        one.do(Change("mood.sun", 0.2 + number / 2))
        one.app.step()
        written += 1
        one.rest()
        params()
    one.app.close()
    assert {steps for _, steps in live} >= {1, 4} and len(live) > 30
    session = read(tmp_path / "log.jsonl")
    for (count, steps), expected in live.items():
        playback = Playback(session)
        playback.advance(session.events[count - 1].time_s)
        assert playback._next == count
        assert digest(painter.render(playback.request(steps)).picture) == expected


def test_a_replay_shows_what_the_window_did_finer_where_the_pen_rests(tmp_path, painter):
    source = log(tmp_path / "log", [Fill((118, 169, 222), 5, 5), Fill((44, 98, 138), 5, 5)], gap_s=1.0)
    made = planned(source, tmp_path / "o", lambda name: lambda: painter, fps=10, hold=0.5)
    frames = frames_of(made)
    session = read(source)
    for frame, moment_s, steps in (
        (0, 0.0, 1),
        (1, 0.1, 1),
        (2, 0.2, 4),
        (9, 0.9, 4),
        (10, 1.0, 1),
        (14, 1.4, 4),
    ):
        playback = Playback(session)
        playback.advance(moment_s)
        assert digest(painter.render(playback.request(steps)).picture) == digest(frames[frame]), frame


# Rate, size, speed


def test_frames_show_the_moments_they_stand_for(tmp_path):
    colors = [(10 * i, 0, 0) for i in range(1, 21)]
    source = log(tmp_path / "log", [Fill(color, 5, 5) for color in colors], gap_s=0.1)
    made = planned(source, tmp_path / "o", fps=20, speed=2, hold=0.5, layout="picture")
    frames = frames_of(made)
    assert len(frames) == made.frames == 20 + 10
    assert [int(frame[5, 5, 0]) for frame in frames] == [10 * (i + 1) for i in range(20)] + [200] * 10


def test_strokes_are_drawn_anew_at_another_size(tmp_path, strokes):
    made = planned(strokes, tmp_path / "o", size=512, layout="paper")
    *_, last = ReplayRenderer(made).frames(0, made.frames)
    canvas = Canvas(512, 512)
    for event in read(strokes).events:
        if not isinstance(event.action, Change):
            canvas.apply(scale_action(event.action, 2, 2))
    playback = Playback(read(strokes), (512, 512))
    playback.advance(99)
    assert (playback.canvas.pixels == canvas.pixels).all()
    blurred = cv2.resize(frames_of(planned(strokes, tmp_path / "o", layout="paper"))[-1], (512, 512))
    assert (
        np.abs(np.diff(last.astype(int), axis=1)).max() > np.abs(np.diff(blurred.astype(int), axis=1)).max()
    )


def test_steps_and_model_can_be_other_ones(tmp_path, strokes):
    asked: list = []
    model = SlowModel()

    def load(name):
        asked.append(name)
        return model

    frames_of(planned(strokes, tmp_path / "o", load, steps=3, model="painter-teacher", fps=10))
    assert asked == ["painter-teacher"]
    assert {request.steps for request in model.requests} == {3}
    assert {request.seed for request in model.requests} == {0, 5}


def test_what_did_not_change_is_not_rendered_again(tmp_path):
    source = log(tmp_path / "log", [Fill((9, 9, 9), 5, 5), Fill((8, 8, 8), 5, 5)], gap_s=3.0)
    model = SlowModel()
    frames_of(planned(source, tmp_path / "o", lambda name: model, fps=30))
    assert len(model.requests) == 4


@pytest.mark.parametrize(
    ("layout", "shape"), [("side", (256, 512)), ("paper", (256, 256)), ("window", (720, 1280))]
)
def test_layouts(tmp_path, strokes, layout, shape):
    made = planned(strokes, tmp_path / "o", layout=layout, fps=2)
    frames = frames_of(made)
    assert {frame.shape for frame in frames} == {(*shape, 3)}
    assert digest(frames[0]) != digest(frames[-1])
