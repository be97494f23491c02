"""What is filmed: which part of the window, how often, and under which name it is kept."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from renderer.cli.settings import Paint
from renderer.recording.recorder import Recorder
from renderer.runtime.engine import Engine
from renderer.scene import Scene
from renderer.ui.window import Window

MOST_HZ = 30.0  # pictures a second where no constant rate is asked for
SLOWEST = 8  # times fewer where the encoder does not keep up
CROWDED, ROOMY = 0.75, 0.5  # shares of the recorder's queue
SLOW_AFTER_S, FAST_AFTER_S = 0.5, 5.0  # between two changes of the rate
RING_HZ = 10.0  # and while none is filmed: what is only kept in memory shall cost a third


def slower(now: int, fill: float, since_s: float) -> int:
    """How many times fewer pictures are taken than was asked for: 1, 2, 4 or 8.

    now: at present, for `since_s` seconds. fill: share of the recorder's queue that is taken. There is no
    faster preset to fall back to: the one that is used is x264's fastest.
    """
    if fill > CROWDED and since_s >= SLOW_AFTER_S:
        return min(SLOWEST, now * 2)
    if fill <= ROOMY and since_s >= FAST_AFTER_S:
        return max(1, now // 2)
    return now


class WindowCapture:
    """Shows the recorder what changed in the window, never more often than it shall be.

    slow: times fewer pictures are taken than was asked for. slowest: the most that it was while filming.
    """

    def __init__(self, recorder: Recorder, layout: str, folder: Path, engine: Engine | None = None):
        """layout: one of outputs.LAYOUTS. folder: for films that are begun with a key.

        engine: pictures are encoded while it rests. Without one, as they come.
        """
        self.recorder, self.layout, self.folder, self._engine = recorder, layout, folder, engine
        if engine is not None:
            engine.at_rest = lambda: recorder.pulse(True)
        self.slow = self.slowest = 1
        self._slow_s = 0.0  # since when
        self._next_s = 0.0
        self._owed = True  # something changed that was not shown yet

    @classmethod
    def of(cls, settings: Paint, folder: Path, engine: Engine | None = None) -> WindowCapture:
        """The camera that was asked for, filming already where a file was named."""
        recorder = Recorder(fps=settings.record_fps, ring_s=settings.keep_seconds)
        if settings.record is not None:
            recorder.start(settings.record)
        return cls(recorder, settings.layout, folder, engine)

    def see(self, window: Window, scene: Scene, shown_s: float) -> None:
        """The window was updated at this monotonic time. Copies what is filmed; takes no longer than that."""
        if self._engine is not None:
            self.recorder.pulse(not self._engine.busy)
        scene.recording = self.words(shown_s)
        self.shoot(window, shown_s)

    def shoot(self, window: Window, shown_s: float) -> None:
        """Hand a picture to the recorder if it is time for one."""
        recorder = self.recorder
        self._owed |= window.all_new if self.layout == "window" else window.panes_new
        if not self._owed or shown_s < self._next_s or not (recorder.filming or recorder.ring):
            return
        slow = slower(self.slow, recorder.fill, shown_s - self._slow_s)
        if slow != self.slow:
            self.slow, self._slow_s = slow, shown_s
        self.slowest = max(self.slowest, slow if recorder.filming else 1)
        interval_s = 1 / self.hz
        self._next_s = max(self._next_s + interval_s, shown_s + interval_s / 2)
        self._owed = False
        recorder.offer(self.picture(window), shown_s)

    @property
    def hz(self) -> float:
        """Pictures a second, at most."""
        wanted = max(self.recorder.fps, MOST_HZ) if self.recorder.filming else RING_HZ
        return wanted / self.slow

    def picture(self, window: Window) -> np.ndarray:
        """A copy of what is filmed: (H, W, 3) RGB, or (H, W, 4) BGRA of the whole window; uint8."""
        if self.layout == "window":
            shot = window.pixels()
            return self.filled(shot.shape, shot)
        panes = window.panes
        if self.layout != "side":
            return self.filled(panes.paper.shape, getattr(panes, self.layout))
        height, width, depth = panes.paper.shape
        return self.filled((height, 2 * width, depth), panes.paper, panes.picture)

    def filled(self, shape: tuple[int, ...], *parts: np.ndarray) -> np.ndarray:
        """An array with the parts side by side, one that was used before if there is one of this shape."""
        spare = self.recorder.spare
        target = spare.popleft() if spare else None
        if target is None or target.shape != shape:
            target = np.empty(shape, np.uint8)
        x = 0
        for part in parts:
            target[:, x : x + part.shape[1]] = part
            x += part.shape[1]
        return target

    def words(self, now_s: float) -> str:
        """One line for the HUD; empty where nothing is recorded or kept."""
        recorder = self.recorder
        held = f"{recorder.ring.bytes / 1e6:.1f} MB kept" if recorder.ring else ""
        if not recorder.filming:
            return held
        minutes, seconds = divmod(int(now_s - recorder.began_s), 60)
        rate = f" at {self.hz:.0f} pictures a second" if self.slow > 1 else ""
        drops = f"recording {minutes}:{seconds:02}{rate}, {recorder.dropped} dropped"
        return f"{drops}, {held}" if held else drops

    def record(self) -> None:
        """Begin a film in the folder, or end the one under way."""
        if self.recorder.filming:
            self.recorder.stop()
        else:
            self.recorder.start(self.named("flowbrush-%Y%m%d-%H%M%S.mkv"))

    def keep(self) -> None:
        """Save the last seconds."""
        self.recorder.keep(self.named("flowbrush-%Y%m%d-%H%M%S-kept.mkv"))

    def named(self, pattern: str) -> Path:
        return self.folder / time.strftime(pattern)
