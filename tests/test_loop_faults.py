"""Tests of the loop on failures and at shutdown."""

from __future__ import annotations

import threading
import time

import pygame
from loop_harness import SlowModel

from models.api import ModelError
from renderer.actions import Change, Command, Fill, Paste
from renderer.runtime import messages


def test_a_load_error_is_shown_and_the_paper_stays(make_loop):
    def load():
        raise ModelError("no weights at nowhere")

    one = make_loop(load)
    one.stroke((20, 20), (60, 60))
    one.until(lambda: one.app.engine.state == "failed")
    one.stroke((120, 20), (160, 60))
    one.tick(2)
    assert one.app.scene.status.text == "no weights at nowhere"
    assert one.app.canvas.pixels[40, 40, 3] and one.app.canvas.pixels[40, 140, 3]
    assert one.app.messages.errors == 0


def test_the_paper_can_be_painted_while_the_model_loads(make_loop):
    gate, model = threading.Event(), SlowModel()

    def load():
        gate.wait(10)
        return model

    one = make_loop(load)
    one.stroke((20, 20), (60, 60))
    one.tick(5)
    assert one.app.canvas.pixels[40, 40, 3] and one.app.scene.status.text.startswith("loading")
    assert one.app.picture is None and not model.requests
    gate.set()
    one.ready()
    assert (model.requests[0].paper == one.app.canvas.pixels).all()


def test_a_failure_keeps_the_last_good_picture_and_says_so(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()
    good = one.app.picture
    model.failures = [ModelError("the picture is not a number")]
    one.stroke((20, 20), (60, 60))
    one.until(lambda: one.app.stats.errors == 1)
    one.tick(2)
    assert one.app.picture is good
    assert "the picture is not a number" in one.messages
    one.stroke((20, 90), (60, 90))
    one.rest()


def test_errors_of_the_loop_print_one_traceback_and_then_count(make_loop, capsys, monkeypatch):
    one = make_loop(SlowModel()).ready()
    monkeypatch.setattr(messages, "LOG_EVERY_ERRORS", 10)
    good = one.app.requests.submit

    def bad(now_s):
        raise RuntimeError("a fault in the loop")

    one.app.requests.submit = bad
    began = time.perf_counter()
    for _ in range(21):
        one.app.step()
    assert time.perf_counter() - began > 20 / 70, "an error every tick makes the loop spin"
    printed = capsys.readouterr().err
    assert printed.count("Traceback") == 1
    assert 1 <= printed.count("errors in the loop") <= 3
    assert one.app.messages.errors == 21
    one.app.requests.submit = good
    one.app.step()
    assert any("a fault in the loop" in line for line in one.messages)


def test_a_bad_event_takes_no_other_with_it(make_loop):
    one = make_loop(SlowModel()).ready()
    one.do(Paste(b"no image"), Fill((9, 9, 9), 5, 5), Change("colour", 3), Command("load", "/nowhere"))
    one.app.step()
    assert one.app.canvas.pixels[5, 5].tolist() == [9, 9, 9, 255]
    one.until(lambda: len(one.messages) == 3)
    assert one.app.messages.errors == 0


def test_an_unknown_model_is_told_and_the_present_one_stays(make_loop):
    model = SlowModel()
    one = make_loop(model).ready()

    def load(name, told):
        raise ModelError(f"no model is named {name!r}")

    one.app.switcher.load_model = load
    one.do(Change("model", "monet"))
    one.app.step()
    assert one.app.scene.params.model == "painter"
    assert one.app.messages.errors == 0
    assert any("monet" in line for line in one.messages)


# Shutdown


def test_closing_ends_the_worker_and_can_be_done_twice(make_loop, tmp_path):
    model = SlowModel(0.05)
    one = make_loop(model)
    one.app.persistence.log_to(tmp_path / "log.jsonl")
    one.ready()
    one.stroke((20, 20), (60, 60))
    one.tick()
    one.app.close()
    one.app.close()
    assert model.closed == 1
    assert not any(thread.name == "engine" for thread in threading.enumerate())
    assert not pygame.display.get_init()
    assert (tmp_path / "log.jsonl").read_text().endswith("\n")


def test_quit_ends_the_run(make_loop):
    one = make_loop(SlowModel()).ready()
    one.do(Command("quit"))
    one.tick()
    assert not one.app.running
