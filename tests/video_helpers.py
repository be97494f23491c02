"""What the tests of films and replays share: pictures that say their number, logs, films decoded again."""

from __future__ import annotations

import hashlib
import math

import av
import numpy as np
from loop_harness import RED, SlowModel

from renderer.actions import (
    Begin,
    Brush,
    Change,
    Clear,
    End,
    Event,
    Extend,
    Fill,
    FillSelection,
    LayerEdit,
    Line,
    MoveSelection,
    Paste,
    PlaceImage,
    Redo,
    Select,
    Undo,
)
from renderer.cli.settings import Replay
from renderer.offline.replay import ReplayRenderer, plan
from renderer.stroke_log.log import LogHeader, LogWriter

SIZE = (96, 64)
SUFFIXES = ("mkv", "mp4")
ERASER = Brush((10, 20, 255), 33.3, 0.75, 0.5, True)
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
EVERY = [  # each kind of action that a log holds
    Fill((118, 169, 222), 100.5, 99.0, 17),
    Begin(RED, (20.5, 30.1, 0.8)),
    *(Extend(((21.0 + 9 * i, 31.0 + 3 * i, 0.7), (25.2 + 9 * i, 28.0, 0.75))) for i in range(12)),
    Extend(((11.0, 21.0, 0.81), (-40.2, 700.0, 0.0), (12.3, 22.2, 1.0))),
    End(),
    Line(ERASER, (0.0, 0.5), (200.9, 3.0)),
    Change("prompt", 'fog "quoted" \n é 山'),
    Change("seed", 2**63 - 1),
    Change("mood.sun", 0.125),
    Paste(PIXEL),
    Undo(),
    Redo(),
    LayerEdit("add", 0, "sky 山"),
    LayerEdit("opacity", 1, 0.625),
    Select("lasso", ((3.5, 4.0), (200.0, 9.1), (90.0, 180.5)), mode="add"),
    Select("material", material=4, mode="subtract"),
    FillSelection((9, 200, 30), 7),
    MoveSelection(-12, 30),
    PlaceImage(PIXEL, 100.5, 90.0, 0.25, 33.3),
    LayerEdit("merge", 2),
    Clear(),
]


def shade(level: int) -> np.ndarray:
    """A picture that says its number: one grey."""
    return np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


def decoded(path) -> tuple[list[float], list[np.ndarray]]:
    """Times in seconds and RGB pictures of every frame."""
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
    return [frame.time for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def circle(number: int, side: int = 256) -> list:
    """A stroke of 20 points that ends where it began."""
    angles = [2 * math.pi * (number / 7 + i / 20) for i in range(20)]
    reach = side * (0.15 + 0.04 * number)
    where = [(side / 2 + reach * math.cos(a), side / 2 + reach * math.sin(a), 0.8) for a in angles]
    return [Begin(RED, where[0]), *(Extend((point,)) for point in where[1:]), End()]


def log(path, actions, *, gap_s=0.04, side=256, model="painter", settings=None):
    writer = LogWriter(path, LogHeader(side, side, model, "", settings or {}))
    for number, action in enumerate(actions):
        writer.write(Event(action, gap_s * number))
    writer.close()
    return path


def planned(source, output, load=None, **settings):
    model = load or (lambda name: SlowModel())
    return plan(Replay(source, output, **{"hold": 0.5, **settings}), ("painter",), model)[0]


def frames_of(made) -> list[np.ndarray]:
    return [picture.copy() for picture in ReplayRenderer(made).frames(0, made.frames)]


def silent(count: int) -> None:
    """Progress that nobody watches."""


def digest(picture: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
