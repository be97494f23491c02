"""A window on a virtual screen, driven by real mouse and key events, and the headless window."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pygame
import pytest
from loop_harness import ROOT, LoopHarness, SlowModel

from models.api import MATERIALS
from renderer.ui.window import Window

TOOLS = ("Xvfb", "xdotool")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
needs_screen = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def screen(request):
    """Start a virtual screen; yields its name, such as ":7". The optional parameter is its size."""
    ready, writing = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writing),
        "-screen",
        "0",
        f"{getattr(request, 'param', '1280x720')}x24",
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
def real(screen, monkeypatch, make_loop):
    """Factory of loops with a real window."""
    pygame.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setenv("DISPLAY", screen)

    def make(load, *, size=(1280, 720), **settings) -> LoopHarness:
        one = make_loop(load, window=Window(size, 1.0), **settings)
        one.tick(3)
        xdotool("windowfocus", window_id())
        one.tick(3)
        return one

    return make


def window_id() -> int:
    return pygame.display.get_wm_info()["window"]


def xdotool(*words) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True, timeout=20, stdout=subprocess.DEVNULL)


def act(one: LoopHarness, *words) -> None:
    """Send real pointer or keyboard input by xdotool and let the loop process it."""
    xdotool(*words)
    turn(one, 0.15)


def turn(one: LoopHarness, seconds: float) -> None:
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        one.app.step()


def drag(one: LoopHarness, *points: tuple[int, int]) -> None:
    act(one, "mousemove", *points[0], "mousedown", 1)
    for point in points[1:]:
        act(one, "mousemove", *point)
    act(one, "mouseup", 1)


def paper_box(one: LoopHarness):
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
    scaled = one.window.panes.scaled(one.window.layout(one.app.scene).panes[1], picture)
    ring = np.abs(part(shot, picture) - scaled).max(-1) > 2  # the brush ring covers part of it
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
    assert one.window.tools.brush.color == MATERIALS[5].color
    act(one, "mousemove", *one.window.panel.hex.rect.center, "click", 1, "key", "ctrl+a")
    act(one, "type", "--delay", "20", "#c03a80")
    act(one, "key", "Return")
    assert one.window.tools.brush.color == (0xC0, 0x3A, 0x80) and one.window.tools.brush.material == 0
    strength = one.window.panel.sliders["strength"].rect
    act(one, "mousemove", strength.right - 8, strength.centery, "click", 1)
    assert one.app.scene.params.strength > 0.9
    steps = next(b for b, name in one.window.panel.buttons.items() if name == "steps.3")
    act(one, "mousemove", *steps.rect.center, "click", 1)
    assert one.app.scene.params.steps == 3
    act(one, "key", "Tab")
    assert one.app.scene.view == "ink"
    act(one, "key", "F1")
    assert one.app.scene.show_help
    act(one, "key", "Escape")
    assert not one.app.scene.show_help
    buttons = {name: button for button, name in one.window.panel.buttons.items()}
    act(one, "mousemove", *buttons["rewind"].rect.center, "click", 1)
    assert one.app.scene.rewind is not None and buttons["rewind"].is_selected
    act(one, "key", "Escape")
    assert one.app.scene.rewind is None
    bar = one.window.panel.bar
    act(one, "mousemove", *bar.menu.rect.center, "click", 1)
    assert bar.menu_open()
    act(one, "key", "Escape")
    assert not bar.menu_open()


@needs_screen
def test_the_prompt_is_typed_and_its_letters_are_no_shortcuts(real):
    one = real(SlowModel()).ready()
    tool = one.window.tools.tool
    act(one, "key", "Return")
    act(one, "type", "--delay", "20", "foggy lake")
    assert one.window.tools.tool == tool
    act(one, "key", "Return")
    assert one.app.scene.params.prompt == "foggy lake"
    act(one, "key", "e")
    assert one.window.tools.tool == "eraser"
    box = paper_box(one)
    act(one, "key", "Return")
    act(one, "type", "--delay", "20", " at dusk")
    act(one, "mousemove", box.x0 + 9, box.y0 + 9, "click", 1)
    assert one.app.scene.params.prompt == "foggy lake at dusk"
    assert one.app.canvas.blank  # the click only unfocused the prompt
    act(one, "key", "Return")
    act(one, "type", "x")
    act(one, "key", "Escape")
    assert one.window.panel.bar.prompt.get_text() == one.app.scene.params.prompt == "foggy lake at dusk"


@needs_screen
def test_zoom_pan_mirror_and_painting_in_a_zoomed_view(real):
    one = real(SlowModel(), side=256).ready()
    tools, box = one.window.tools, paper_box(one)
    act(one, "mousemove", 5, 5)  # no brush ring over the paper
    before = one.window.screen()
    x, y = box.x0 + box.width // 4, box.y0 + box.height // 4
    act(one, "mousemove", x, y)
    point = one.window.layout(one.app.scene).panes[0].canvas_at(x, y)
    act(one, "keydown", "ctrl")
    act(one, "click", "--repeat", 6, 4)
    act(one, "keyup", "ctrl")
    one_pane, two_pane = one.window.layout(one.app.scene).panes
    assert one_pane.scale > 5 and one_pane.canvas_at(x, y) == pytest.approx(point, abs=0.6)
    assert two_pane.view.scale == one_pane.view.scale and two_pane.view.center == one_pane.view.center
    drag(one, (x, y), (x + 60, y))
    painted = np.argwhere(one.app.canvas.pixels[..., 3])[:, ::-1]  # (x, y)
    assert (painted.min(0) < (point[0], point[1])).all() and painted[:, 0].max() >= point[
        0
    ] + 60 / one_pane.scale
    assert painted[:, 1].max() < point[1] + tools.brush.size_px
    act(one, "mousemove", x, y, "mousedown", 2, "mousemove", x - 50, y + 20, "mouseup", 2)
    assert one.window.layout(one.app.scene).panes[0].canvas_at(x - 50, y + 20) == pytest.approx(
        point, abs=0.6
    )
    act(one, "keydown", "space", "mousedown", 1, "mousemove", x, y, "mouseup", 1, "keyup", "space")
    assert one.window.layout(one.app.scene).panes[0].canvas_at(x, y) == pytest.approx(point, abs=0.6)
    act(one, "key", "m")
    assert tools.navigation.settings.mirrored
    act(one, "key", "ctrl+bracketright")
    assert tools.navigation.settings.rotation_deg == 15
    act(one, "key", "ctrl+1")
    assert one.window.layout(one.app.scene).panes[0].scale == 1
    act(one, "key", "ctrl+0")
    assert tools.navigation.settings.default
    act(one, "key", "ctrl+z", "mousemove", 5, 5)
    one.rest()
    one.until(lambda: one.app.scene.ink.box.empty)
    one.tick(3)
    different = np.argwhere((part(one.window.screen(), box) != part(before, box)).any(-1))
    assert not len(different), different


@needs_screen
@pytest.mark.parametrize("screen", ["1024x600", "1280x720"], indirect=True)
@pytest.mark.parametrize("manager", [None, "openbox"])
def test_full_screen_and_back_ten_times(real, manager):
    if manager is not None and shutil.which(manager) is None:
        pytest.skip(f"{manager} is not installed")
    running = subprocess.Popen([manager]) if manager else None
    while (
        running is not None
        and subprocess.run(["xdotool", "get_num_desktops"], capture_output=True).returncode
    ):
        assert running.poll() is None
        time.sleep(0.05)  # a window opened while the manager starts would wait forever
    try:
        one = real(SlowModel(), size=(800, 560)).ready()
        desktop = pygame.display.get_desktop_sizes()[0]
        turn(one, 0.4)
        place, size = one.window.handle.position, one.window.screen().shape
        for _ in range(10):
            act(one, "key", "F11")
            one.until(lambda: one.window.screen().shape[:2] == (desktop[1], desktop[0]))
            assert one.window.handle.position == (0, 0)
            act(one, "key", "F11")
            one.until(lambda: one.window.screen().shape == size)
        turn(one, 0.4)
        assert one.window.handle.position == place
    finally:
        if running is not None:
            running.terminate()
            running.wait(10)


@needs_screen
def test_the_window_can_be_resized(real):
    one = real(SlowModel()).ready()
    xdotool("windowsize", window_id(), 1000, 640)
    end_s = time.perf_counter() + 1
    while time.perf_counter() < end_s:
        one.app.step()
    assert one.window.screen().shape == (640, 1000, 3)
    box = paper_box(one)
    drag(one, (box.x0 + 10, box.y0 + 10), (box.x0 + 90, box.y0 + 90))
    assert not one.app.canvas.blank


@needs_screen
@pytest.mark.skipif(sys.platform != "linux", reason="Mesa is Linux's")
def test_triton_can_be_imported_behind_an_open_window(screen):
    code = (
        "from renderer.ui.window import Window; Window((640, 480), 1.0).flip(); "
        "assert 'LLVM' not in open('/proc/self/maps').read()"
    )
    env = {**os.environ, "SDL_VIDEODRIVER": "x11", "DISPLAY": screen}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always one")
def test_no_display_is_one_line():
    hidden = ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    line = [sys.executable, "main.py", "paint", "--seconds", "1"]
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("flowbrush: error: no window can be opened") and "--headless" in done.stderr
    assert done.stderr.count("\n") == 1
