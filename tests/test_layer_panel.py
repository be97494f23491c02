"""Tests of the layer panel and the layer keys through the window and the real loop."""

from __future__ import annotations

import pygame
import pytest
from loop_harness import LoopHarness, SlowModel

from renderer.actions import Fill
from renderer.ui.headless import Headless


@pytest.fixture
def one(make_loop) -> LoopHarness:
    loop = make_loop(SlowModel(), window=Headless((1280, 720), 1.0))
    loop.tick(2)
    press(loop, pygame.K_y)
    return loop


def send(one: LoopHarness, *events: pygame.event.Event) -> None:
    one.pending += one.window.read(events, 0.0, one.app.scene)
    one.tick(2)


def press(one: LoopHarness, key: int, mod: int = 0) -> None:
    fields = {"key": key, "mod": mod, "unicode": "", "scancode": 0}
    send(one, pygame.event.Event(pygame.KEYDOWN, **fields), pygame.event.Event(pygame.KEYUP, **fields))


def click(one: LoopHarness, at: tuple[int, int]) -> None:
    fields = {"pos": at, "button": 1, "touch": False}
    send(
        one,
        pygame.event.Event(pygame.MOUSEBUTTONDOWN, **fields),
        pygame.event.Event(pygame.MOUSEBUTTONUP, **fields),
    )


def stack(one: LoopHarness):
    return one.app.canvas.stack


def box(one: LoopHarness):
    return one.window.layout(one.app.scene).layers


def button(one: LoopHarness, name: str) -> tuple[int, int]:
    return next(place.center for kind, place in one.window.layers.buttons(box(one)) if kind == name)


def row(one: LoopHarness, index: int) -> pygame.Rect:
    return next(
        place for at, place in one.window.layers.rows(box(one), len(stack(one).layers)) if at == index
    )


def test_every_button_changes_the_layers_and_undo_takes_it_back(one):
    click(one, button(one, "add"))
    assert len(stack(one).layers) == 2 and stack(one).active == 1
    click(one, button(one, "duplicate"))
    assert len(stack(one).layers) == 3
    click(one, button(one, "down"))
    assert stack(one).active == 1
    click(one, button(one, "up"))
    assert stack(one).active == 2
    click(one, button(one, "merge"))
    assert len(stack(one).layers) == 2
    click(one, button(one, "delete"))
    assert len(stack(one).layers) == 1
    press(one, pygame.K_z, pygame.KMOD_LCTRL)
    assert len(stack(one).layers) == 2


def test_rows_activate_hide_and_the_settings_are_of_the_active_layer(one):
    click(one, button(one, "add"))
    one.do(Fill((200, 30, 30), 5, 5))
    one.tick(2)
    click(one, (row(one, 1).x + 8, row(one, 1).centery))
    assert not stack(one).layers[1].settings.visible and one.app.canvas.blank
    click(one, (row(one, 1).x + 8, row(one, 1).centery))
    assert not one.app.canvas.blank
    click(one, one.window.layers.blend_box(box(one)).center)
    assert stack(one).layer.settings.blend == "multiply"
    click(one, one.window.layers.opacity_box(box(one)).center)
    assert stack(one).layer.settings.opacity == pytest.approx(0.5, abs=0.02)
    for name, _, place in one.window.layers.flags(box(one)):
        click(one, place.center)
        assert getattr(stack(one).layer.settings, name)
    click(one, row(one, 0).center)
    assert stack(one).active == 0
    assert not one.app.scene.rewind


def test_keys(one):
    press(one, pygame.K_INSERT)
    assert len(stack(one).layers) == 2
    press(one, pygame.K_PAGEDOWN)
    assert stack(one).active == 0
    press(one, pygame.K_PAGEDOWN)  # there is no layer below
    assert stack(one).active == 0
    press(one, pygame.K_PAGEUP)
    press(one, pygame.K_SLASH)
    assert stack(one).layer.settings.alpha_lock
    press(one, pygame.K_e, pygame.KMOD_LCTRL)
    assert len(stack(one).layers) == 1


def test_a_click_on_the_panel_does_not_paint_and_the_panes_make_room(one):
    layout = one.window.layout(one.app.scene)
    assert layout.panes[-1].area.x1 <= layout.layers.x0 and layout.bar.x1 <= layout.layers.x0
    click(one, (layout.layers.x0 + 3, layout.layers.y1 - 3))
    assert one.app.canvas.blank
    press(one, pygame.K_y)
    assert one.window.layout(one.app.scene).layers.empty


def test_many_layers_scroll(one):
    for _ in range(20):
        press(one, pygame.K_INSERT)
    layers = one.window.layers
    seen = {index for index, _ in layers.rows(box(one), 21)}
    pygame.mouse.set_pos(row(one, 20).center)
    for _ in range(20):
        send(one, pygame.event.Event(pygame.MOUSEWHEEL, x=0, y=-1))
        seen |= {index for index, _ in layers.rows(box(one), 21)}
    assert seen == set(range(21))
