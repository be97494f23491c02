"""Stroke input: symmetry, stabiliser, Shift+click lines, brush ring width; symmetric strokes in logs."""

from __future__ import annotations

import json
import math

import numpy as np
import pygame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderer.actions import Begin, Brush, End, Extend, Line, Symmetry, Undo
from renderer.canvas.canvas import Canvas
from renderer.canvas.tools.symmetry import images
from renderer.picture_params import PictureParams
from renderer.stroke_log.codec import Codec, quantized
from renderer.ui.controls.swatches import color_of
from renderer.ui.input.tools import STABILIZER_PX, Tools, pulled
from renderer.ui.style.theme import hex_color
from renderer.ui.view.layout import arrange

LAYOUT = arrange("side", (1280, 720), (512, 512))
PAPER = LAYOUT.panes[0].box
KINDS = ("vertical", "horizontal", "radial")


@pytest.fixture(scope="module", autouse=True)
def keyboard():
    pygame.display.init()


places = st.tuples(st.floats(0, 127), st.floats(0, 127))


def painted(symmetry: Symmetry | None, *points: tuple[float, float], side: int = 128) -> np.ndarray:
    canvas = Canvas(side, side)
    first, *rest = [(x, y, 0.9) for x, y in points]
    canvas.apply(Begin(Brush((200, 30, 30), 14, symmetry=symmetry), first))
    for point in rest:
        canvas.apply(Extend((point,)))
    canvas.apply(End())
    return canvas.pixels


# Symmetry


@settings(max_examples=25, deadline=None)
@given(st.lists(places, min_size=1, max_size=5))
def test_a_mirrored_stroke_is_its_own_mirror_image(points):
    middle = (127 / 2, 127 / 2)
    for kind, axis in (("vertical", 1), ("horizontal", 0)):
        pixels = painted(Symmetry(kind, *middle), *points)
        assert np.array_equal(pixels, np.flip(pixels, axis))
        assert (pixels >= painted(None, *points))[..., 3].all()


def test_a_radial_stroke_is_the_same_in_every_sector():
    pixels = painted(Symmetry("radial", 63.5, 63.5, 4), (80, 63), (110, 70))
    assert (np.abs(pixels.astype(int) - np.rot90(pixels)) > 40).mean() < 1e-3
    six = painted(Symmetry("radial", 63.5, 63.5, 6), (90, 63.5))
    for k in range(6):
        x, y = 63.5 + 26.5 * math.cos(k * math.pi / 3), 63.5 + 26.5 * math.sin(k * math.pi / 3)
        assert six[round(y), round(x), 3] == 255


@given(st.sampled_from(KINDS), places, places, st.integers(2, 12))
def test_images_keep_their_distance_from_the_middle(kind, at, middle, count):
    for a, b, c, d, e, f in images(Symmetry(kind, *middle, count)):
        image = (a * at[0] + b * at[1] + c, d * at[0] + e * at[1] + f)
        assert math.dist(image, middle) == pytest.approx(math.dist(at, middle), abs=1e-6)


def test_one_undo_takes_all_images_away_and_a_log_holds_them():
    canvas, codec, read = Canvas(128, 128), Codec(), Codec()
    brush = Brush((9, 9, 9), 12, symmetry=Symmetry("radial", 63.5, 63.5, 5), dynamics="opacity")
    edits = [quantized(edit) for edit in (Begin(brush, (90, 60, 0.5)), Extend(((100, 70, 0.7),)), End())]
    again = Canvas(128, 128)
    for edit in edits:
        canvas.apply(edit)
        again.apply(read.decode(json.loads(json.dumps(codec.encode(5, edit))))[1])
    assert canvas.pixels[..., 3].any() and np.array_equal(canvas.pixels, again.pixels)
    canvas.apply(Undo())
    assert canvas.blank


# Input


def event(kind: int, x: float = 0, y: float = 0, **fields) -> pygame.event.Event:
    return pygame.event.Event(kind, pos=(PAPER.x0 + x, PAPER.y0 + y), **fields)


def send(tools: Tools, *events) -> list:
    return [made.action for made in tools.translate(events, LAYOUT, PictureParams(), 1.0)]


def down(x: float, y: float) -> pygame.event.Event:
    return event(pygame.MOUSEBUTTONDOWN, x, y, button=1)


def up(x: float, y: float) -> pygame.event.Event:
    return event(pygame.MOUSEBUTTONUP, x, y, button=1)


def motion(x: float, y: float) -> pygame.event.Event:
    return event(pygame.MOUSEMOTION, x, y, rel=(1, 1), buttons=(1, 0, 0))


@given(places, places, st.floats(0, 60))
def test_the_stabiliser_lags_by_no_more_than_its_slack(at, target, slack):
    moved = pulled(at, target, slack)
    assert math.dist(moved, target) <= max(slack, 1e-6) + 1e-6 or moved == at
    assert math.dist(moved, target) <= math.dist(at, target) + 1e-6


def test_a_stabilised_stroke_is_smoother_and_ends_at_the_pointer():
    wobbly = [(20 + 8 * i, 100 + 9 * (-1) ** i) for i in range(1, 50)]

    def path(choice: str) -> np.ndarray:
        tools = Tools()
        tools.stabilizer = choice
        made = send(tools, down(20, 100), *(motion(*place) for place in wobbly), up(*wobbly[-1]))
        points = [point[:2] for action in made if isinstance(action, Extend) for point in action.points]
        assert points[-1] == pytest.approx(wobbly[-1])
        return np.array(points)

    wander = {choice: np.abs(np.diff(path(choice)[10:-1, 1])).mean() for choice in STABILIZER_PX}
    assert wander["strong"] < 0.5 * wander["light"] < 0.5 * wander["off"]


def test_shift_click_draws_a_line_from_where_the_last_stroke_ended(monkeypatch):
    tools = Tools()
    monkeypatch.setattr(pygame.key, "get_mods", lambda: pygame.KMOD_LSHIFT)
    assert isinstance(send(tools, down(10, 10), motion(30, 30), up(30, 30))[0], Begin)  # no stroke before
    (line,) = send(tools, down(90, 40), up(90, 40))
    assert isinstance(line, Line) and (line.start, line.stop) == ((30, 30), (90, 40))
    (line,) = send(tools, down(5, 5), up(5, 5))
    assert line.start == (90, 40)


def test_the_ring_is_as_wide_as_the_stroke_will_be():
    tools = Tools()
    tools.brush = Brush((200, 30, 30), 60, hardness=1.0)
    send(tools, motion(200, 200))
    ring = tools.ring_px
    canvas = Canvas(512, 512)
    for action in send(tools, down(200, 200)):
        canvas.apply(action)
    assert (canvas.pixels[200, :, 3] > 127).sum() == pytest.approx(ring, abs=2)
    tools.dynamics = "none"
    assert tools.ring_px == 60


def test_symmetry_lies_about_the_middle_of_the_paper():
    tools = Tools()
    tools.navigation.canvas, tools.symmetry = (512, 256), "vertical"
    begin = send(tools, down(10, 10))[0]
    assert begin.brush.symmetry == Symmetry("vertical", 255.5, 127.5)


def test_the_last_dozen_free_colours_are_kept():
    tools = Tools()
    send(tools, down(5, 5), up(5, 5))
    assert not tools.colors  # material colours are already in the palette
    for i in range(14):
        tools.take((i, 0, 0))
        send(tools, down(5, 5), up(5, 5))
    assert tools.colors == [(i, 0, 0) for i in range(13, 1, -1)]
    tools.take((5, 0, 0))
    send(tools, down(5, 5), up(5, 5))
    assert tools.colors[0] == (5, 0, 0) and len(tools.colors) == 12


@pytest.mark.parametrize(
    ("words", "color"),
    [
        ("#76a9de", (118, 169, 222)),
        (" 76A9DE ", (118, 169, 222)),
        ("#7ad", (119, 170, 221)),
        ("red", None),
        ("#12345", None),
        ("", None),
        ("+1+1+1", None),
    ],
)
def test_hex_colours(words, color):
    assert color_of(words) == color


@given(st.tuples(*3 * [st.integers(0, 255)]))
def test_a_hex_colour_reads_back(color):
    assert color_of(hex_color(color)) == color
