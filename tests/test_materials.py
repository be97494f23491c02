"""Tests of materials from the brush to the model: canvas, window, requests, prompts."""

from __future__ import annotations

import numpy as np
import pygame
import pytest
from loop_harness import SlowModel, stroke

from models.api import LOOKS, MATERIALS, ModelError, Request, painted_names
from renderer.actions import Brush, Change, Clear, Command, Fill, Line, Paste, Redo, Undo
from renderer.canvas.canvas import Canvas
from renderer.canvas.materials import from_colors, material_of, name_of
from renderer.files.png import png_bytes
from renderer.picture_params import PictureParams
from renderer.stroke_log.codec import Codec
from renderer.ui.window import Window

SIDE = 96
ROCK = Brush(MATERIALS[4].color, 24, 1.0, material=5)


def test_strokes_lines_and_fills_carry_their_material():
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (20, 20), (70, 20), brush=ROCK)
    canvas.apply(Line(Brush((1, 2, 3), 12, 1.0, material=9), (10, 60), (90, 60)))
    canvas.apply(Fill((9, 9, 9), 48, 85, 24, 7))
    assert (canvas.materials[20, 45], canvas.materials[60, 45], canvas.materials[85, 48]) == (5, 9, 7)
    assert not canvas.materials[canvas.pixels[..., 3] == 0].any()
    stroke(canvas, (45, 0), (45, 90), brush=Brush((1, 1, 1), 10, 1.0))  # a free colour
    assert canvas.materials[20, 45] == canvas.materials[85, 45] == 0
    stroke(canvas, (0, 20), (95, 20), brush=Brush(size_px=40, hardness=1.0, erase=True))
    assert not canvas.materials[15:25].any()


@pytest.mark.parametrize(("opacity", "expected"), [(0.3, 5), (0.7, 9)])
def test_thin_paint_over_another_material_takes_over_from_half_on(opacity, expected):
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (10, 48), (86, 48), brush=ROCK)
    stroke(canvas, (48, 10), (48, 86), brush=Brush((9, 9, 9), 20, 1.0, opacity, material=9))
    assert canvas.materials[48, 48] == expected and canvas.materials[80, 48] == 9


def test_undo_and_redo_bring_materials_back():
    canvas = Canvas(SIDE, SIDE)
    states = [canvas.snapshot_materials()]
    for edit in (Line(ROCK, (5, 5), (90, 90)), Fill((9, 9, 9), 80, 10, 24, 2), Clear()):
        canvas.apply(edit)
        states.append(canvas.snapshot_materials())
    for wanted in states[-2::-1]:
        canvas.apply(Undo())
        assert (canvas.materials == wanted).all()
    for wanted in states[1:]:
        canvas.apply(Redo())
        assert (canvas.materials == wanted).all()


def test_an_image_has_the_materials_that_it_brings_or_of_exact_colours():
    canvas = Canvas(SIDE, SIDE)
    paper = np.full((SIDE, SIDE, 4), (*MATERIALS[8].color, 255), np.uint8)
    paper[:40, :, 0] += 1
    canvas.apply(Paste(png_bytes(paper)))
    assert not canvas.materials[:40].any() and (canvas.materials[40:] == 9).all()
    labels = np.full((SIDE, SIDE), 3, np.uint8)
    canvas.apply(Paste(png_bytes(paper, materials=labels)))
    assert (canvas.materials == 3).all()


def test_palette_colours_are_told_apart():
    """Each palette colour has its own number and is recovered from its colour."""
    for number, material in enumerate(MATERIALS, 1):
        assert material_of(material.color) == number and name_of(number) == material.name
        pixels = np.full((2, 2, 4), (*material.color, 255), np.uint8)
        assert (from_colors(pixels) == number).all()
    assert material_of((1, 2, 3)) == 0 and name_of(0) == ""


def test_logs_of_format_1_take_the_material_from_the_colour():
    old = [0, "b", *MATERIALS[5].color, 20, 0.8, 1.0, 0, 100, 100, 80]
    assert Codec().decode(old)[1].brush.material == 6
    assert Codec().decode([0, "f", *MATERIALS[1].color, 5, 5, 24])[1].material == 2
    assert Codec().decode([0, "f", 1, 2, 3, 5, 5, 24])[1].material == 0


# The window


def test_the_palette_gives_a_material_and_a_free_colour_none(make_loop):
    one = make_loop(model := SlowModel())
    tools = one.app.window.tools
    tools.do("material.4", one.app.scene.params)
    one.stroke((50, 50), (200, 50), brush=tools.brush)
    tools.take((9, 200, 9))
    one.stroke((50, 150), (200, 150), brush=tools.brush)
    one.ready()
    request = model.requests[-1]
    assert request.materials[50, 100] == 5 and request.materials[150, 100] == 0
    assert request.paper[150, 100, 1] == 200 and not request.materials.flags.writeable


def test_the_eyedropper_takes_colour_and_material(make_loop):
    one = make_loop(SlowModel())
    one.stroke((50, 50), (200, 50), brush=ROCK)
    one.do(Command("pick", (100.0, 50.0)))
    one.tick(2)
    brush = one.app.window.tools.brush
    assert brush.color == ROCK.color and brush.material == 5


def test_paint_of_the_same_colour_and_another_material_is_a_change(make_loop):
    one = make_loop(model := SlowModel())
    one.stroke((50, 50), (200, 50), brush=ROCK)
    one.ready()
    calls = len(model.requests)
    one.stroke((50, 50), (200, 50), brush=Brush(ROCK.color, 24, 1.0, material=4))
    one.until(lambda: len(model.requests) > calls)
    assert model.requests[-1].materials[50, 100] == 4 and not model.requests[-1].dirty.empty


def test_the_hud_names_the_material_under_the_brush(make_loop):
    one = make_loop(SlowModel())
    one.stroke((50, 50), (200, 50), brush=ROCK)
    one.ready()
    pane = one.app.window.layout(one.app.scene).panes[0]

    def under(x: float, y: float) -> str:
        position = (round(pane.box.x0 + x * pane.scale), round(pane.box.y0 + y * pane.scale))
        moved = pygame.event.Event(pygame.MOUSEMOTION, pos=position, rel=(0, 0), buttons=(0, 0, 0))
        one.pending += Window.read(one.app.window, [moved], 0.0, one.app.scene)
        one.tick(2)
        return one.app.scene.under_pointer

    assert under(100, 50) == "rock"
    assert under(100, 200) == "blank"
    assert under(-400, 50) == ""


# Requests, looks, prompts


def test_a_request_checks_its_materials_and_its_look():
    paper = np.zeros((256, 320, 4), np.uint8)
    assert Request(paper, materials=np.zeros((256, 320), np.uint8), look="print").look in LOOKS
    for wrong in (np.zeros((320, 256), np.uint8), np.zeros((256, 320), np.int32)):
        with pytest.raises(ModelError, match="materials are"):
            Request(paper, materials=wrong)
    with pytest.raises(ModelError, match="choose scenic"):
        Request(paper, look="baroque")


def test_names_of_materials_join_the_prompt_where_that_is_switched_on():
    labels = np.zeros((100, 100), np.uint8)
    labels[:60], labels[60:90], labels[90, :4] = 9, 1, 3
    assert painted_names(labels) == ["water", "sky"]  # too little area of sun
    paper = np.zeros((100, 100, 4), np.uint8)
    asked = Request(paper, prompt="in winter", materials=labels, material_prompt=True)
    assert asked.full_prompt == "water, sky, in winter"
    assert Request(paper, prompt="in winter", materials=labels).full_prompt == "in winter"
    assert Request(paper, material_prompt=True, materials=labels).full_prompt == "water, sky"


def test_look_and_material_prompt_are_settings_that_logs_and_pictures_keep(make_loop):
    params = PictureParams().change("look", "oil").change("material_prompt", True)
    assert PictureParams.from_dict(params.as_dict()) == params
    assert params.starts_epoch(PictureParams()) and PictureParams.of(
        params.request(np.zeros((256, 256, 4), np.uint8)), "painter"
    ) == PictureParams(look="oil", material_prompt=True)
    one = make_loop(model := SlowModel())
    one.stroke((50, 50), (200, 50), brush=ROCK)
    one.ready()
    one.do(Change("look", "photo"))
    one.until(lambda: model.requests[-1].look == "photo")
    one.until(lambda: any("no look 'photo'" in note for note in one.app.scene.notes))
    one.do(Change("look", "baroque"))
    one.tick(3)
    assert one.app.scene.params.look == "photo" and any("choose scenic" in line for line in one.messages)
