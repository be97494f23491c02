"""Picture requests: when a request is submitted, with which effort, and which results are shown."""

from __future__ import annotations

import cv2
import numpy as np

from models.api import NOTHING, Failure, Frame, Rect, Request
from renderer.canvas.canvas import Canvas
from renderer.live import Live
from renderer.model_switcher import ModelSwitcher
from renderer.runtime import pacing
from renderer.runtime.engine import Engine
from renderer.runtime.latency import RunStatistics
from renderer.scene import Scene


class PictureRequests:
    """Submits requests to the engine and collects its results; owns sequence and epoch numbers.

    picture: the frame shown last. epoch: changes with model, prompt, seed or mood; frames of an older epoch
    are refused.
    """

    def __init__(
        self,
        canvas: Canvas,
        scene: Scene,
        engine: Engine,
        switcher: ModelSwitcher,
        stats: RunStatistics,
        live: Live,
        *,
        now_s: float,
    ):
        self.picture: Frame | None = None
        self.sequence = self.epoch = 0
        self._canvas, self._scene, self._engine, self._switcher = canvas, scene, engine, switcher
        self._stats, self._live = stats, live
        self._answered = 0  # newest sequence with a result
        self._new_epoch = False  # the next request starts a new epoch
        self._quiet_calls: int | None = None  # the engine's calls when the picture was final
        self._dirty = NOTHING
        self._last_edit_s = now_s
        self._asked: Request | None = None  # the newest request
        self._effort: dict[tuple[int, int], float] = {}  # (steps, side) -> mean frame time
        self._choice = (scene.params.steps, canvas.width)

    def mark_dirty(self, box: Rect, now_s: float, *, input_s: float | None = None) -> None:
        """Mark a box of the paper as changed: the next `submit` requests a new picture.

        input_s: time of the input event that caused it, for measuring latency.
        """
        self._dirty = self._dirty.union(box)
        self._last_edit_s = now_s
        if input_s is not None and self._engine.state == "ready":
            self._stats.input(input_s, self.sequence + 1)

    def start_epoch(self) -> None:
        """Begin a new epoch with the next request; pictures of the old one are then refused."""
        self._new_epoch = True

    def restart(self) -> None:
        """Forget pictures and frame times of the previous model, after another one begins to serve."""
        self._effort.clear()
        self._dirty = self._canvas.whole
        self.epoch += 1

    def submit(self, now_s: float) -> None:
        """Request a picture if anything changed, or a finer one while the pen is idle."""
        if self._engine.state != "ready" or not self._switcher.up_to_date:
            return  # no model, or a new one since this tick's poll, which starts a new epoch
        params, side = self._scene.params, self._canvas.width
        if not self._dirty.empty:
            if self._new_epoch:
                shown = self.picture.request.epoch if self.picture else -1
                if self.epoch > shown and self._answered < self.sequence:
                    return  # wait for the epoch's first frame: else a moving slider would refuse every frame
                self.epoch, self._new_epoch = self.epoch + 1, False
            self._choice = pacing.choose_effort(
                params.target_fps, self._effort, params.steps, side, self._choice
            )
            self._ask(*self._choice)
        elif self._asked is not None and not self._engine.busy and self.picture is not None:
            shown = self.picture.request
            if shown.sequence != self._asked.sequence:
                return
            steps = pacing.next_refinement(shown.steps, params.steps, now_s, self._last_edit_s)
            card = self._engine.card
            if steps is not None and card is not None and steps in card.steps:
                self._ask(steps, side)
            elif shown.paper.shape[1] != side and now_s - self._last_edit_s > pacing.REST_S:
                self._ask(params.steps, side)

    def collect(self, now_s: float) -> list[Failure]:
        """Collect results and show the newest; refuse those older than the picture or of another epoch.

        Returns the failures."""
        failures = []
        while (result := self._engine.poll()) is not None:
            request = result.request
            self._answered = max(self._answered, request.sequence)
            newest = self.picture.request.sequence if self.picture else -1
            if isinstance(result, Failure):
                self._live.failed(request.sequence)
                failures.append(result)
            elif request.epoch != self.epoch or request.sequence <= newest:
                self._stats.stale += 1
            else:
                self.show(result, now_s)
        return failures

    def count_idle_calls(self, now_s: float) -> None:
        """Count renders that began although nothing had changed and the picture was final."""
        calls = self._engine.calls
        if self._quiet_calls is not None and calls > self._quiet_calls:
            self._stats.idle_calls += calls - self._quiet_calls
        self._quiet_calls = calls if self.at_rest(now_s) else None

    def at_rest(self, now_s: float) -> bool:
        """Whether the picture shows the present paper and cannot be refined further."""
        asked, picture = self._asked, self.picture
        if asked is None or picture is None or not self._dirty.empty or self._engine.busy:
            return False
        shown = picture.request.sequence == asked.sequence
        return shown and pacing.next_refinement(asked.steps, self._scene.params.steps, now_s, 0.0) is None

    def _ask(self, steps: int, side: int) -> None:
        """Submit a request for a picture `side` pixels wide."""
        self.sequence += 1
        paper, materials = self._paper()
        width, height = self._canvas.width, self._canvas.height
        if side != width:
            height = max(pacing.SMALLEST_SIDE_PX, height * side // width // 32 * 32)
            paper = cv2.resize(paper, (side, height), interpolation=cv2.INTER_AREA)
            materials = cv2.resize(materials, (side, height), interpolation=cv2.INTER_NEAREST)
            paper.flags.writeable = materials.flags.writeable = False
        self._asked = self._scene.params.request(
            paper,
            materials=materials,
            sequence=self.sequence,
            epoch=self.epoch,
            dirty=self._dirty,
            steps=steps,
        )
        self._live.sent(self.sequence, self._dirty)
        self._dirty = NOTHING
        self._engine.submit(self._asked)

    def _paper(self) -> tuple[np.ndarray, np.ndarray]:
        """Snapshots of pixels and materials, including the live source if there is one."""
        if self._live.active:
            return self._live.snapshot()
        return self._canvas.snapshot(), self._canvas.snapshot_materials()

    def show(self, frame: Frame, now_s: float) -> None:
        """Show a frame."""
        total_ms, scene = sum(frame.stage_ms.values()), self._scene
        self.picture = frame
        self._stats.frame(now_s, frame.stage_ms)
        self._live.answered(frame.request.sequence, total_ms)
        self._effort = pacing.learnt(self._effort, (frame.request.steps, frame.picture.shape[1]), total_ms)
        picture, size = frame.picture, (self._canvas.width, self._canvas.height)
        if picture.shape[1::-1] != size:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        scene.picture, scene.picture_new = picture, True
        scene.notes, scene.why_not_faster = frame.notes, frame.why_not_faster
        card, look = scene.card, frame.request.look
        if card is not None and look not in card.looks:
            scene.notes = (f"{card.name} has no look {look!r} and ignores it", *frame.notes)
        scene.ink.shown(frame.request.sequence)
