"""Pen pressure from an X server whose test driver emulates a tablet, and its effect on strokes."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pygame
import pytest
from loop_harness import SlowModel

from renderer.ui.tablet import open_tablet
from renderer.ui.tablet.x11 import X11Tablet
from renderer.ui.window import Window

DRIVERS = Path("/usr/lib/xorg/modules")
missing = [
    name
    for name, found in {
        "Xorg": shutil.which("Xorg"),
        "inputtest": (DRIVERS / "input/inputtest_drv.so").exists(),
        "dummy": (DRIVERS / "drivers/dummy_drv.so").exists(),
        "root": hasattr(os, "geteuid") and os.geteuid() == 0,
    }.items()
    if not found
]
needs_server = pytest.mark.skipif(bool(missing), reason=f"not there: {', '.join(missing)}")
CONFIG = """
Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AllowMouseOpenFail" "true"
EndSection
Section "Device"
  Identifier "card"
  Driver "dummy"
  VideoRam 32768
EndSection
Section "Monitor"
  Identifier "monitor"
  HorizSync 1-500
  VertRefresh 1-500
EndSection
Section "Screen"
  Identifier "screen"
  Device "card"
  Monitor "monitor"
  DefaultDepth 24
  SubSection "Display"
    Depth 24
    Modes "1280x720"
    Virtual 1280 720
  EndSubSection
EndSection
Section "InputDevice"
  Identifier "pen"
  Driver "inputtest"
  Option "SocketPath" "{socket}"
  Option "DeviceType" "PointerAbsolute"
  Option "PointerHasPressure" "true"
EndSection
Section "InputDevice"
  Identifier "keys"
  Driver "inputtest"
  Option "SocketPath" "{socket}-keys"
  Option "DeviceType" "Keyboard"
EndSection
Section "ServerLayout"
  Identifier "layout"
  Screen "screen"
  InputDevice "pen" "CorePointer"
  InputDevice "keys" "CoreKeyboard"
EndSection
"""
MOTION, BUTTON, SYNC, VERSION = 2, 4, 1, 0  # numbers of the driver's protocol, inputtestdrv(4)
VALUATORS, PRESSURE = 64, 4  # position axes are 0..65535, the pressure axis 0..1000


class Pen:
    """Emulates a pen through the test driver. Positions in screen pixels, pressure in 0..1."""

    def __init__(self, path: str):
        self._socket = socket.socket(socket.AF_UNIX)
        end_s = time.perf_counter() + 10
        while True:
            try:
                self._socket.connect(path)
                break
            except OSError:
                assert time.perf_counter() < end_s
                time.sleep(0.05)
        self._socket.settimeout(10)
        self._socket.sendall(struct.pack("<IIHH", 12, VERSION, 1, 0))
        assert self._socket.recv(12)

    def values(self, given: dict[int, float]) -> bytes:
        mask, numbers = bytearray(VALUATORS // 8), [0.0] * VALUATORS
        for axis, value in given.items():
            mask[axis // 8] |= 1 << axis % 8
            numbers[axis] = value
        return struct.pack("<I8s4x", 0, bytes(mask)) + struct.pack(f"<{2 * VALUATORS}d", *numbers, *numbers)

    def send(self, kind: int, head: bytes, values: bytes) -> None:
        head += bytes(-(8 + len(head)) % 8)  # doubles are aligned to 8 bytes
        self._socket.sendall(struct.pack("<II", 8 + len(head) + len(values), kind) + head + values)
        self._socket.sendall(struct.pack("<II", 8, SYNC))
        assert self._socket.recv(8)

    def move(self, x: float, y: float, pressure: float) -> None:
        self.send(
            MOTION,
            struct.pack("<I", 1),
            self.values({0: x * 65535 / 1279, 1: y * 65535 / 719, PRESSURE: pressure * 1000}),
        )

    def button(self, down: bool) -> None:
        self.send(BUTTON, struct.pack("<iiI", 0, 1, down), self.values({}))


@pytest.fixture
def pen(tmp_path, monkeypatch):
    path = tmp_path / "pen"
    (tmp_path / "xorg.conf").write_text(CONFIG.format(socket=path))
    ready, writing = os.pipe()
    command = ["Xorg", "-displayfd", writing, "-config", tmp_path / "xorg.conf", "-logfile", tmp_path / "log"]
    command += ["-noreset", "-nolisten", "tcp", "-novtswitch", "-sharevts"]
    server = subprocess.Popen(
        [*map(str, command)],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(ready) as reader:
        number = reader.readline().strip()
    if not number:
        pytest.fail((tmp_path / "log").read_text()[-2000:])
    pygame.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setenv("DISPLAY", f":{number}")
    yield Pen(str(path))
    pygame.quit()
    server.terminate()
    server.wait(10)


@needs_server
def test_pressure_of_a_pen_reaches_the_stroke(pen, make_loop):
    one = make_loop(SlowModel(), window=Window((1280, 720), 1.0), side=512)
    one.tick(3)
    tablet = one.window.tools.tablet
    assert isinstance(tablet, X11Tablet) and tablet.devices >= 1
    box = one.window.layout(one.app.scene).panes[0].box
    place = one.window.handle.position

    def at(x: float, y: float) -> tuple[float, float]:
        return place[0] + box.x0 + x, place[1] + box.y0 + y

    def stroke(y: float, pressures: list[float]) -> None:
        pen.move(*at(60, y), pressures[0])
        one.tick(2)
        pen.button(True)
        one.tick(2)
        for i, pressure in enumerate(pressures):
            pen.move(*at(60 + 20 * (i + 1), y), pressure)
            one.tick(1)
        pen.button(False)
        one.tick(2)

    def height(x: int, y: int) -> int:
        return int((one.app.canvas.pixels[y - 40 : y + 40, x, 3] > 127).sum())

    one.window.tools.brush = one.window.tools.brush.__class__(size_px=40, hardness=1.0)
    stroke(100, [i / 18 for i in range(19)])
    thin, middle, thick = height(90, 100), height(250, 100), height(420, 100)
    assert thin < middle - 4 < thick - 8 and thick == pytest.approx(39, abs=3)
    stroke(200, [1.0] * 19)
    assert {height(x, 200) for x in (100, 250, 400)} <= {39, 40, 41}  # only pressure counts, not speed
    one.window.tools.dynamics = "opacity"
    stroke(300, [i / 18 for i in range(19)])
    faint, full = (int(one.app.canvas.pixels[300, x, 3]) for x in (110, 420))
    assert faint < 120 < full and full > 220
    one.window.tools.dynamics = "none"
    stroke(400, [0.3] * 19)
    assert {height(x, 400) for x in (100, 250, 400)} <= {39, 40, 41}
    assert np.all(one.app.canvas.pixels[400, 100:400, 3] == 255)


def test_where_there_is_no_pen_there_is_no_tablet():
    assert open_tablet("dummy") is None
