"""A real window on a virtual screen, driven by real mouse and key events; and its twin without a display."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pygame
import pytest
from conftest import ROOT, Desk, SlowModel

from models.api import MATERIALS
from renderer.actions import Begin, Brush, Command, Extend
from renderer.window import Headless, Window

TOOLS = ("Xvfb", "xdotool")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
needs_screen = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def screen():
    """A virtual screen of its own; its name, such as ":7"."""
    ready, writing = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writing),
        "-screen",
        "0",
        "1280x720x24",
        "-nolisten",
        "tcp",
        "-noreset",
    ]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(ready) as reader:
        number = reader.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait(10)


@pytest.fixture
def real(screen, monkeypatch, desk):
    """A maker of desks with a real window."""
    pygame.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setenv("DISPLAY", screen)

    def make(load, **settings) -> Desk:
        one = desk(load, window=Window((1280, 720), 1.0), **settings)
        one.tick(3)
        xdotool("windowfocus", window_id())
        one.tick(3)
        return one

    return make


def window_id() -> int:
    return pygame.display.get_wm_info()["window"]


def xdotool(*words) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True, timeout=20, stdout=subprocess.DEVNULL)


def act(one: Desk, *words) -> None:
    """Do it with the real pointer or keyboard, and let the loop see it."""
    xdotool(*words)
    end_s = time.monotonic() + 0.15
    while time.monotonic() < end_s:
        one.app.step()


def drag(one: Desk, *points: tuple[int, int]) -> None:
    act(one, "mousemove", *points[0], "mousedown", 1)
    for point in points[1:]:
        act(one, "mousemove", *point)
    act(one, "mouseup", 1)


def paper_box(one: Desk):
    return one.window.layout(one.app.scene).panes[0].box


def part(shot: np.ndarray, box) -> np.ndarray:
    return shot[box.y0 : box.y1, box.x0 : box.x1].astype(int)


@needs_screen
def test_a_hand_paints_and_the_models_picture_changes_there(real, painter):
    one = real(lambda: painter, side=256).ready()
    act(one, "key", "9")  # water
    act(one, "key", "bracketright", "key", "bracketright")
    paper, picture = (pane.box for pane in one.window.layout(one.app.scene).panes)
    before = one.app.picture.picture.copy()
    y = paper.y0 + paper.height // 4
    drag(one, *[(paper.x0 + round(paper.width * share), y) for share in (0.2, 0.4, 0.6, 0.8)])
    one.rest()
    painted = one.app.canvas.pixels[..., 3] > 0
    assert painted[64, 60:200].all()
    assert not painted[140:].any()
    assert tuple(one.app.canvas.pixels[64, 128, :3]) == MATERIALS[8].color
    change = np.abs(one.app.picture.picture.astype(int) - before).mean(-1)
    assert change[painted].mean() > 4 * change[200:].mean()
    assert change[painted].mean() > 2
    one.until(lambda: one.app.scene.ink.box.empty)
    one.tick(2)
    shot = one.window.screen()
    assert np.abs(part(shot, paper)[paper.height // 4, paper.width // 2] - MATERIALS[8].color).max() <= 1
    scaled = one.window.view.scaled(one.window.layout(one.app.scene).panes[1], picture)
    ring = np.abs(part(shot, picture) - scaled).max(-1) > 2  # the ring of the brush lies over it
    assert ring.mean() < 0.02


@needs_screen
def test_keys_and_buttons_of_a_real_window(real):
    one = real(SlowModel()).ready()
    box = paper_box(one)
    middle = ((box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2)
    drag(one, middle, (middle[0] + 60, middle[1]))
    assert not one.app.canvas.blank
    act(one, "key", "ctrl+z")
    assert one.app.canvas.blank
    act(one, "key", "ctrl+shift+z")
    assert not one.app.canvas.blank
    act(one, "key", "Delete")
    assert one.app.canvas.blank
    swatch = one.window.panel.swatches.boxes[5].center
    act(one, "mousemove", *swatch, "click", 1)
    assert one.window.hand.brush.color == MATERIALS[5].color
    strength = one.window.panel.sliders["strength"].rect
    act(one, "mousemove", strength.right - 8, strength.centery, "click", 1)
    assert one.app.look.strength > 0.9
    steps = next(b for b, name in one.window.panel.buttons.items() if name == "steps.3")
    act(one, "mousemove", *steps.rect.center, "click", 1)
    assert one.app.look.steps == 3
    act(one, "key", "Tab")
    assert one.app.scene.view == "ink"
    act(one, "key", "F1")
    assert one.app.scene.show_help
    act(one, "key", "Escape")
    assert not one.app.scene.show_help


@needs_screen
def test_the_prompt_is_typed_and_its_letters_are_no_shortcuts(real):
    one = real(SlowModel()).ready()
    tool = one.window.hand.tool
    act(one, "key", "Return")
    act(one, "type", "--delay", "20", "foggy lake")
    assert one.window.hand.tool == tool
    act(one, "key", "Return")
    assert one.app.look.prompt == "foggy lake"
    act(one, "key", "e")
    assert one.window.hand.tool == "eraser"


@needs_screen
def test_the_window_can_be_resized(real):
    one = real(SlowModel()).ready()
    xdotool("windowsize", window_id(), 1000, 640)
    end_s = time.monotonic() + 1
    while time.monotonic() < end_s:
        one.app.step()
    assert one.window.screen().shape == (640, 1000, 3)
    box = paper_box(one)
    drag(one, (box.x0 + 10, box.y0 + 10), (box.x0 + 90, box.y0 + 90))
    assert not one.app.canvas.blank


@needs_screen
@pytest.mark.skipif(sys.platform != "linux", reason="Mesa is Linux's")
def test_triton_can_be_imported_behind_an_open_window(screen):
    code = (
        "from renderer.window import Window; Window((640, 480), 1.0).flip(); "
        "assert 'LLVM' not in open('/proc/self/maps').read()"
    )
    env = {**os.environ, "SDL_VIDEODRIVER": "x11", "DISPLAY": screen}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, timeout=60)


def test_no_display_is_one_line():
    code = "from renderer.window import Window; from renderer.actions import InputError\n"
    code += "try: Window()\nexcept InputError as error: print(error)"
    env = {**os.environ, "SDL_VIDEODRIVER": "x11", "DISPLAY": ":987"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    assert "--headless" in lines[-1] and not done.stderr


# Without a display


def test_the_twins_have_the_same_methods():
    def methods(kind: type) -> dict[str, list[str]]:
        names = [name for name in dir(kind) if not name.startswith("_")]
        functions = {name: getattr(kind, name) for name in names if callable(getattr(kind, name))}
        return {name: list(inspect.signature(f).parameters) for name, f in functions.items()}

    assert methods(Window) == methods(Headless)


@pytest.mark.parametrize("view", ["side", "ink", "picture"])
@pytest.mark.parametrize("show_help", [False, True])
def test_what_is_drawn_bit_by_bit_is_what_is_drawn_at_once(desk, view, show_help):
    one = desk(SlowModel(0.01), side=256).ready()
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
        one.window.strip._next_s = float("inf")
        one.window.draw(scene, time.monotonic())
        shots.append(one.window.screen())
    assert np.array_equal(*shots)


def test_help_lists_every_key_and_any_key_leaves_it(desk):
    one = desk(SlowModel()).ready()
    plain = one.window.screen()
    one.do(Command("help"))
    one.tick(2)
    assert (one.window.screen() != plain).mean() > 0.3
    scene = one.app.scene
    left = one.window.read([pygame.event.Event(pygame.KEYDOWN, key=pygame.K_x, mod=0)], 1.0, scene)
    assert [event.action for event in left] == [Command("help")]


def test_an_idle_window_is_not_drawn(desk):
    one = desk(SlowModel()).ready()
    one.until(lambda: one.app.scene.ink.box.empty)
    one.tick(5)
    one.window.strip._next_s = float("inf")
    one.tick(1)
    drawn = []
    for _ in range(20):
        one.tick()
        drawn += one.window._boxes
    assert not drawn


def test_a_window_of_twice_the_scale_looks_the_same(desk):
    shots = []
    for scale in (1.0, 2.0):
        window = Headless((round(1280 * scale), round(720 * scale)), scale)
        one = desk(SlowModel(), window=window, side=512).ready()
        one.tick(3)
        shot = window.screen()[:, : round(220 * scale)]
        shots.append(
            pygame.surfarray.array3d(pygame.transform.smoothscale(surface_of(shot), (220, 720))).astype(int)
        )
        one.app.close()
    assert np.abs(shots[0] - shots[1]).mean() < 8


@pytest.mark.parametrize("size", [(1280, 720), (1280, 660), (1000, 560)])
def test_every_control_is_inside_a_low_window(desk, size):
    window = Headless(size)
    one = desk(SlowModel(), window=window)
    one.tick(2)
    whole = pygame.Rect((0, 0), size)
    assert all(
        whole.contains(element.rect) for element in (*window.panel.buttons, *window.panel.sliders.values())
    )
    assert all(whole.contains(box) for box in window.panel.swatches.boxes)


def surface_of(shot: np.ndarray) -> pygame.Surface:
    return pygame.image.frombuffer(np.ascontiguousarray(shot), (shot.shape[1], shot.shape[0]), "RGB")


def test_ticks_leave_time_for_the_model(desk):
    one = desk(SlowModel(0.02), side=512).ready()
    one.app.meter.tick_ms.clear()
    one.do(Begin(Brush((200, 30, 30), 60, 0.5, 0.8), (100, 100, 0.8)))
    for i in range(120):
        one.do(Extend(tuple((100 + 2 * i + k / 2, 100 + 2 * i, 0.8) for k in range(4))))
        one.tick()
    assert np.median(one.app.meter.tick_ms) < 8  # under 2 on an idle core; the rest is for a busy machine


def test_the_fonts_are_here_with_their_licence():
    fonts = Path(ROOT) / "assets" / "fonts"
    assert {path.name for path in fonts.iterdir()} >= {"NotoSans-Regular.ttf", "NotoSans-Bold.ttf", "OFL.txt"}
