"""Tests of the headless window: same methods and picture as the real one, partial redraws."""

from __future__ import annotations

import inspect
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pygame
import pytest
from loop_harness import ROOT, SlowModel

from renderer.actions import Begin, Brush, Command, Extend
from renderer.ui.headless import Headless
from renderer.ui.window import Window


def test_the_twins_have_the_same_methods():
    def methods(kind: type) -> dict[str, list[str]]:
        names = [name for name in dir(kind) if not name.startswith("_")]
        functions = {name: getattr(kind, name) for name in names if callable(getattr(kind, name))}
        return {name: list(inspect.signature(f).parameters) for name, f in functions.items()}

    assert methods(Window) == methods(Headless)


@pytest.mark.parametrize("view", ["side", "ink", "picture"])
@pytest.mark.parametrize("show_help", [False, True])
def test_what_is_drawn_bit_by_bit_is_what_is_drawn_at_once(make_loop, view, show_help):
    one = make_loop(SlowModel(0.01), side=256).ready()
    scene = one.app.scene
    scene.view = view
    for x in range(20, 200, 30):
        one.stroke((x, 20), (x + 10, 200))
        one.tick(2)
    one.rest()
    one.until(lambda: scene.ink.box.empty)
    scene.show_help = show_help
    one.tick(2)
    one.app.draw = lambda now_s: None
    shots = []
    for shape in (one.window._shape, ()):
        one.window._shape = shape
        one.window.hud._next_s = float("inf")
        one.window.draw(scene, time.perf_counter())
        shots.append(one.window.screen())
    assert np.array_equal(*shots)


def test_help_lists_every_key_and_any_key_leaves_it(make_loop):
    one = make_loop(SlowModel()).ready()
    plain = one.window.screen()
    one.do(Command("help"))
    one.tick(2)
    assert (one.window.screen() != plain).mean() > 0.3
    scene = one.app.scene
    left = one.window.read([pygame.event.Event(pygame.KEYDOWN, key=pygame.K_x, mod=0)], 1.0, scene)
    assert [event.action for event in left] == [Command("help")]


def test_an_idle_window_is_not_drawn(make_loop):
    one = make_loop(SlowModel()).ready()
    one.until(lambda: one.app.scene.ink.box.empty)
    one.tick(5)
    one.window.hud._next_s = float("inf")
    one.tick(1)
    drawn = []
    for _ in range(20):
        one.tick()
        drawn += one.window._boxes
    assert not drawn


def test_a_window_of_twice_the_scale_looks_the_same(make_loop):
    shots = []
    for scale in (1.0, 2.0):
        window = Headless((round(1280 * scale), round(720 * scale)), scale)
        one = make_loop(SlowModel(), window=window, side=512).ready()
        one.tick(3)
        shot = window.screen()[:, : round(220 * scale)]
        shots.append(
            pygame.surfarray.array3d(pygame.transform.smoothscale(surface_of(shot), (220, 720))).astype(int)
        )
        one.app.close()
    assert np.abs(shots[0] - shots[1]).mean() < 8


@pytest.mark.parametrize("size", [(1280, 720), (1280, 660), (800, 560), (602, 498)])
def test_every_control_is_inside_a_small_window(make_loop, size):
    """If the window is lower than the panel, scrolling the panel to its end brings the control into view."""
    window = Headless(size)
    one = make_loop(SlowModel(), window=window)
    one.tick(2)
    whole = pygame.Rect((0, 0), size)
    panel = window.panel
    elements = (*panel.buttons, *panel.sliders.values(), panel.seed, panel.bar.prompt, panel.bar.menu)
    seen = [whole.contains(element.rect) for element in elements]
    panel.scroll_to(10_000, size[1])
    scrolled = panel.scroll_px > 0
    assert scrolled == (not all(seen))
    assert all(before or whole.contains(element.rect) for before, element in zip(seen, elements, strict=True))
    assert not any(a.rect.colliderect(b.rect) for a, b in combinations(panel.buttons, 2))
    assert panel.bar.prompt.rect.width > 100
    assert all(whole.contains(box) for box in window.panel.swatches.boxes)


def surface_of(shot: np.ndarray) -> pygame.Surface:
    return pygame.image.frombuffer(np.ascontiguousarray(shot), (shot.shape[1], shot.shape[0]), "RGB")


def test_ticks_leave_time_for_the_model(make_loop):
    one = make_loop(SlowModel(0.02), side=512).ready()
    del one.app.stats.tick_ms[:]
    one.do(Begin(Brush((200, 30, 30), 60, 0.5, 0.8), (100, 100, 0.8)))
    for i in range(120):
        one.do(Extend(tuple((100 + 2 * i + k / 2, 100 + 2 * i, 0.8) for k in range(4))))
        one.tick()
    assert np.median(one.app.stats.tick_ms) < 8  # under 2 on an idle core; margin for a busy machine


def test_the_fonts_are_here_with_their_licence():
    fonts = Path(ROOT) / "assets" / "fonts"
    assert {path.name for path in fonts.iterdir()} >= {"NotoSans-Regular.ttf", "NotoSans-Bold.ttf", "OFL.txt"}
