"""A stroke log rendered again, offline: every frame of it, at any rate, size, number of steps or model."""

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
    """What every picture of a replay follows from, and nothing else: the same plan makes the same bytes.

    models: names that the log may ask for. load: model name -> function that loads it; crosses processes.
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
        """The moment of the log that a frame shows; after its end the clock goes on at its own pace."""
        at_s = frame / self.settings.fps
        end_s = self.seconds / self.settings.speed
        return at_s * self.settings.speed if at_s <= end_s else self.seconds + at_s - end_s

    def fingerprint(self) -> str:
        """Hash of log and settings: parts of another plan are not gone on with."""
        told = {name: str(value) for name, value in vars(self.settings).items() if name not in NO_MATTER}
        told["ray"] = str(self.settings.ray is not None)  # another cluster may go on with the parts of one
        text = json.dumps([told, self.size], sort_keys=True).encode()
        return hashlib.sha256(text + self.settings.log.read_bytes()).hexdigest()


NO_MATTER = ("output", "workers", "log", "ray", "any_device", "overwrite")


def plan(settings: Replay, models: tuple[str, ...], load) -> tuple[Plan, StrokeLog]:
    """The plan for a log. Raises InputError where the log, the size or the length will not do."""
    if settings.look is not None:
        check_look(settings.look)
    session = read(settings.log)
    if not session.events:
        raise InputError(f"nothing was painted in {settings.log}{told(session)}")
    made = Plan(settings, canvas_size(session, settings.size), session.seconds, models, load)
    if made.frames > MOST_FRAMES:
        raise InputError(
            f"{made.frames} frames are too many, {MOST_FRAMES} will do: raise --speed or lower --fps"
        )
    return made, session


def told(session: StrokeLog) -> str:
    return f": {session.fault}" if session.fault else ""


def canvas_size(session: StrokeLog, side: int | None) -> tuple[int, int]:
    """(width, height) in pixels: the log's shape, its longer side `side`, or the nearest that will do."""
    width, height = session.header.width, session.header.height
    scale = (side or max(width, height)) / max(width, height)
    size = tuple(max(32, round(length * scale / 32) * 32) for length in (width, height))
    try:
        check_size(size[1], size[0])
    except ModelError as error:
        asked = f"--size {side}: {error}" if side else f"{error}; choose another --size"
        raise InputError(asked) from error
    return size


class ReplayRenderer:
    """Makes the frames of a plan, forward; what did not change is not rendered again."""

    def __init__(self, made: Plan):
        self.plan, self._session = made, read(made.settings.log)
        self._walk: Playback | None = None
        self._next = 0
        self._model: Img2Img | None = None
        self._name = ""
        self._shown: tuple = ()
        self._picture: np.ndarray | None = None

    def frames(self, first: int, end: int) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 of each frame from `first` to `end`, which is not among them."""
        if self._walk is None or first < self._next:
            self._walk = Playback(self._session, self.plan.size)
            self._stage = Compositor(self.plan.settings.layout, self._walk.canvas, self._walk.params)
            self._shown = ()
        for frame in range(first, end):
            self._next = frame + 1
            yield self._frame(self.plan.time_s(frame))

    def _frame(self, time_s: float) -> np.ndarray:
        playback, settings = self._walk, self.plan.settings
        playback.to(time_s)
        model = self._serve(settings.model or playback.params.model)
        steps = settings.steps or playback.steps(time_s, model.card.steps)
        shown = (playback.version, steps)
        if shown != self._shown:
            self._picture = self._stage.compose(
                model.render(self._request(playback, steps)).picture, playback.params
            )
            self._shown = shown
        return self._picture

    def _request(self, playback: Playback, steps: int) -> Request:
        """What the model is asked now; with another look where the settings name one."""
        request, look = playback.request(steps), self.plan.settings.look
        return request if look is None else replace(request, look=look)

    def _serve(self, name: str) -> Img2Img:
        """The model of that name. A log cannot name a file: it would be read from a path of its choosing."""
        if name != self._name:
            if name != self.plan.settings.model and name not in self.plan.models:
                raise InputError(
                    f"the log asks for the model {name!r}, which is none here; choose with --model"
                )
            if self._model is not None:
                self._model.close()
            self._model, self._name = self.plan.load(name)(), name
        return self._model
