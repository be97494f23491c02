"""Live features of the app: a video source under or over the strokes, outputs, and OSC remote control."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from models.api import NOTHING, Rect
from renderer.actions import Action, Event, InputError
from renderer.canvas.canvas import Canvas
from renderer.canvas.storage.buffer_pool import BufferPool
from renderer.picture_params import PictureParams
from renderer.runtime import pacing
from renderer.runtime.latency import percentiles
from renderer.runtime.messages import NO_MESSAGE, Level, Message, Messages
from renderer.scene import Scene
from renderer.sources.flatten import FLATTENS
from renderer.sources.live_source import LayerSettings, LiveSource, Strokes
from renderer.sources.live_view import LiveView
from renderer.sources.source_thread import SourceThread

if TYPE_CHECKING:  # slow imports that most runs do not need
    from renderer.control.osc import OscServer
    from renderer.sinks.network_stream import NetworkStream
    from renderer.sinks.projector import Projector
    from renderer.sinks.virtual_camera import VirtualCamera
    from renderer.ui.view.panes import PanePixels

SEEK_S = 5.0  # per key press
STEP = 0.1  # of opacity and feedback, per key press
READY_S = 0.05  # a held-back frame is prepared this long before it is taken
SPACING = 0.45  # of a model frame: shortest interval between prepared source pictures
COMMANDS = (
    "source.pause", "source.show", "source.back", "source.forward", "source.over", "source.mirror",
    "source.flatten", "source.opacity.less", "source.opacity.more", "source.feedback.less",
    "source.feedback.more", "camera", "projector",
)  # fmt: skip


@dataclass(frozen=True)
class LiveParts:
    """Live parts that the command line creates. source: not started yet. stream: fed by the recorder.

    open_projector, open_camera: factories, called at the first key press. projector, camera: open at start.
    """

    source: SourceThread | None = None
    layer: LayerSettings = LayerSettings()  # noqa: RUF009  # frozen
    stream: NetworkStream | None = None
    osc: OscServer | None = None
    open_camera: Callable[[], VirtualCamera] | None = None
    open_projector: Callable[[], Projector] | None = None
    camera: bool = False
    projector: bool = False

    def close(self) -> None:
        """Stop the remote-control server if the app does not start."""
        if self.osc is not None:
            self.osc.close()


NO_PARTS = LiveParts()


class Live:
    """Source, outputs and remote control; each tick the loop calls its methods in the order they are defined.

    Without live parts the calls cost nothing."""

    def __init__(self, canvas: Canvas, scene: Scene, messages: Messages, parts: LiveParts = NO_PARTS):
        self.parts = parts
        self.stream, self.osc = parts.stream, parts.osc
        self.camera: VirtualCamera | None = None
        self.projector: Projector | None = None
        size = (canvas.width, canvas.height)
        self.source = None if parts.source is None else LiveSource(parts.source, size, parts.layer)
        self._canvas, self._scene, self._messages = canvas, scene, messages
        self._papers, self._labels = BufferPool((size[1], size[0], 4)), BufferPool((size[1], size[0]))
        self._pictures = BufferPool((size[1], size[0], 3))
        self._begun = False
        self._changed = NOTHING  # area changed by a command
        self._pen_s = -1e9  # time of the last change of the strokes
        self._told = ""  # the problem printed last

    @property
    def active(self) -> bool:
        """Whether a live source is visible on the paper."""
        return self.source is not None and self.source.active

    def events(self, now_s: float, do: Callable[[str, PictureParams], list[Action]]) -> list[Event]:
        """Events from remote control. do: runs a row of the key table."""
        if self.osc is None:
            return []
        while self.osc.news:
            self._messages.add(f"OSC: {self.osc.news.popleft()}", Level.WARNING)
        made = []
        for received in self.osc.take():
            wish = received.wish
            actions = do(wish, self._scene.params) if isinstance(wish, str) else [wish]
            made += [Event(action, received.time_s) for action in actions]
        return made

    def poll(self, now_s: float) -> Rect:
        """Take the newest frame of the source; the first call starts it. Returns the changed area.

        While the pen moves, frames are held back so that strokes do not wait.
        """
        if not self._begun:
            self._begin()
        changed, self._changed = self._changed, NOTHING
        if self.source is None:
            return NOTHING
        source = self.source
        source.thread.spacing_s = SPACING * source.frame_ms / 1e3
        due_s = pacing.source_due_s(now_s, self._pen_s, source.taken_s, source.frame_ms)
        source.thread.wanted_from_s = due_s - READY_S
        if due_s <= now_s:
            changed = changed.union(source.take(self._strokes(), self._scene.picture, now_s))
        self._view(changed)
        return changed

    def _begin(self) -> None:
        self._begun = True
        if self.source is not None:
            self.source.thread.start()
        for wanted, name in ((self.parts.camera, "camera"), (self.parts.projector, "projector")):
            if wanted:
                try:
                    self.run(name)
                except InputError as error:
                    self._messages.add(str(error), Level.ERROR)

    def _strokes(self) -> Strokes:
        canvas = self._canvas
        return Strokes(canvas.pixels, canvas.materials, canvas.seen)

    def _view(self, changed: Rect) -> None:
        """Update the LiveView that the window shows."""
        source, scene = self.source, self._scene
        if source is None:
            return
        if not source.active:
            if scene.live is not None:
                scene.live, scene.changed = None, self._canvas.whole
            return
        if scene.live is None:
            scene.live, changed = LiveView(source.seen), self._canvas.whole
        scene.live.pixels = source.seen
        scene.live.changed = scene.live.changed.union(changed)
        scene.live.recent_ms = list(source.recent_ms)
        scene.live.line = self.line()

    def painted(self, box: Rect, now_s: float) -> None:
        """Note that strokes changed inside the box."""
        self._pen_s = now_s
        if self.source is not None:
            self.source.strokes_changed(self._strokes(), box)

    def snapshot(self) -> tuple[np.ndarray, np.ndarray]:
        """Read-only copies of the paper with the source in it, and of its materials."""
        assert self.source is not None
        paper, labels = self._papers.take(), self._labels.take()
        paper[:], labels[:] = self.source.pixels, self.source.materials
        paper.flags.writeable = labels.flags.writeable = False
        return paper, labels

    def sent(self, sequence: int, dirty: Rect) -> None:
        """Note that a request with the present paper was submitted."""
        if self.source is not None:
            self.source.sent(sequence, dirty)

    def answered(self, sequence: int, model_ms: float) -> None:
        """Note that the picture of a request has arrived."""
        if self.source is not None:
            self.source.answered(sequence, model_ms)

    def failed(self, sequence: int) -> None:
        """Note that a request failed."""
        if self.source is not None:
            self.source.failed(sequence)

    def after_flip(self, panes: PanePixels | None, *, panes_new: bool, shown_s: float, shown: int) -> None:
        """Feed outputs and statistics after a window update. shown: sequence of the picture's request."""
        if self.source is not None:
            self.source.flipped(shown_s, shown)
        if panes_new and panes is not None and (self.camera is not None or self.projector is not None):
            picture = self._pictures.take()
            picture[:] = panes.picture
            for sink in (self.camera, self.projector):
                if sink is not None:
                    sink.offer(picture)
        if self.projector is not None:
            self.projector.show()

    def status(self) -> Message:
        """Permanent message about a lost source or stream."""
        problem = self.problem
        if problem and problem != self._told:
            print(f"flowbrush: {problem}", file=sys.stderr, flush=True)
            self._told = problem
        return Message(problem, Level.ERROR) if problem else NO_MESSAGE

    @property
    def problem(self) -> str:
        """One line about a lost or failed part; empty if there is none."""
        if self.source is not None and self.source.thread.problem:
            again = ", trying again" if self.source.thread.state == "lost" else ""
            return f"{self.source.thread.problem}{again}"
        if self.stream is not None and self.stream.problem:
            return f"{self.stream.problem}, trying again"
        return self.camera.problem if self.camera is not None else ""

    def line(self) -> str:
        """Short state of the source for the HUD."""
        if self.source is None:
            return ""
        source, thread = self.source, self.source.thread
        words = [f"{thread.spec.name} {thread.state}", f"{source.painted} painted, {source.skipped} skipped"]
        if source.skipped_area is not None:
            words.append(f"{source.skipped_area:.0%} of the area kept")
        return ", ".join(words)

    def run(self, name: str) -> None:
        """Run a command of COMMANDS. Raises InputError if it is not possible."""
        if name == "camera":
            self._toggle_camera()
        elif name == "projector":
            self._toggle_projector()
        elif self.source is None:
            raise InputError("there is no live source; start with --source")
        else:
            self._run_source(self.source, name.removeprefix("source."))

    def _run_source(self, source: LiveSource, what: str) -> None:
        thread, layer, how = source.thread, source.settings, source.thread.preparation
        kind, _, way = what.partition(".")
        step = STEP if way == "more" else -STEP
        match kind:
            case "pause":
                thread.pause(not thread.paused)
            case "back" | "forward":
                if thread.spec.live:
                    raise InputError(f"{thread.spec.name} has no positions")
                thread.seek(thread.position_s + (SEEK_S if kind == "forward" else -SEEK_S))
            case "mirror":
                placement = replace(how.placement, mirror=not how.placement.mirror)
                thread.reprepare(replace(how, placement=placement))
            case "flatten":
                following = FLATTENS[(FLATTENS.index(how.flatten) + 1) % len(FLATTENS)]
                thread.reprepare(replace(how, flatten=following))
                self._messages.add(f"flat colours: {following}")
            case "show":
                self._lay(replace(layer, visible=not layer.visible))
            case "over":
                self._lay(replace(layer, over=not layer.over))
            case "opacity":
                self._lay(replace(layer, opacity=within_one(layer.opacity + step)))
                self._messages.add(f"opacity of the source {source.settings.opacity:.0%}")
            case "feedback":
                self._lay(replace(layer, feedback=within_one(layer.feedback + step)))
                self._messages.add(f"feedback {source.settings.feedback:.0%}")

    def _lay(self, settings: LayerSettings) -> None:
        assert self.source is not None
        before = self.source.active
        self._changed = self._changed.union(self.source.change(settings, self._strokes()))
        if before != self.source.active:
            self._changed = self._canvas.whole

    def _toggle_camera(self) -> None:
        if self.camera is not None:
            self.camera.close()
            self.camera = None
        elif self.parts.open_camera is None:
            raise InputError("there is no virtual camera here")
        else:
            self.camera = self.parts.open_camera()
            self._messages.add("the virtual camera shows the picture")

    def _toggle_projector(self) -> None:
        if self.projector is not None:
            self.projector.close()
            self.projector = None
        elif self.parts.open_projector is None:
            raise InputError("there is no projector here")
        else:
            self.projector = self.parts.open_projector()

    def fields(self) -> dict[str, object]:
        """Fields of `paint --json`; None for absent parts."""
        source = stream = camera = osc = None
        if self.source is not None:
            layer, thread = self.source, self.source.thread
            area = layer.skipped_area
            source = {
                "name": thread.spec.name,
                "state": thread.state,
                "problem": thread.problem or None,
                "captured": thread.captured,
                "painted": layer.painted,
                "skipped": layer.skipped,
                "unchanged": thread.unchanged,
                "in_flight": layer.in_flight,
                "lost": thread.lost_times,
                "noise_levels": round(thread.noise_levels, 2),
                "skipped_area": None if area is None else round(area, 3),
                "capture_to_shown_ms": percentiles(layer.capture_ms),
            }
        if self.stream is not None:
            stream = {
                "name": self.stream.target.name,
                "state": self.stream.state,
                "problem": self.stream.problem or None,
                "sent": self.stream.sent,
                "dropped": self.stream.dropped,
            }
        if self.camera is not None:
            camera = {
                "device": self.camera.device or None,
                "sent": self.camera.sent,
                "problem": self.camera.problem or None,
            }
        if self.osc is not None:
            osc = {
                "received": self.osc.received,
                "dropped": self.osc.dropped,
                "refused": self.osc.refused,
            }
        return {"source": source, "stream": stream, "camera": camera, "osc": osc}

    def close(self) -> None:
        """Close every part. Call it after closing the recorder and before closing the window. Idempotent."""
        if self.osc is not None:
            self.osc.close()
        if self.source is not None:
            self.source.thread.close()
        for sink in (self.stream, self.camera, self.projector):
            if sink is not None:
                sink.close()


def within_one(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 3)
