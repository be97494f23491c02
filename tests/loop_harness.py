"""Harness that drives the real loop tick by tick, and a stand-in model that can be slow or fail.

The stand-in model is only for tests that need a slow or failing model.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from models.api import Frame, ModelCard, Rect, Request
from renderer.actions import Begin, Brush, End, Event, Extend
from renderer.app import App
from renderer.canvas.canvas import Canvas
from renderer.model_switcher import explicit_settings
from renderer.picture_params import PictureParams
from renderer.ui.headless import Headless

ROOT = Path(__file__).resolve().parent.parent
RED = Brush((200, 30, 30), size_px=24)
SHARP = Brush((200, 30, 30), size_px=20, hardness=1.0)


def stroke(canvas: Canvas, *points: tuple[float, float], brush: Brush = SHARP, pressure: float = 1.0) -> Rect:
    """Apply a whole stroke to a canvas; return the changed area."""
    first, *rest = [(x, y, pressure) for x, y in points]
    changed = canvas.apply(Begin(brush, first))
    changed = changed.union(canvas.apply(Extend(tuple(rest))))
    return changed.union(canvas.apply(End()))


def differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H, W) bool mask of the pixels that differ between two pictures."""
    return (a != b).any(-1)


class SlowModel:
    """Model that returns the paper over grey after `seconds` or when `gate` opens; can be made to fail."""

    def __init__(self, seconds: float = 0.0, gate: threading.Event | None = None):
        self.seconds, self.gate = seconds, gate
        self.card = ModelCard("slow", weights_hash="0123456789abcdef")
        self.requests: list[Request] = []
        self.threads: set[int] = set()
        self.serving = threading.Event()
        self.failures: list[BaseException] = []
        self.torn = 0  # papers that changed during a render call
        self.closed = 0

    def __call__(self) -> SlowModel:
        return self

    def render(self, request: Request, **_) -> Frame:
        self.requests.append(request)
        self.threads.add(threading.get_ident())
        self.serving.set()
        before = request.paper.tobytes()
        if self.gate is not None:
            self.gate.wait(10)
        time.sleep(self.seconds)
        self.torn += before != request.paper.tobytes()
        if self.failures:
            raise self.failures.pop(0)
        paper = request.paper.astype(np.float32)
        alpha = paper[..., 3:] / 255
        picture = (paper[..., :3] * alpha + 128 * (1 - alpha)).astype(np.uint8)
        return Frame(request, picture, {"denoise": self.seconds * 1e3})

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        return 1.0

    def close(self) -> None:
        self.closed += 1


class LoopHarness:
    """The real loop without a display, with events injected by a test into the next tick."""

    def __init__(
        self,
        load,
        *,
        side: int | tuple[int, int] = 256,
        params: PictureParams | None = None,
        window=None,
        **options,
    ):
        """load: loads the model, whatever its name. options: passed to App."""
        size = (side, side) if isinstance(side, int) else side
        self.window = window or Headless()
        self.pending: list[Event] = []
        poll = self.window.poll
        self.window.poll = lambda now_s, scene: [*poll(now_s, scene), *self.take_pending()]
        if params is not None:
            options.setdefault("explicit", explicit_settings(params))
        self.app = App(
            self.window, lambda name, progress: load, params or PictureParams(), size=size, **options
        )

    def take_pending(self) -> list[Event]:
        events, self.pending = self.pending, []
        return events

    @property
    def messages(self) -> list[str]:
        """Message texts shown in the window now."""
        return [message.text for message in self.app.scene.messages]

    def do(self, *actions, at_s: float | None = None) -> None:
        """Queue actions for the next tick, timestamped now or `at_s`."""
        now_s = time.perf_counter() if at_s is None else at_s
        self.pending += [Event(action, now_s) for action in actions]

    def stroke(self, *points: tuple[float, float], brush: Brush = RED) -> None:
        first, *rest = [(x, y, 0.8) for x, y in points]
        self.do(Begin(brush, first), Extend(tuple(rest)), End())

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.app.tick()

    def rewound(self) -> None:
        """Apply pending actions and wait until the rewound paper is rebuilt."""
        self.tick()
        self.until(lambda: not self.app.rewind.busy)

    def until(self, condition, timeout_s: float = 20.0) -> None:
        """Run the loop until the condition holds; fail the test if it never does."""
        end_s = time.perf_counter() + timeout_s
        while not condition():
            assert time.perf_counter() < end_s, "waited in vain"
            self.app.step()

    def ready(self) -> LoopHarness:
        """Run the loop until the model is loaded and the picture is fully refined."""
        self.until(lambda: self.app.picture is not None)
        self.rest()
        return self

    def rest(self) -> None:
        requests = self.app.requests
        self.app.step()
        self.until(lambda: requests.picture.request.sequence == requests.sequence)
        self.until(lambda: requests.picture.request.steps == 4)

    @property
    def shown(self) -> int:
        """Sequence number of the frame on the screen."""
        return self.app.picture.request.sequence if self.app.picture else -1
