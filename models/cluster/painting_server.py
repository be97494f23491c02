"""A model that several painters share: each has its own paper and picture, and they take fair turns.

Knows no Ray: `serve` puts one into an actor. Everything that comes in is checked by `wire`. No torch is
imported before the model is loaded.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from models.api import Cancelled, Img2Img, ModelError, Rect
from models.cluster import wire
from models.cluster.wire import Sent

PATIENCE_S = 20.0  # a painter that asks for no result for so long has left
OVERTAKEN_S = 0.5  # for a request that another one has overtaken
LONGEST_WAIT_S = 10.0  # that a call may hold one of the server's threads


@dataclass
class Painter:
    """One painter's state. planes: the newest paper, of request `number`. picture: what the painter has.

    waiting: the newest request not yet begun. dirty: what changed since the last picture. give_up: number up
    to which requests are cancelled. serial: of the newest result. turn: when the model last worked for it.
    """

    codec: str
    quality: int
    model: Img2Img
    number: int = 0
    planes: np.ndarray | None = None
    picture: np.ndarray | None = None
    waiting: Sent | None = None
    dirty: Rect = Rect()
    give_up: int = 0
    serial: int = 0
    turn: int = 0
    heard_s: float = 0.0
    results: deque[dict] = field(default_factory=deque)


class PaintingServer:
    """Loads a model on a thread of its own, and serves up to `most` painters."""

    def __init__(
        self, load: Callable[[], Img2Img], most: int = 4, clock: Callable[[], float] = time.perf_counter
    ):
        self._load, self._most, self._clock = load, most, clock
        self._painters: dict[str, Painter] = {}
        self._changed = threading.Condition(threading.RLock())
        self._model: Img2Img | None = None
        self._error = ""
        self._turns = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    # What painters call. Every argument may be anything at all.

    def describe(self, wait_s: float = 0.0) -> dict[str, Any]:
        """{"card": fields of the ModelCard or None while it loads, "error": why it never will be there}."""
        with self._changed:
            self._changed.wait_for(lambda: self._model or self._error, min(float(wait_s), LONGEST_WAIT_S))
            return {"card": self._model and asdict(self._model.card), "error": self._error}

    def join(self, codec: str = "lossless", quality: int = 90) -> dict[str, str]:
        """{"painter": a name to be used in all further calls} or {"error": one line}."""
        try:
            if codec not in wire.CODECS:
                raise ModelError(f"pictures are sent as {', '.join(wire.CODECS)}, not {str(codec)[:20]!r}")
            wire.whole("quality", quality, 1, 100)
            self._check_room()
            model = self._model_of_one_more()  # takes a while: not under the lock
            with self._changed:
                self._check_room()
                name = secrets.token_hex(8)
                self._painters[name] = Painter(codec, quality, model, heard_s=self._clock())
                return {"painter": name}
        except ModelError as error:
            return {"error": str(error)}

    def submit(self, painter: str, fields: dict[str, Any]) -> None:
        """Render this request, in place of one that waits. What is wrong with it comes back as a result."""
        with self._changed:
            one = self._painters.get(painter)
            if one is None:
                return
            try:
                sent = wire.checked(fields)
                width, height = sent.size
                # two calls may come on two threads: the one before is on its way then
                self._changed.wait_for(lambda: sent.base in (0, one.number), OVERTAKEN_S)
                if sent.base != one.number and sent.base != 0:
                    self._answer(one, {"number": sent.number, "resend": True})
                    return
                before = one.planes if sent.base else np.zeros((height, width, wire.PLANES), np.uint8)
                if before is None or before.shape[:2] != (height, width):
                    raise ModelError(f"the paper is {width}x{height}, and the one it changes is not")
                one.planes, one.number = wire.paper_of(before, sent), sent.number
            except ModelError as error:
                number = fields.get("number", 0) if isinstance(fields, dict) else 0
                self._answer(one, {"number": number if type(number) is int else 0, "failure": str(error)})
                return
            self._changed.notify_all()
            if one.waiting is not None:
                self._answer(one, {"number": one.waiting.number, "cancelled": True})
            one.waiting, one.dirty = sent, one.dirty.union(Rect(*sent.rect))
            self._changed.notify_all()

    def cancel(self, painter: str, number: int) -> None:
        """Give up requests up to this number, between two steps."""
        with self._changed:
            one = self._painters.get(painter)
            if one is not None and type(number) is int:
                one.give_up = max(one.give_up, number)

    def result(self, painter: str, wait_s: float = 5.0) -> dict[str, Any] | None:
        """The oldest result not yet taken, or None after the wait: a sign of life.

        {"number", "serial", and "cancelled", "resend", "failure": a line, or a picture: "rect", "patch",
        "stage_ms", "notes", "why_not_faster"}; {"unknown": True} for a painter that is not here.
        """
        with self._changed:
            one = self._painters.get(painter)
            if one is None:
                return {"unknown": True}
            one.heard_s = self._clock()
            self._changed.wait_for(lambda: one.results or self._closed, min(float(wait_s), LONGEST_WAIT_S))
            one.heard_s = self._clock()
            return one.results.popleft() if one.results else None

    def leave(self, painter: str) -> None:
        with self._changed:
            gone = self._painters.pop(painter, None)
        self._close_model(gone)

    # The model's thread

    def close(self) -> None:
        """End the thread and close the model; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(10)

    def _run(self) -> None:
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray allows an actor without CPUs of its own one thread
        try:
            model = self._load()
        except BaseException as error:
            with self._changed:
                self._error = str(error).splitlines()[0] if str(error) else type(error).__name__
                self._changed.notify_all()
            return
        with self._changed:
            self._model = model
            self._changed.notify_all()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None, 1.0)
                if self._closed:
                    break
                self._forget_gone()
                one = self._next()
                if one is None or one.waiting is None or one.planes is None:
                    continue
                sent, planes, dirty = one.waiting, one.planes, one.dirty
                one.waiting, one.dirty = None, Rect()
                self._turns += 1
                one.turn = self._turns
            self._serve(one, sent, planes, dirty)
        model.close()

    def _next(self) -> Painter | None:
        """Who is served next: those who draw before those who refine, and each after the others."""
        keys = {
            (not one.waiting.drawing, one.turn, name): one
            for name, one in self._painters.items()
            if one.waiting
        }
        return keys[min(keys)] if keys else None

    def _serve(self, one: Painter, sent: Sent, planes: np.ndarray, dirty: Rect) -> None:
        def outdated() -> bool:
            return one.give_up >= sent.number or (not sent.drawing and one.waiting is not None)

        try:
            if one.give_up >= sent.number:
                raise Cancelled
            frame = one.model.render(wire.request_of(sent, planes, dirty), cancelled=outdated)
        except Cancelled:
            answer = {"cancelled": True}
        except ModelError as error:
            answer = {"failure": str(error)}
        except BaseException as error:
            answer = {"failure": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
        else:
            before, picture = one.picture, frame.picture
            if before is None or before.shape != picture.shape:
                before = np.zeros_like(picture)
            rect = wire.changed_box(before, picture)
            patch = b""
            if not rect.empty:
                part = np.ascontiguousarray(picture[rect.slices])
                patch = wire.encoded(before[rect.slices], part, one.codec, one.quality)
            one.picture = picture.copy()
            answer = {
                "rect": tuple(rect),
                "patch": patch,
                "size": (picture.shape[1], picture.shape[0]),
                "stage_ms": {name: float(ms) for name, ms in frame.stage_ms.items()},
                "notes": tuple(frame.notes),
                "why_not_faster": frame.why_not_faster,
            }
        with self._changed:
            if "patch" not in answer:
                one.dirty = one.dirty.union(dirty)
            self._answer(one, {"number": sent.number, **answer})

    def _answer(self, one: Painter, answer: dict[str, Any]) -> None:
        one.serial += 1
        one.results.append({"serial": one.serial, **answer})
        self._changed.notify_all()

    def _check_room(self) -> None:
        with self._changed:
            self._forget_gone()
            if self._model is None:
                raise ModelError(self._error or "the model is being loaded")
            if len(self._painters) >= self._most:
                raise ModelError(f"{len(self._painters)} painters are here, and no more may be; try later")

    def _forget_gone(self) -> None:
        now_s = self._clock()
        for name in [n for n, one in self._painters.items() if now_s - one.heard_s > PATIENCE_S]:
            self._close_model(self._painters.pop(name))

    def _model_of_one_more(self) -> Img2Img:
        """The embedded painter keeps the last frame's activations, so each person has one; a pretrained model
        is too large for that and keeps nothing of the kind."""
        with self._changed:
            model = self._model
            used = any(one.model is model for one in self._painters.values())
        assert model is not None  # _check_room has seen it
        return self._load() if used and model.card.family == "painter" else model

    def _close_model(self, gone: Painter | None) -> None:
        if gone is not None and gone.model is not self._model:
            gone.model.close()
