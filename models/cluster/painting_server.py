"""Model server shared by several painters, each with its own paper and picture, scheduled fairly.

Independent of Ray: `serve` wraps it in an actor. All input is validated by `wire`. Torch is not imported
until the model is loaded.
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

PATIENCE_S = 20.0  # a painter that requests no result for this long is removed
OVERTAKEN_S = 0.5  # for a request superseded by a newer one
LONGEST_WAIT_S = 10.0  # maximum time that a call may occupy a server thread


@dataclass
class Painter:
    """State of one painter.

    planes: the newest paper, of request `number`. picture: the picture that the painter has. waiting: the
    newest request not yet started. dirty: what changed since the last picture. give_up: requests up to this
    number are cancelled. serial: number of the newest result. turn: when the model last served this painter.
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
    """Loads a model on its own thread and serves up to `most` painters."""

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

    # Methods called by painters. Arguments are untrusted and may be of any type.

    def describe(self, wait_s: float = 0.0) -> dict[str, Any]:
        """Return {"card": fields of the ModelCard or None while loading, "error": why loading failed}."""
        with self._changed:
            self._changed.wait_for(lambda: self._model or self._error, min(float(wait_s), LONGEST_WAIT_S))
            return {"card": self._model and asdict(self._model.card), "error": self._error}

    def join(self, codec: str = "lossless", quality: int = 90) -> dict[str, str]:
        """Return {"painter": a name to use in all further calls} or {"error": one line}."""
        try:
            if codec not in wire.CODECS:
                raise ModelError(f"pictures are sent as {', '.join(wire.CODECS)}, not {str(codec)[:20]!r}")
            wire.whole("quality", quality, 1, 100)
            self._check_room()
            model = self._model_of_one_more()  # slow: not under the lock
            with self._changed:
                self._check_room()
                name = secrets.token_hex(8)
                self._painters[name] = Painter(codec, quality, model, heard_s=self._clock())
                return {"painter": name}
        except ModelError as error:
            return {"error": str(error)}

    def submit(self, painter: str, fields: dict[str, Any]) -> None:
        """Queue this request, replacing one that waits. Validation errors are returned as a result."""
        with self._changed:
            one = self._painters.get(painter)
            if one is None:
                return
            try:
                sent = wire.checked(fields)
                width, height = sent.size
                # two calls may arrive on two threads: the earlier one is still on its way then
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
        """Cancel requests up to this number, between two steps."""
        with self._changed:
            one = self._painters.get(painter)
            if one is not None and type(number) is int:
                one.give_up = max(one.give_up, number)

    def result(self, painter: str, wait_s: float = 5.0) -> dict[str, Any] | None:
        """Return the oldest result not yet taken, or None after the wait as a sign of life.

        Keys: "number", "serial", and "cancelled", "resend", "failure": a line, or a picture: "rect", "patch",
        "stage_ms", "notes", "why_not_faster". An unknown painter gets {"unknown": True}.
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

    # Model thread

    def close(self) -> None:
        """Stop the thread and close the model; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(10)

    def _run(self) -> None:
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets one thread for an actor that reserves no CPUs
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
        """Return the painter to serve next: drawing before refining, then the least recently served."""
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
        """Return the model for a further painter.

        The embedded painter caches the last frame's activations, so each person gets an instance of it. A
        pretrained model is too large for that, caches no activations, and is shared.
        """
        with self._changed:
            model = self._model
            used = any(one.model is model for one in self._painters.values())
        assert model is not None  # checked by _check_room
        return self._load() if used and model.card.family == "painter" else model

    def _close_model(self, gone: Painter | None) -> None:
        if gone is not None and gone.model is not self._model:
            gone.model.close()
