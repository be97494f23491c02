"""Tests of commands that do not edit paint: saving, loading, messages and the picture-only view."""

from __future__ import annotations

import time

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_harness import SlowModel, stroke

from models.api import ModelError
from renderer import commands
from renderer.actions import Brush, Command, InputError, LayerEdit
from renderer.canvas.canvas import Canvas
from renderer.canvas.open_raster import document_bytes, read_document
from renderer.files.png import write_png
from renderer.runtime.messages import SHOWN_S, Level, Messages
from renderer.ui.overlay import elided, wrapped


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


@given(st.text(st.characters(max_codepoint=0x2FF), min_size=1, max_size=200), st.integers(1, 60))
def test_a_message_is_wrapped_whole(words, most):
    lines = wrapped(words, len, most)
    assert all(len(line) <= most for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(words.split())


def test_an_error_stays_until_it_is_seen():
    messages, now_s = Messages(), time.perf_counter()
    messages.add("saved")
    messages.add("cannot be written", Level.ERROR)
    messages.acknowledge(now_s + 0.5)  # too soon to have been read
    assert [message.text for message in messages.current(now_s + SHOWN_S + 1)] == ["cannot be written"]
    assert messages.current(now_s + 1e6)
    messages.acknowledge(now_s + 10)
    assert not messages.current(now_s + 10)


def test_a_second_save_within_a_second_replaces_nothing(make_loop, tmp_path):
    one = make_loop(SlowModel())
    one.app.save_folder = tmp_path
    one.stroke((20, 60), (230, 70))
    one.ready()
    for _ in range(3):
        commands.save(one.app)
    one.until(lambda: len(list(tmp_path.glob("*.png"))) == 6)
    papers = sorted(path.name for path in tmp_path.glob("*-paper.png"))
    assert len(papers) == 3
    assert all((tmp_path / name.replace("-paper", "")).exists() for name in papers)


def test_several_layers_are_saved_as_a_document_too(make_loop, tmp_path):
    one = make_loop(SlowModel())
    one.app.save_folder = tmp_path
    one.stroke((20, 60), (230, 70))
    one.do(LayerEdit("add", 0, "trees"))
    one.stroke((20, 160), (230, 170))
    one.ready()
    commands.save(one.app)
    one.until(lambda: list(tmp_path.glob("*.ora")))
    (path,) = tmp_path.glob("*.ora")
    one.until(lambda: not list(tmp_path.glob("*.part")))
    document = read_document(path.read_bytes())
    assert [layer.settings.name for layer in document.stack.layers] == ["Layer 1", "trees"]
    assert (document.stack.pixels == one.app.canvas.pixels).all()


def test_an_opened_paper_brings_its_settings_and_materials(make_loop, tmp_path):
    """The file is decoded on a thread, not in a tick."""
    canvas = Canvas(256, 256)
    stroke(canvas, (40, 40), (200, 90), brush=Brush((1, 2, 3), 40, material=7))
    about = {"seed": 11, "look": "oil", "mood": {"snow": 0.9}}
    write_png(tmp_path / "p.png", canvas.pixels, about, materials=canvas.materials)
    (tmp_path / "p.ora").write_bytes(document_bytes(canvas.stack, about | {"seed": 12}))
    one = make_loop(SlowModel())
    for name, seed in (("p.png", 11), ("p.ora", 12)):
        one.do(Command("load", str(tmp_path / name)))
        one.until(lambda seed=seed: one.app.scene.params.seed == seed)
        one.until(lambda: (one.app.canvas.pixels == canvas.pixels).all())
        assert (one.app.canvas.materials == canvas.materials).all()
    assert one.app.scene.params.look == "oil" and one.app.scene.params.mood[4] == 0.9
    one.do(Command("load", str(tmp_path / "none.png")))
    one.until(lambda: any("cannot be read" in line for line in one.messages))
