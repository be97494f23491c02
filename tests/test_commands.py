"""Wishes that change no paint: what is saved when, and the way in and out of the picture alone."""

from __future__ import annotations

import cv2
import pytest
from loop_harness import SlowModel

from models.api import ModelError
from renderer import commands
from renderer.actions import Command, InputError
from renderer.ui.overlay import elided


def no_model():
    raise ModelError("no model today")


def test_the_paper_can_be_kept_while_there_is_no_picture(make_loop, tmp_path):
    one = make_loop(no_model)
    one.app.save_folder = tmp_path
    with pytest.raises(InputError, match="nothing to save"):
        commands.save(one.app)
    one.stroke((20, 60), (230, 70))
    one.tick(2)
    commands.save(one.app)
    one.until(lambda: any(line.startswith("saved ") for line in one.messages))
    (kept,) = tmp_path.glob("*.png")
    assert kept.name.endswith("-paper.png")
    assert (cv2.imread(str(kept), cv2.IMREAD_UNCHANGED)[..., 3] == one.app.canvas.pixels[..., 3]).all()


def test_escape_fills_no_screen(make_loop, monkeypatch):
    one = make_loop(SlowModel())
    filled = []
    monkeypatch.setattr(one.app.window, "full_screen", lambda: filled.append(one.app.scene.full))

    def after(*names: str) -> str:
        one.do(*(Command(name) for name in names))
        one.tick(2)
        return one.app.scene.view

    assert after("view", "view") == "picture"
    assert after("back") == "side" and not filled
    assert after("full") == "picture" and filled == [True]
    assert after("back") == "side" and filled == [True, False]


def test_a_long_message_keeps_its_beginning_and_its_end():
    words = "/a/very/long/path/to/some/picture.png cannot be written: No such file or directory"
    shown = elided(words, len, 40)
    assert len(shown) <= 40 and shown.startswith("/a/very") and shown.endswith("directory") and "..." in shown
    assert elided("short", len, 40) == "short"
