"""From the mouse and the keys to actions, and the key table from which help and tooltips are made."""

from __future__ import annotations

import pygame
import pytest

from models.api import MATERIALS, MOOD_AXES
from renderer.actions import Begin, Change, Clear, Command, End, Extend, Fill, Line, Redo, Undo
from renderer.canvas.canvas import Canvas
from renderer.picture_params import PictureParams
from renderer.ui.input import KEYS, LARGEST_PX, NAMES, SMALLEST_PX, TOOLS, Hand, find, label
from renderer.ui.layout import arrange

LAYOUT = arrange("side", (1280, 720), (512, 512))
PAPER = LAYOUT.panes[0].box


@pytest.fixture(scope="module", autouse=True)
def keyboard():
    pygame.display.init()


def event(kind: int, **fields) -> pygame.event.Event:
    return pygame.event.Event(kind, **fields)


def down(x: float, y: float, button: int = 1):
    return event(pygame.MOUSEBUTTONDOWN, pos=(PAPER.x0 + x, PAPER.y0 + y), button=button)


def up(x: float = 0, y: float = 0, button: int = 1):
    return event(pygame.MOUSEBUTTONUP, pos=(PAPER.x0 + x, PAPER.y0 + y), button=button)


def motion(x: float, y: float):
    return event(pygame.MOUSEMOTION, pos=(PAPER.x0 + x, PAPER.y0 + y), rel=(1, 1), buttons=(1, 0, 0))


def key(code: int, mod: int = 0):
    return event(pygame.KEYDOWN, key=code, mod=mod, unicode="")


def actions(hand: Hand, *events, now_s: float = 1.0, params: PictureParams | None = None) -> list:
    return [made.action for made in hand.translate(events, LAYOUT, params or PictureParams(), now_s)]


# Strokes


def test_all_motion_of_a_tick_is_one_extend_that_keeps_every_point():
    hand = Hand()
    begin, extend, end = actions(hand, down(10, 20), *[motion(10 + i, 20) for i in range(1, 40)], up(50, 20))
    assert isinstance(begin, Begin) and begin.point[:2] == (10, 20)
    assert [point[:2] for point in extend.points] == [(10 + i, 20) for i in range(1, 40)]
    assert end == End()


def test_a_stroke_that_begins_beside_the_paper_paints_where_it_enters():
    hand, canvas = Hand(), Canvas(512, 512)
    for edit in actions(hand, down(-8, 100), motion(60, 100), motion(120, 100), up(120, 100)):
        canvas.apply(edit)
    assert canvas.pixels[100, 2:110, 3].min() == 255


@pytest.mark.parametrize("part", ["panel", "bar", "strip"])
def test_a_press_on_a_control_is_no_stroke(part):
    box = getattr(LAYOUT, part)
    assert not actions(Hand(), event(pygame.MOUSEBUTTONDOWN, pos=(box.x0 + 1, box.y0 + 1), button=1))


def test_two_strokes_within_a_tick_stay_two():
    made = actions(
        Hand(), down(1, 1), motion(2, 2), up(2, 2), motion(9, 9), down(20, 20), motion(21, 21), up()
    )
    assert [type(action) for action in made] == [Begin, Extend, End, Begin, Extend, End]


def test_events_carry_the_time_of_the_tick():
    assert {e.time_s for e in Hand().translate([down(1, 1), up()], LAYOUT, PictureParams(), 12.5)} == {12.5}


def test_motion_without_a_button_only_moves_the_ring():
    hand = Hand()
    assert actions(hand, motion(30, 40)) == []
    assert hand.place == (30, 40)


def test_a_stroke_may_wander_off_the_paper_and_back():
    hand = Hand()
    made = actions(hand, down(5, 5), motion(-40, 5), motion(600, 700), motion(8, 8), up())
    assert [p[:2] for p in made[1].points] == [(-40, 5), (600, 700), (8, 8)]


def test_a_fast_stroke_is_thinner_than_a_slow_one():
    def pressure(step: float) -> float:
        hand = Hand()
        actions(hand, down(10, 10), now_s=0)
        for i in range(1, 20):
            made = actions(hand, motion(10 + i * step, 10), now_s=i / 60)
        return made[0].points[-1][2]

    assert pressure(40) < 0.5 < pressure(1)


def test_speed_does_not_depend_on_how_motion_came_in_bursts():
    def last(pieces: int) -> float:
        hand = Hand()
        actions(hand, down(0, 10), now_s=0)
        for i in range(1, 30):
            steps = [motion((i - 1 + (k + 1) / pieces) * 16, 10) for k in range(pieces)]
            made = actions(hand, *steps, now_s=i / 60)
        return made[0].points[-1][2]

    assert last(1) == pytest.approx(last(8), abs=0.01)


def test_pressure_changes_without_a_jump_within_a_tick():
    hand = Hand()
    actions(hand, down(0, 10), now_s=0)
    pressures = [
        p[2] for p in actions(hand, *[motion(i * 8, 10) for i in range(1, 9)], now_s=1 / 60)[0].points
    ]
    steps = [b - a for a, b in zip([0.8, *pressures], pressures, strict=False)]
    assert max(steps) == pytest.approx(min(steps))


def test_the_right_button_erases():
    begin, _ = actions(Hand(), down(10, 10, button=3), up(button=3))
    assert begin.brush.erase


def test_losing_the_window_ends_the_stroke():
    assert actions(Hand(), down(1, 1), event(pygame.WINDOWFOCUSLOST))[-1] == End()


def test_painting_on_the_picture_paints_the_same_place():
    hand, picture = Hand(), LAYOUT.panes[1].box
    begin = actions(hand, event(pygame.MOUSEBUTTONDOWN, pos=(picture.x0 + 7, picture.y0 + 9), button=1))[0]
    assert begin.point[:2] == (7, 9)


# Tools


def test_the_line_tool_gives_one_line():
    hand = Hand()
    hand.tool = "line"
    made = actions(hand, down(10, 10), motion(50, 60), motion(90, 80), up(90, 80))
    assert made == [Line(hand.brush, (10, 10), (90, 80))]


def test_fill_pick_and_eraser():
    hand = Hand()
    hand.tool = "fill"
    assert actions(hand, down(10, 10), up()) == [Fill(hand.brush.color, 10, 10, hand.tolerance)]
    hand.tool = "pick"
    assert actions(hand, down(10, 10), up()) == [Command("pick", (10, 10))]
    hand.tool = "eraser"
    assert actions(hand, down(10, 10), up())[0].brush.erase


def test_taking_a_colour_ends_erasing():
    hand = Hand()
    hand.tool = "eraser"
    hand.take((1, 2, 3))
    assert (hand.tool, hand.brush.color) == ("brush", (1, 2, 3))


def test_a_dropped_file_is_loaded():
    assert actions(Hand(), event(pygame.DROPFILE, file="/a/b.png")) == [Command("load", "/a/b.png")]


def test_the_wheel_sizes_the_brush():
    hand = Hand()
    before = hand.brush.size_px
    actions(hand, motion(9, 9), event(pygame.MOUSEWHEEL, y=1))
    assert hand.brush.size_px > before


# Keys


def test_every_row_of_the_key_table_does_something():
    for row in KEYS:
        hand, params = Hand(), PictureParams()
        hand.tool = "eraser" if row.name == "tool.brush" else "brush"
        hand.brush = hand.brush.__class__(color=(1, 1, 1), hardness=0.5, opacity=0.5)
        before = (hand.tool, hand.brush, hand.tolerance, hand.mood_axis)
        made = hand.do(row.name, params)
        assert made or before != (hand.tool, hand.brush, hand.tolerance, hand.mood_axis), row


def test_no_key_has_two_meanings():
    seen = [(row.key, row.mods) for row in KEYS]
    assert len(seen) == len(set(seen))
    for row in KEYS:
        assert find(row.key, row.mods & (pygame.KMOD_LCTRL | pygame.KMOD_LSHIFT)) is row


def test_every_control_has_a_key():
    wanted = {f"tool.{tool}" for tool in TOOLS} | {f"material.{i}" for i in range(len(MATERIALS))}
    wanted |= {f"steps.{n}" for n in (1, 2, 3, 4)} | {
        "undo",
        "redo",
        "clear",
        "open",
        "save",
        "dice",
        "prompt",
    }
    wanted |= {
        f"{s}.{way}"
        for s in ("size", "hardness", "opacity", "tolerance", "strength", "lora")
        for way in ("less", "more")
    }
    wanted |= {
        "mood.before",
        "mood.after",
        "mood.less",
        "mood.more",
        "view",
        "full",
        "hud",
        "help",
        "model",
        "quit",
    }
    assert wanted <= set(NAMES)


def test_keys_reach_their_actions():
    hand = Hand()
    made = actions(
        hand, key(pygame.K_z, pygame.KMOD_LCTRL), key(pygame.K_z, pygame.KMOD_LCTRL | pygame.KMOD_LSHIFT)
    )
    assert made == [Undo(), Redo()]
    assert actions(hand, key(pygame.K_DELETE)) == [Clear()]
    assert actions(hand, key(pygame.K_F6)) == [Change("steps", 2)]
    assert actions(hand, key(pygame.K_z)) == []
    actions(hand, key(pygame.K_3))
    assert hand.brush.color == MATERIALS[2].color


def test_mood_by_keys():
    hand, params = Hand(), PictureParams()
    actions(hand, key(pygame.K_DOWN))
    change = actions(hand, key(pygame.K_RIGHT), params=params)[0]
    assert change.name == f"mood.{MOOD_AXES[1].name}"
    assert change.value == pytest.approx(params.mood[1] + 0.1)


def test_sizes_stay_in_their_range():
    hand = Hand()
    for _ in range(60):
        hand.do("size.more", PictureParams())
    assert hand.brush.size_px == LARGEST_PX
    for _ in range(90):
        hand.do("size.less", PictureParams())
    assert hand.brush.size_px == SMALLEST_PX


def test_labels_are_what_stands_on_the_keyboard():
    assert label(NAMES["redo"]) in ("Ctrl+Shift+Z", "Ctrl+Y")
    assert label(NAMES["prompt"]) == "Enter"
    assert len({(label(row)) for row in KEYS}) == len(KEYS)
