"""Offline rendering of all frames of a stroke log, at any frame rate, size, number of steps or model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.api import Img2Img, ModelError, Request, check_look, check_size
from renderer.actions import InputError
from renderer.cli.settings import Replay
from renderer.offline.compositor import Compositor
from renderer.stroke_log.log import StrokeLog, read
from renderer.stroke_log.playback import Playback

MOST_FRAMES = 500_000


@dataclass(frozen=True)
class Plan:
    """All inputs of a replay; the same plan gives the same output bytes.

    models: names that the log may select. load: (model name) -> function that loads it; picklable.
    """

    settings: Replay
    size: tuple[int, int]
    seconds: float
    models: tuple[str, ...]
    load: Callable[[str], Callable[[], Img2Img]]

    @property
    def frames(self) -> int:
        moving = int(self.seconds / self.settings.speed * self.settings.fps) + 1
        return moving + round(self.settings.hold * self.settings.fps)

    def time_s(self, frame: int) -> float:
        """Time in the log, in seconds, that a frame shows; after the end of the log at speed 1."""
        at_s = frame / self.settings.fps
        end_s = self.seconds / self.settings.speed
        return at_s * self.settings.speed if at_s <= end_s else self.seconds + at_s - end_s

    def fingerprint(self) -> str:
        """Hash of log and settings; an interrupted replay is resumed only with the same plan."""
        fields = {
            name: str(value) for name, value in vars(self.settings).items() if name not in NOT_IN_FINGERPRINT
        }
        fields["ray"] = str(self.settings.ray is not None)  # another cluster may continue with existing parts
        text = json.dumps([fields, self.size], sort_keys=True).encode()
        return hashlib.sha256(text + self.settings.log.read_bytes()).hexdigest()


NOT_IN_FINGERPRINT = ("output", "workers", "log", "ray", "any_device", "overwrite")


def plan(settings: Replay, models: tuple[str, ...], load) -> tuple[Plan, StrokeLog]:
    """Make the plan for a log. Raises InputError for a log, a size or a length that cannot be rendered."""
    if settings.look is not None:
        check_look(settings.look)
    session = read(settings.log)
    if not session.events:
        raise InputError(f"nothing was painted in {settings.log}{reason(session)}")
    made = Plan(settings, canvas_size(session, settings.size), session.seconds, models, load)
    if made.frames > MOST_FRAMES:
        raise InputError(
            f"{made.frames} frames are too many, {MOST_FRAMES} will do: raise --speed or lower --fps"
        )
    return made, session


def reason(session: StrokeLog) -> str:
    """The fault of a log as a suffix for a message."""
    return f": {session.fault}" if session.fault else ""


def canvas_size(session: StrokeLog, side: int | None) -> tuple[int, int]:
    """(width, height) in pixels: the log's aspect ratio, its longer side `side`, or the nearest valid."""
    width, height = session.header.width, session.header.height
    scale = (side or max(width, height)) / max(width, height)
    wide, high = (max(32, round(length * scale / 32) * 32) for length in (width, height))
    try:
        check_size(high, wide)
    except ModelError as error:
        asked = f"--size {side}: {error}" if side else f"{error}; choose another --size"
        raise InputError(asked) from error
    return wide, high


class ReplayRenderer:
    """Renders the frames of a plan in order; unchanged pictures are not rendered again."""

    def __init__(self, made: Plan):
        self.plan, self._log = made, read(made.settings.log)
        self._next = 0
        self._model: Img2Img | None = None
        self._name = ""
        self._begin()

    def _begin(self) -> None:
        """Go to the first frame."""
        self._playback = Playback(self._log, self.plan.size)
        self._compositor = Compositor(self.plan.settings.layout, self._playback.canvas, self._playback.params)
        self._shown: tuple[int, int] | None = None  # version of the paper and steps of the last frame
        self._picture = np.empty((0, 0, 3), np.uint8)

    def frames(self, first: int, end: int) -> Iterator[np.ndarray]:
        """Yield each frame, (H, W, 3) uint8, from `first` up to but not including `end`."""
        if first < self._next:
            self._begin()
        for frame in range(first, end):
            self._next = frame + 1
            yield self._frame(self.plan.time_s(frame))

    def _frame(self, time_s: float) -> np.ndarray:
        playback, settings = self._playback, self.plan.settings
        playback.advance(time_s)
        model = self._load(settings.model or playback.params.model)
        steps = settings.steps or playback.steps(time_s, model.card.steps)
        if (playback.version, steps) != self._shown:
            frame = model.render(self._request(playback, steps))
            self._picture = self._compositor.compose(frame.picture, playback.params)
            self._shown = playback.version, steps
        return self._picture

    def _request(self, playback: Playback, steps: int) -> Request:
        """The request for this moment, with the look of the settings if they have one."""
        request, look = playback.request(steps), self.plan.settings.look
        return request if look is None else replace(request, look=look)

    def _load(self, name: str) -> Img2Img:
        """Load a model by name. Only known names are allowed: a file name in a log would be opened."""
        if self._model is not None and name == self._name:
            return self._model
        if name != self.plan.settings.model and name not in self.plan.models:
            raise InputError(
                f"the log asks for the model {name!r}, which is not known; choose one with --model"
            )
        if self._model is not None:
            self._model.close()
        self._model, self._name = self.plan.load(name)(), name
        return self._model
