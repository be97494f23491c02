"""`render` command and papers saved by `paint`: sizes, materials, looks, many sketches, OpenRaster."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from loop_harness import ROOT, SlowModel

from models.api import LOOKS, MATERIALS
from renderer.actions import Begin, Brush, End, LayerEdit
from renderer.canvas.canvas import Canvas
from renderer.canvas.materials import from_colors
from renderer.canvas.open_raster import document_bytes
from renderer.cli import render as render_module
from renderer.files.png import read_about, write_png

SKETCH = ROOT / "assets" / "sketches" / "lake.png"


@pytest.fixture
def asked(monkeypatch):
    """Requests that a stand-in for the painter receives from the command."""
    model = SlowModel()
    monkeypatch.setattr("models.registry.loader", lambda name, device, **_: model)
    return model.requests


def picture(path):
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)


def test_materials_look_and_mood_reach_the_model(program, asked, tmp_path):
    labels = np.zeros((512, 512), np.uint8)
    labels[:200], labels[300:] = 1, 9
    write_png(tmp_path / "labels.png", labels)
    done = program(
        "render", SKETCH, "-o", tmp_path / "o.png", "--materials", tmp_path / "labels.png",
        "--look", "oil", "--mood", "0.9,0.1", "--seed", 4,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no look 'oil'" in done.stderr  # reported: this model has no looks
    (request,) = asked
    painted = request.paper[..., 3] > 0
    assert (request.materials == labels * painted).all() and request.look == "oil"
    assert request.mood[:3] == (0.9, 0.1, 0.3) and request.seed == 4
    about = read_about((tmp_path / "o.png").read_bytes())
    assert about["look"] == "oil" and about["mood"]["sun"] == 0.9


def test_without_labels_exact_palette_colours_are_materials(program, asked, tmp_path):
    paper = np.zeros((256, 256, 4), np.uint8)
    for number, material in enumerate(MATERIALS):
        paper[number * 20 : number * 20 + 20] = (*material.color, 255)
    paper[:, 200:, 0] += 1
    write_png(tmp_path / "s.png", paper)
    assert program("render", tmp_path / "s.png", "-o", tmp_path / "o.png").returncode == 0
    rows = np.repeat(np.r_[1:13, 0], 20)[:256].astype(np.uint8)
    assert (asked[0].materials[:240, :200] == rows[:240, None]).all()
    assert not asked[0].materials[:, 200:].any() and not asked[0].materials[240:].any()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--look", "baroque"), "choose scenic"),
        (("--mood", "high"), "sun, warmth"),
        (("--mood", "2"), "from 0 to 1"),
        (("--mood", "nan"), "from 0 to 1"),
        (("--mood", ",".join(["0.5"] * 8)), "at most 7"),
        (("--size", "1000x512"), "multiple of 32"),
        (("--size", "512x512x512"), "as 1024x576"),
        (("--size", "large"), "as 1024x576"),
        (("--materials", SKETCH), "one channel of 8 bits"),
        (("--materials", ROOT / "README.md"), "can be read; use an 8-bit PNG"),
    ],
)
def test_bad_words_are_one_line(refused, asked, tmp_path, words, says):
    assert says in refused("render", SKETCH, "-o", tmp_path / "o.png", *words)
    assert not asked and not (tmp_path / "o.png").exists()


def test_labels_of_another_shape_or_unknown_materials_are_refused(refused, asked, tmp_path):
    write_png(tmp_path / "wide.png", np.zeros((100, 300), np.uint8))
    write_png(tmp_path / "high.png", np.full((512, 512), 13, np.uint8))
    for name, says in (("wide", "same shape"), ("high", "hold 13")):
        words = ("-o", tmp_path / "o.png", "--materials", tmp_path / f"{name}.png")
        assert says in refused("render", SKETCH, *words)


def test_a_paper_that_is_not_square_is_rendered_at_its_size(program, tmp_path, painter_file):
    words = ("render", SKETCH, "-o", tmp_path / "o.png", "--size", "384x256", "--model", painter_file)
    assert program(*words, "--steps", 1).returncode == 0
    assert picture(tmp_path / "o.png").shape == (256, 384, 3)


def test_several_files_and_folders_go_to_a_folder(program, asked, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b", "a"):
        write_png(tmp_path / "in" / f"{name}.png", np.zeros((256, 256, 4), np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    write_png(tmp_path / "a.png", np.zeros((256, 320, 4), np.uint8))
    (tmp_path / "bad.png").write_text("no image")
    out = tmp_path / "out"
    done = program("render", tmp_path / "in", tmp_path / "a.png", tmp_path / "bad.png", "-o", out)
    assert done.returncode == 1 and "bad.png: this file is not an image" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a-2.png", "a.png", "b.png"]
    assert picture(out / "a-2.png").shape == (256, 320, 3) and len(asked) == 3


def test_several_sketches_need_a_folder(refused, asked, tmp_path):
    assert "must be a folder" in refused("render", SKETCH, SKETCH, "-o", tmp_path / "o.png")
    (tmp_path / "empty").mkdir()
    assert "no image in" in refused("render", tmp_path / "empty", "-o", tmp_path / "o")


def test_a_file_that_is_there_is_replaced_only_when_told(program, refused, asked, tmp_path):
    (tmp_path / "o.png").write_text("dear to somebody")
    assert "--overwrite" in refused("render", SKETCH, "-o", tmp_path / "o.png")
    assert (tmp_path / "o.png").read_text() == "dear to somebody" and not asked
    assert program("render", SKETCH, "-o", tmp_path / "o.png", "--overwrite").returncode == 0
    assert picture(tmp_path / "o.png").shape == (512, 512, 3)


def test_an_open_raster_file_brings_layers_materials_and_settings(program, asked, tmp_path):
    canvas = Canvas(320, 256)
    for edit in (Begin(Brush((1, 2, 3), 90, material=5), (100, 100, 1.0)), End(), LayerEdit("add")):
        canvas.apply(edit)
    for edit in (Begin(Brush((200, 2, 3), 50, material=9), (110, 100, 1.0)), End()):
        canvas.apply(edit)
    (tmp_path / "p.ora").write_bytes(document_bytes(canvas.stack, {"seed": 77, "look": "print"}))
    assert program("render", tmp_path / "p.ora", "-o", tmp_path / "o.png").returncode == 0
    (request,) = asked
    assert (request.paper == canvas.pixels).all() and (request.materials == canvas.materials).all()
    assert set(np.unique(request.materials)) == {0, 5, 9}
    assert (request.seed, request.look) == (77, "print")


@pytest.mark.slow
def test_paint_writes_a_paper_that_render_and_paint_read(program, tmp_path, painter_file):
    """A non-square paper from a demo; `render` and `paint` also restore its settings."""
    words = ("--headless", "--model", painter_file, "--size", "320x256")
    paint = (*words, "--demo", "--seconds", 5, "--seed", 9, "--look", "photo")
    for name in ("p.ora", "p.png"):
        assert program(*paint, "--save-paper", tmp_path / name).returncode == 0
        done = program("render", tmp_path / name, "-o", tmp_path / "o.png", "--steps", 1, "--overwrite")
        assert done.returncode == 0, done.stderr
        about = read_about((tmp_path / "o.png").read_bytes())
        assert picture(tmp_path / "o.png").shape == (256, 320, 3)
        assert (about["seed"], about["look"]) == (9, "photo")
        again = tmp_path / f"again-{name}"
        done = program(*words, "--paper", tmp_path / name, "--seconds", 2, "--save-paper", again, "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["size"] == 320
        first, second = (render_module.read_sketch(path, None) for path in (tmp_path / name, again))
        assert first.paper[..., 3].any() and first.materials.any()
        assert (first.paper == second.paper).all() and (first.materials == second.materials).all()
        assert second.about["seed"] == 9 and second.about["look"] == "photo"


def test_looks_have_names_in_the_help(program):
    assert all(look in program("render", "--help").stdout for look in LOOKS)


def test_palette_colours_on_blank_paper_are_no_material():
    assert not from_colors(np.zeros((4, 4, 4), np.uint8)).any()
