"""Tests of the demo: the loop paints from a log until the user starts to paint."""

from __future__ import annotations

from loop_harness import RED, SlowModel

from renderer.actions import Begin, End, Event, Fill
from renderer.picture_params import PictureParams
from renderer.stroke_log.log import LogHeader, LogWriter, read


def played(tmp_path, *actions, settings=None):
    writer = LogWriter(tmp_path / "log", LogHeader(256, 256, settings=settings or {}))
    for number, action in enumerate(actions):
        writer.write(Event(action, number * 0.05))
    writer.close()
    return read(tmp_path / "log")


def test_a_demo_paints_by_itself_with_the_settings_of_its_log(make_loop, tmp_path):
    log = played(tmp_path, Fill((9, 9, 9), 5, 5), settings={"prompt": "fog", "seed": 3, "strength": 0.2})
    one = make_loop(SlowModel(), params=PictureParams(seed=9), demo=log)
    assert (one.app.scene.params.prompt, one.app.scene.params.seed, one.app.scene.params.strength) == (
        "fog",
        9,
        0.2,
    )
    one.until(lambda: one.app.canvas.pixels[5, 5, 3] == 255)


def test_any_input_takes_the_brush_from_a_demo(make_loop, tmp_path):
    one = make_loop(SlowModel(), demo=played(tmp_path, *[Fill((i, i, i), 5, 5) for i in range(1, 200)]))
    one.until(lambda: one.app.canvas.pixels[5, 5, 0] > 3)
    one.do(Fill((250, 0, 0), 5, 5))
    one.tick(20)
    assert one.app.canvas.pixels[5, 5].tolist() == [250, 0, 0, 255]
    assert not one.app.scene.demo


def test_a_demo_begins_again_on_a_clear_paper(make_loop, tmp_path, monkeypatch):
    from renderer.stroke_log import demo

    monkeypatch.setattr(demo, "PAUSE_S", 0.1)
    one = make_loop(SlowModel(), demo=played(tmp_path, Begin(RED, (9, 9, 0.8)), End()))
    one.until(lambda: one.app.canvas.pixels[9, 9, 3] == 255)
    one.until(lambda: one.app.canvas.blank)
    one.until(lambda: one.app.canvas.pixels[9, 9, 3] == 255)
