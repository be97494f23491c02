"""Every tool can be reached in windows from 640x400 to 4K and for papers of any shape."""

from __future__ import annotations

import pygame
import pytest
from loop_harness import LoopHarness, SlowModel

from models.api import MATERIALS
from renderer.actions import InputError
from renderer.ui.headless import Headless
from renderer.ui.window import Window
from renderer.ui.work_area import desktop_scale, sdl, work_area


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((640, 400), 1.0),
        ((1024, 560), 1.0),
        ((1280, 720), 1.0),
        ((1280, 720), 2.0),
        ((1920, 1040), 1.5),
        ((3840, 2100), 2.0),
    ],
    ids=str,
)
def test_every_tool_can_be_reached(make_loop, size, scale):
    one = make_loop(SlowModel(), window=Headless(size, scale))
    one.tick(2)
    panel, layout = one.window.panel, one.window.layout(one.app.scene)
    window = pygame.Rect((0, 0), size)
    parts = {name: element for element, name in panel.buttons.items()} | panel.sliders
    reached = {name for name, part in parts.items() if window.contains(part.rect)}
    pygame.mouse.set_pos(20, 50)
    for _ in range(40):
        wheel = pygame.event.Event(pygame.MOUSEWHEEL, y=-1, x=0)
        one.window.read([wheel], 0.0, one.app.scene)
        reached |= {name for name, part in parts.items() if window.contains(part.rect)}
    assert reached == set(parts)
    assert panel.theme.scale >= 0.75 * scale
    bottom = max(part.rect.bottom for part in parts.values() if part.rect.x < layout.panel.x1)
    assert bottom <= size[1]
    assert one.window.tools.brush.size_px == 40  # scrolling over the panel keeps the brush size


def test_a_scrolled_palette_is_where_it_is_drawn(make_loop):
    one = make_loop(SlowModel(), window=Headless((800, 400), 1.0))
    one.tick(2)
    before = one.window.panel.swatches.boxes[5].center
    pygame.mouse.set_pos(20, 50)
    one.window.read([pygame.event.Event(pygame.MOUSEWHEEL, y=-1, x=0)], 0.0, one.app.scene)
    one.tick(2)
    after = one.window.panel.swatches.boxes[5].center
    assert after[1] < before[1]
    color = one.window.screen()[after[1] - 8, after[0]]
    assert one.window.panel.swatches.at(after) == 5 and tuple(color) == MATERIALS[5].color


@pytest.mark.parametrize("canvas", [(1024, 576), (256, 2048), (2048, 256), (320, 512)], ids=str)
def test_papers_of_any_shape_are_painted_on(make_loop, canvas):
    one: LoopHarness = make_loop(SlowModel(), side=canvas)
    one.tick(2)
    paper, picture = one.window.layout(one.app.scene).panes
    assert paper.box.width / paper.box.height == pytest.approx(canvas[0] / canvas[1], rel=0.02)
    assert picture.scale == paper.scale
    x, y = (paper.box.x0 + paper.box.x1) // 2, (paper.box.y0 + paper.box.y1) // 2
    events = [
        pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=(x, y), button=1, touch=False),
        pygame.event.Event(pygame.MOUSEBUTTONUP, pos=(x, y), button=1, touch=False),
    ]
    one.pending += one.window.read(events, 0.0, one.app.scene)
    one.tick(2)
    assert one.app.canvas.pixels[canvas[1] // 2, canvas[0] // 2, 3] == 255


def test_the_work_area_is_on_the_screen():
    Headless()
    assert sdl() is not None  # private API of pygame: SDL
    assert pygame.Rect((0, 0), pygame.display.get_desktop_sizes()[0]).contains(work_area())


def test_the_desktop_sets_the_scale(monkeypatch):
    Headless()
    monkeypatch.setenv("QT_SCALE_FACTOR", "1.75")
    assert desktop_scale() == 1.75
    monkeypatch.setenv("QT_SCALE_FACTOR", "nonsense")
    monkeypatch.setattr(pygame.display, "get_desktop_sizes", lambda: [(3840, 2160)])
    assert desktop_scale() == 2.0


@pytest.mark.parametrize("scale", [0.1, 9.0, float("nan")])
def test_a_scale_that_does_not_work(scale):
    with pytest.raises(InputError, match="--scale"):
        Window(scale=scale)
