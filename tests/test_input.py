"""Tests of the conversion of mouse and key events to actions."""

from __future__ import annotations

import pygame
import pytest

from models.api import MATERIALS, MOOD_AXES
from renderer.actions import Begin, Change, Clear, Command, End, Extend, Fill, Line, Redo, Undo
from renderer.canvas.canvas import Canvas
from renderer.picture_params import PictureParams
from renderer.ui.input.keymap import KEYS
from renderer.ui.input.tools import LARGEST_PX, SMALLEST_PX, TOOLS, Tools
from renderer.ui.view.layout import arrange
from renderer.ui.view.view_transform import ViewSettings

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


def actions(tools: Tools, *events, now_s: float = 1.0, params: PictureParams | None = None) -> list:
    return [made.action for made in tools.translate(events, LAYOUT, params or PictureParams(), now_s)]


# Strokes


def test_all_motion_of_a_tick_is_one_extend_that_keeps_every_point():
    tools = Tools()
    begin, extend, end = actions(tools, down(10, 20), *[motion(10 + i, 20) for i in range(1, 40)], up(50, 20))
    assert isinstance(begin, Begin) and begin.point[:2] == (10, 20)
    assert [point[:2] for point in extend.points] == [(10 + i, 20) for i in range(1, 40)]
    assert end == End()


def test_a_stroke_that_begins_beside_the_paper_paints_where_it_enters():
    tools, canvas = Tools(), Canvas(512, 512)
    for edit in actions(tools, down(-8, 100), motion(60, 100), motion(120, 100), up(120, 100)):
        canvas.apply(edit)
    assert canvas.pixels[100, 2:110, 3].min() == 255


@pytest.mark.parametrize("part", ["panel", "bar", "hud"])
def test_a_press_on_a_control_is_no_stroke(part):
    box = getattr(LAYOUT, part)
    assert not actions(Tools(), event(pygame.MOUSEBUTTONDOWN, pos=(box.x0 + 1, box.y0 + 1), button=1))


def test_two_strokes_within_a_tick_stay_two():
    made = actions(
        Tools(), down(1, 1), motion(2, 2), up(2, 2), motion(9, 9), down(20, 20), motion(21, 21), up()
    )
    assert [type(action) for action in made] == [Begin, Extend, End, Begin, Extend, End]


def test_events_carry_the_time_of_the_tick():
    assert {e.time_s for e in Tools().translate([down(1, 1), up()], LAYOUT, PictureParams(), 12.5)} == {12.5}


def test_motion_without_a_button_only_moves_the_ring():
    tools = Tools()
    assert actions(tools, motion(30, 40)) == []
    assert tools.place == (30, 40)


def test_a_stroke_may_wander_off_the_paper_and_back():
    tools = Tools()
    made = actions(tools, down(5, 5), motion(-40, 5), motion(600, 700), motion(8, 8), up())
    assert [p[:2] for p in made[1].points] == [(-40, 5), (600, 700), (8, 8)]


def test_a_fast_stroke_is_thinner_than_a_slow_one():
    def pressure(step: float) -> float:
        tools = Tools()
        actions(tools, down(10, 10), now_s=0)
        for i in range(1, 20):
            made = actions(tools, motion(10 + i * step, 10), now_s=i / 60)
        return made[0].points[-1][2]

    assert pressure(40) < 0.5 < pressure(1)


def test_speed_does_not_depend_on_how_motion_came_in_bursts():
    def last(pieces: int) -> float:
        tools = Tools()
        actions(tools, down(0, 10), now_s=0)
        for i in range(1, 30):
            steps = [motion((i - 1 + (k + 1) / pieces) * 16, 10) for k in range(pieces)]
            made = actions(tools, *steps, now_s=i / 60)
        return made[0].points[-1][2]

    assert last(1) == pytest.approx(last(8), abs=0.01)


def test_pressure_changes_without_a_jump_within_a_tick():
    tools = Tools()
    actions(tools, down(0, 10), now_s=0)
    pressures = [
        p[2] for p in actions(tools, *[motion(i * 8, 10) for i in range(1, 9)], now_s=1 / 60)[0].points
    ]
    steps = [b - a for a, b in zip([0.8, *pressures], pressures, strict=False)]
    assert max(steps) == pytest.approx(min(steps))


def test_the_right_button_erases():
    begin, _ = actions(Tools(), down(10, 10, button=3), up(button=3))
    assert begin.brush.erase


def test_losing_the_window_ends_the_stroke():
    assert actions(Tools(), down(1, 1), event(pygame.WINDOWFOCUSLOST))[-1] == End()


def test_painting_on_the_picture_paints_the_same_place():
    tools, picture = Tools(), LAYOUT.panes[1].box
    begin = actions(tools, event(pygame.MOUSEBUTTONDOWN, pos=(picture.x0 + 7, picture.y0 + 9), button=1))[0]
    assert begin.point[:2] == (7, 9)


# Tools


def test_the_line_tool_gives_one_line():
    tools = Tools()
    tools.tool = "line"
    made = actions(tools, down(10, 10), motion(50, 60), motion(90, 80), up(90, 80))
    assert made == [Line(tools.brush, (10, 10), (90, 80))]


def test_fill_pick_and_eraser():
    tools = Tools()
    tools.tool = "fill"
    assert actions(tools, down(10, 10), up()) == [Fill(tools.brush.color, 10, 10, tools.tolerance, 1)]
    tools.tool = "pick"
    assert actions(tools, down(10, 10), up()) == [Command("pick", (10, 10))]
    tools.tool = "eraser"
    assert actions(tools, down(10, 10), up())[0].brush.erase


def test_taking_a_colour_ends_erasing():
    tools = Tools()
    tools.tool = "eraser"
    tools.take((1, 2, 3))
    assert (tools.tool, tools.brush.color) == ("brush", (1, 2, 3))


def test_a_dropped_file_is_loaded():
    assert actions(Tools(), event(pygame.DROPFILE, file="/a/b.png")) == [Command("load", "/a/b.png")]


def test_the_wheel_sizes_the_brush():
    tools = Tools()
    before = tools.brush.size_px
    actions(tools, motion(9, 9), event(pygame.MOUSEWHEEL, y=1))
    assert tools.brush.size_px > before


# Keys


def state(tools: Tools) -> tuple:
    chosen = tools.stabilizer, tools.symmetry, tools.dynamics, tools.show_layers
    return tools.tool, tools.brush, tools.tolerance, tools.mood_axis, tools.navigation.settings, chosen


def test_every_row_of_the_key_table_does_something():
    for row in KEYS:
        tools, params = Tools(), PictureParams()
        tools.tool = "eraser" if row.name == "tool.brush" else "brush"
        tools.brush = tools.brush.__class__(color=(1, 1, 1), hardness=0.5, opacity=0.5)
        tools.navigation.layout, tools.navigation.settings = LAYOUT, ViewSettings(2.0, (100, 100), 30)
        before = state(tools)
        made = tools.do(row.name, params)
        assert made or before != state(tools), row


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
    assert wanted <= {row.name for row in KEYS}


def test_keys_reach_their_actions():
    tools = Tools()
    made = actions(
        tools, key(pygame.K_z, pygame.KMOD_LCTRL), key(pygame.K_z, pygame.KMOD_LCTRL | pygame.KMOD_LSHIFT)
    )
    assert made == [Undo(), Redo()]
    assert actions(tools, key(pygame.K_DELETE)) == [Clear()]
    assert actions(tools, key(pygame.K_F6)) == [Change("steps", 2)]
    assert actions(tools, key(pygame.K_z)) == []
    actions(tools, key(pygame.K_3))
    assert tools.brush.color == MATERIALS[2].color


def test_mood_by_keys():
    tools, params = Tools(), PictureParams()
    actions(tools, key(pygame.K_DOWN))
    change = actions(tools, key(pygame.K_RIGHT), params=params)[0]
    assert change.name == f"mood.{MOOD_AXES[1].name}"
    assert change.value == pytest.approx(params.mood[1] + 0.1)


def test_sizes_stay_in_their_range():
    tools = Tools()
    for _ in range(60):
        tools.do("size.more", PictureParams())
    assert tools.brush.size_px == LARGEST_PX
    for _ in range(90):
        tools.do("size.less", PictureParams())
    assert tools.brush.size_px == SMALLEST_PX


def test_esc_cancels_a_line_that_is_being_dragged():
    tools = Tools()
    tools.tool = "line"
    assert (
        actions(tools, down(10, 10), motion(50, 60), key(pygame.K_ESCAPE), motion(70, 70), up(70, 70)) == []
    )
    assert tools.line_preview is None and not tools.drawing
    assert actions(tools, key(pygame.K_ESCAPE)) == [Command("back")]


def test_the_right_button_does_not_end_the_left_ones_stroke():
    made = actions(
        Tools(), down(10, 10), motion(20, 20), down(20, 20, 3), up(20, 20, 3), motion(40, 40), up(40, 40)
    )
    assert [type(action) for action in made] == [Begin, Extend, Extend, End]


def repeats(name: str, tools: Tools) -> bool:
    """Whether a second KEYDOWN without a KEYUP repeats the action."""
    code = {"undo": (pygame.K_z, pygame.KMOD_LCTRL), "save": (pygame.K_s, pygame.KMOD_LCTRL)}
    code |= {"record": (pygame.K_F2, 0), "full": (pygame.K_F11, 0), "size.more": (pygame.K_RIGHTBRACKET, 0)}
    code |= {"strength.more": (pygame.K_PERIOD, 0), "dice": (pygame.K_r, 0), "clear": (pygame.K_DELETE, 0)}
    press = key(*code[name])
    assert not tools.is_repeat(press)
    return not tools.is_repeat(press)


@pytest.mark.parametrize("name", ["undo", "size.more", "strength.more"])
def test_a_held_key_repeats(name):
    assert repeats(name, Tools())


@pytest.mark.parametrize("name", ["save", "record", "full", "dice", "clear"])
def test_a_held_key_acts_once(name):
    tools = Tools()
    assert not repeats(name, tools)
    tools.is_repeat(event(pygame.WINDOWFOCUSLOST))
    assert not repeats(name, tools)  # after the window loses focus it counts as a new press
