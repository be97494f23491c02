"""A real X server without a screen (Xvfb), and a window of one colour on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

PAINT = """
import sys, pygame
pygame.display.init()
window = pygame.display.set_mode(pygame.display.get_desktop_sizes()[0], pygame.NOFRAME)
clock = pygame.time.Clock()
print("ready", flush=True)
for line in sys.stdin:
    window.fill(tuple(map(int, line.split())))
    for _ in range(3):
        pygame.event.pump(); pygame.display.flip(); clock.tick(60)
    print("shown", flush=True)
"""


class XServer:
    """display: its name, such as :99. show: fill all of it with one colour (r, g, b)."""

    def __init__(self, size: tuple[int, int] = (640, 480)):
        reads, writes = os.pipe()
        words = [
            "Xvfb",
            "-displayfd",
            str(writes),
            "-screen",
            "0",
            f"{size[0]}x{size[1]}x24",
            "-nolisten",
            "tcp",
        ]
        self._server = subprocess.Popen(words, pass_fds=(writes,), stderr=subprocess.DEVNULL)
        os.close(writes)
        with os.fdopen(reads) as told:
            self.display = f":{told.readline().strip()}"
        self._painter: subprocess.Popen | None = None

    @property
    def environment(self) -> dict[str, str]:
        named = {"DISPLAY": self.display, "SDL_VIDEODRIVER": "x11"}
        return {name: v for name, v in os.environ.items() if name != "WAYLAND_DISPLAY"} | named

    def show(self, color: tuple[int, int, int]) -> None:
        if self._painter is None:
            self._painter = subprocess.Popen(
                [sys.executable, "-c", PAINT],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            while "ready" not in self._painter.stdout.readline():
                assert self._painter.poll() is None
        print(*color, file=self._painter.stdin, flush=True)
        assert "shown" in self._painter.stdout.readline()

    def close(self) -> None:
        for process in (self._painter, self._server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)


@pytest.fixture
def xserver() -> Iterator[XServer]:
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb")
    server = XServer()
    yield server
    server.close()
