"""Rewind: byte-identical earlier papers, scrubbing in the window, pinning and painting on."""

from __future__ import annotations

import random

import numpy as np
import pygame
import pytest
from loop_harness import RED, SlowModel

from renderer.actions import (
    Begin,
    Brush,
    Clear,
    Command,
    End,
    Event,
    Extend,
    Fill,
    InputError,
    Line,
    Redo,
    Undo,
)
from renderer.canvas import snapshots as history_module
from renderer.canvas.canvas import Canvas
from renderer.canvas.snapshots import History
from renderer.canvas.storage.compression import wait_until_packed
from renderer.stroke_log.log import read
from renderer.ui import timeline
from renderer.ui.window import Window


def any_action(chance: random.Random, drawing: bool):
    def where():
        return chance.uniform(0, 256), chance.uniform(0, 256)

    if drawing and chance.random() < 0.8:
        return Extend(tuple((*where(), 0.8) for _ in range(2)))
    kind = chance.choice((Begin, Begin, Begin, End, Line, Fill, Undo, Undo, Redo, Clear))
    color = tuple(chance.randrange(256) for _ in range(3))
    if kind is Begin:
        return Begin(RED, (*where(), 0.8))
    if kind is Line:
        return Line(RED, where(), where())
    return Fill(color, *where()) if kind is Fill else kind()


@pytest.mark.parametrize("seed", range(4))
def test_every_earlier_paper_comes_back_to_the_byte(seed):
    chance = random.Random(seed)
    canvas, history = Canvas(256, 256), History(256, 256)
    papers, now_s = [], 100.0
    for _ in range(250):
        action = any_action(chance, canvas.drawing)
        canvas.apply(action)
        history.event(Event(action, now_s), canvas)
        papers.append((now_s, canvas.pixels.copy()))
        now_s += chance.uniform(0.01, 0.4)
    for at_s, paper in chance.sample(papers, 60):
        assert np.array_equal(history.at(at_s + 0.005).pixels, paper)
    assert history.span == (99.9, papers[-1][0])
    assert not history.at(99.0).pixels.any()


def test_history_is_bounded_in_time_and_memory(monkeypatch):
    monkeypatch.setattr(history_module, "REACH_S", 20.0)
    monkeypatch.setattr(history_module, "MARK_EVERY_S", 1.0)
    canvas, history = Canvas(64, 64), History(64, 64)
    for number in range(400):
        action = Fill((number % 256, 1, 2), 5, 5)
        canvas.apply(action)
        history.event(Event(action, number * 0.25), canvas)
    history.pins.append(99.0)
    begin_s, end_s = history.span
    assert end_s == 99.75 and 19 < end_s - begin_s < 23
    assert len(history._marks) < 26
    assert history.at(90.0).pixels[5, 5, 0] == 360 % 256
    monkeypatch.setattr(history_module, "MOST_BYTES", 0)
    canvas.apply(Clear())
    history.event(Event(Clear(), 102.0), canvas)
    assert len(history._marks) == 2


def test_history_keeps_its_edits_packed():
    canvas, history = Canvas(64, 64), History(64, 64)
    for number in range(400):
        action = Line(Brush((number % 256, 0, 0), 9), (0, number % 64), (63, 9))
        canvas.apply(action)
        history.event(Event(action, number * 0.25), canvas)
    before = history.at(50.0).pixels
    wait_until_packed()
    assert sum(mark.nbytes for mark in history._marks) < 400 * 150  # bytes, with papers; over 500 as objects
    assert np.array_equal(history.at(50.0).pixels, before)


def test_there_is_nothing_to_go_back_to_before_the_first_stroke(make_loop):
    with pytest.raises(InputError):
        History(64, 64).at(1.0)
    one = make_loop(SlowModel())
    one.do(Command("rewind"))
    one.app.step()
    assert any("nothing was painted" in line for line in one.messages)


@pytest.fixture
def painted(make_loop, tmp_path):
    """A loop with three fills, one second apart, and a stroke log."""
    one = make_loop(SlowModel()).ready()
    one.app.persistence.log_to(tmp_path / "log.jsonl")
    for number in range(3):
        one.do(Fill((10 + number, 0, 0), 5, 5), at_s=100.0 + number)
        one.tick()
    return one


def red(one) -> int:
    return int(one.app.canvas.pixels[5, 5, 0])


def test_scrubbing_shows_earlier_papers_and_pictures_and_leaving_brings_now_back(painted, tmp_path):
    painted.do(Command("rewind"))
    painted.tick()
    for at_s, level in ((100.5, 10), (101.5, 11), (100.2, 10), (500.0, 12), (-5.0, 0)):
        painted.do(Command("rewind.seek", at_s))
        painted.rewound()
        painted.rest()
        assert red(painted) == level
        if level:
            assert painted.app.picture.picture[5, 5].tolist() == [level, 0, 0]
    painted.do(Command("rewind.leave"))
    painted.tick()
    assert red(painted) == 12 and painted.app.scene.rewind is None
    assert len(read(tmp_path / "log.jsonl").events) == 3
    painted.do(Undo())
    painted.tick()
    assert red(painted) == 11


def test_a_branch_is_one_edit_that_the_log_holds_and_undo_takes_back(painted, tmp_path):
    painted.do(Command("rewind"), Command("rewind.seek", 100.5), Command("rewind.branch"))
    painted.rewound()
    assert red(painted) == 10 and painted.app.scene.rewind is None
    session = read(tmp_path / "log.jsonl")
    canvas = Canvas(256, 256)
    for event in session.events:
        canvas.apply(event.action)
    assert np.array_equal(canvas.pixels, painted.app.canvas.pixels)
    painted.do(Undo())
    painted.tick()
    assert red(painted) == 12
    painted.do(Command("rewind"), Command("rewind.seek", 101.5))
    painted.rewound()
    assert red(painted) == 11


def test_painting_on_an_earlier_paper_branches_from_it(painted):
    painted.do(Command("rewind"), Command("rewind.seek", 100.5))
    painted.tick()
    painted.stroke((100, 100), (150, 150))
    painted.rewound()
    assert painted.app.scene.rewind is None
    assert red(painted) == 10 and painted.app.canvas.pixels[125, 125].tolist() == [200, 30, 30, 255]
    painted.do(Undo(), Undo())
    painted.tick()
    assert red(painted) == 12


def test_a_stroke_under_way_ends_when_one_looks_back(painted):
    painted.do(Begin(RED, (100, 100, 0.8)), Command("rewind"))
    painted.tick()
    assert not painted.app.canvas.drawing
    painted.do(Command("rewind.seek", 100.5), Command("rewind.leave"), Extend(((150, 150, 0.8),)))
    painted.tick()
    assert painted.app.canvas.pixels[100, 100, 3] == 255 and painted.app.messages.errors == 0


def test_pins_are_kept_and_reached_with_keys_and_a_second_press_takes_one_away(painted):
    window, scene = painted.window, painted.app.scene
    painted.do(Command("rewind"), Command("rewind.seek", 101.2), Command("rewind.pin"))
    painted.do(
        Command("rewind.seek", 100.4), Command("rewind.pin"), Command("rewind.leave"), Command("rewind")
    )
    painted.tick(2)
    assert scene.rewind.pins == [100.4, 101.2]

    def press(key, mod=0):
        events = [
            pygame.event.Event(kind, key=key, mod=mod, unicode="") for kind in (pygame.KEYDOWN, pygame.KEYUP)
        ]
        painted.pending += Window.read(window, events, 200.0, scene)
        painted.rewound()
        return round(scene.rewind.at_s, 3) if scene.rewind else None

    assert press(pygame.K_UP) == 101.2
    assert press(pygame.K_UP) == 100.4
    assert press(pygame.K_LEFT) == 99.9
    assert press(pygame.K_RIGHT) == 100.9
    assert press(pygame.K_DOWN) == 101.2
    assert press(pygame.K_p) == 101.2 and scene.rewind.pins == [100.4]
    assert press(pygame.K_END) == 102.0 and press(pygame.K_HOME) == 99.9
    assert press(pygame.K_RETURN) is None
    assert red(painted) == 0


def test_the_pointer_scrubs_on_the_bar_and_paints_off_it(painted):
    window, scene = painted.window, painted.app.scene
    painted.do(Command("rewind"))
    painted.tick()
    shown = window.screen()
    box = timeline.bar(window.layout(scene), window.theme)
    left, right, y = timeline.groove(box, window.theme)

    def move(x):
        return pygame.event.Event(pygame.MOUSEMOTION, pos=(x, y), rel=(1, 1), buttons=(1, 0, 0), touch=False)

    down = pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=(left, y), button=1, touch=False)
    made = Window.read(window, [down, move(left + 9), move((left + right) // 2)], 200.0, scene)
    (command,) = [event.action for event in made]
    assert command.name == "rewind.seek" and command.value == pytest.approx(100.95, abs=0.01)
    painted.pending += made
    painted.rewound()
    painted.tick()
    assert red(painted) == 10
    assert (window.screen() != shown)[box.slices].any()
    pane = window.layout(scene).panes[0].box
    down = pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=(pane.x0 + 9, pane.y0 + 9), button=1, touch=False)
    (event,) = Window.read(window, [down], 200.0, scene)
    assert isinstance(event.action, Begin)
    before = window.screen()
    painted.do(Command("rewind.leave"))
    painted.rest()
    painted.until(lambda: scene.ink.box.empty)
    assert (window.screen() != before)[box.slices].any()
