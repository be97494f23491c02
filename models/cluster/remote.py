"""Img2Img client for a model on another machine. Imports neither torch nor diffusers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from models.api import (
    Cancelled,
    Frame,
    ModelCard,
    ModelError,
    ProgressCallback,
    Rect,
    Request,
    Unreachable,
    never,
    no_progress,
)
from models.cluster import link, wire
from models.cluster.ray_session import CLIENT_PORT

POLL_S = 0.005  # interval at which a wait checks for cancellation
ATTEMPTS, LOST = 3, "disconnected"  # connections that Ray itself loses are made anew
CONNECT_S = 60.0  # limit for loading the model when painting starts; extended by each sign of life
SLOW_S = 2.0  # time without a picture after which the window reports a slow link
SLOW_TIMES = 4.0  # and only if it is also this multiple of the usual frame time
SILENT_S = 12.0  # time without a sign of life, sent every 5 s, after which the link is closed


def actor_name(model: str) -> str:
    return f"flowbrush:{model}"


def client_address(address: str) -> str:
    """Convert HOST or HOST:PORT to an address that Ray connects to. Raises ModelError."""
    address = address.removeprefix("ray://")
    host, colon, port = address.rpartition(":")
    if not colon:
        host, port = address, str(CLIENT_PORT)
    if not host or not port.isdigit():
        raise ModelError(f"{address!r} is no address; give HOST or HOST:PORT")
    return f"ray://{host}:{port}"


def loader(
    address: str,
    model: str,
    *,
    codec: str = "lossless",
    quality: int = 90,
    progress: ProgressCallback = no_progress,
) -> Callable[[], RemoteModel]:
    """Return a function that connects to the model. Raises ModelError at once for an invalid address."""
    found = client_address(address)
    return lambda: RemoteModel(found, model, codec=codec, quality=quality, progress=progress)


class Link:
    """A connection: the process that holds it, and the known state of the server.

    planes: the paper as the server has it, of request `number`. picture: the one that results update.
    """

    def __init__(self, address: str, model: str, codec: str, quality: int):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, address, actor_name(model), codec, quality)
        self._process = context.Process(target=link.run, args=arguments, name="link", daemon=True)
        self._process.start()
        theirs.close()
        self.codec = codec
        self.number = self.serial = 0
        self.asked = 0  # number of the request whose result is pending, 0 for none
        self.asked_s = 0.0
        self.heard_s = time.perf_counter()
        self.card: ModelCard | None = None
        self.says = "connecting"
        self.broken = ""
        self.planes: np.ndarray | None = None
        self.picture: np.ndarray | None = None

    def hear(self, wait_s: float) -> dict | None:
        """Return the next result, or None after the wait. Updates `card`, `says` and `broken`."""
        try:
            if not self.pipe.poll(wait_s):
                return None
            what, value = self.pipe.recv()
        except (EOFError, OSError):
            self.broken = self.broken or "the link broke"
            return None
        self.heard_s = time.perf_counter()
        if what == "result":
            if value.get("unknown") or value["serial"] != self.serial + 1:
                self.broken = "the server has forgotten this painting"
                return None
            self.serial += 1
            return value
        if what == "ready":
            self.card = ModelCard(**value)
        elif what == "says":
            self.says = value
        elif what == "broken":
            self.broken = value
        return None

    def send(self, request: Request) -> None:
        planes = wire.planes_of(request)
        base, before = self.number, self.planes
        if before is None or before.shape != planes.shape:
            base, before = 0, np.zeros_like(planes)
        self.number += 1
        sent = wire.sent_of(request, self.number, base, before, planes)
        self.planes, self.asked, self.asked_s = planes, self.number, time.perf_counter()
        self._tell("submit", sent.as_dict())

    def cancel(self) -> None:
        self._tell("cancel", self.asked)
        self.asked = 0

    def _tell(self, what: str, value: object) -> None:
        try:
            self.pipe.send((what, value))
        except OSError:
            self.broken = self.broken or "the link broke"

    def take(self, result: dict) -> np.ndarray:
        """Apply a result and return a copy of the picture."""
        width, height = result["size"]
        if self.picture is None or self.picture.shape[:2] != (height, width):
            self.picture = np.zeros((height, width, 3), np.uint8)
        rect = Rect(*result["rect"])
        if not rect.empty:
            part = self.picture[rect.slices]
            part[:] = wire.decoded(part, result["patch"], self.codec)
        return self.picture.copy()

    def close(self) -> None:
        self.pipe.close()
        self._process.join(0.3)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(2)


class RemoteModel:
    """Img2Img on another machine, with at most one request in flight.

    `render` raises Unreachable while there is no link: the engine retries with the newest paper, and each
    call continues connecting.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        codec: str = "lossless",
        quality: int = 90,
        progress: ProgressCallback = no_progress,
    ):
        """Connect and wait for the model. Raises ModelError if there is no answer or the server is full."""
        if codec not in wire.CODECS:
            raise ModelError(f"pictures are sent as {', '.join(wire.CODECS)}, not {codec!r}")
        self.address, self._where = address, address.removeprefix("ray://")
        self._new_link = lambda: Link(address, model, codec, quality)
        self._link: Link | None = self._new_link()
        self._frame_s: float | None = None  # smoothed time of a frame
        self._down_s: float | None = None  # when the link was lost
        attempts = ATTEMPTS
        while (made := self._link).card is None:
            progress(f"{self._where}: {made.says}")
            made.hear(0.1)
            if made.broken and LOST in made.broken and attempts > 1:
                attempts -= 1
                made.close()
                self._link = self._new_link()
            elif made.broken or time.perf_counter() - made.heard_s > CONNECT_S:
                made.close()
                raise ModelError(made.broken or f"{self._where} does not answer")
        self.card = self._card(made.card)

    def _card(self, card: ModelCard) -> ModelCard:
        return replace(card, device=f"{card.device} at {self._where}")

    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """Render one picture remotely. Raises Unreachable, Cancelled, and the server's ModelError."""
        began_s = time.perf_counter()
        made = self._ready(began_s)
        self._drain(made, began_s)
        made.send(request)
        resent = False
        while True:
            result = made.hear(POLL_S)
            if result is not None and result["number"] == made.asked:
                made.asked = 0
                if "patch" in result:
                    return self._frame(made, result, request, began_s)
                if result.get("resend") and not resent:
                    made.planes, resent = None, True
                    made.send(request)
                    continue
                if result.get("cancelled"):
                    raise Cancelled
                raise ModelError(result.get("failure") or "the server asked twice for the whole paper")
            if result is not None and "patch" in result:
                made.take(result)  # result of a request that was cancelled too late
            self._check(made, began_s)
            if made.asked and cancelled():
                made.cancel()
                raise Cancelled

    def _ready(self, began_s: float) -> Link:
        """Return the link once the model is loaded. Raises Unreachable on timeout; the next call goes on."""
        if self._link is None:
            self._link = self._new_link()
        made = self._link
        while made.card is None:
            made.hear(0.05)
            if made.broken:
                self._lose(made, f"{self._where} is not reached: {made.broken}")
            if time.perf_counter() - began_s > SLOW_S / 2:
                raise Unreachable(f"{self._where}: {made.says}; the last picture stays")
        if self._down_s is not None:
            self._down_s, self.card = None, self._card(made.card)
        return made

    def _drain(self, made: Link, began_s: float) -> None:
        """Wait for the result of an earlier call, so that only one request is in flight."""
        while made.asked:
            result = made.hear(POLL_S)
            if result is not None:
                if "patch" in result:
                    made.take(result)
                if result["number"] == made.asked:
                    made.asked = 0
            self._check(made, began_s)

    def _check(self, made: Link, began_s: float) -> None:
        """Raise Unreachable if the link is broken or silent, or if no picture has arrived for long."""
        now_s = time.perf_counter()
        if made.broken:
            self._lose(made, f"the link to {self._where} broke: {made.broken}")
        if now_s - made.heard_s > SILENT_S:
            self._lose(made, f"{self._where} is silent")
        patience_s = max(SLOW_S, SLOW_TIMES * (self._frame_s or SILENT_S))
        if now_s - began_s > patience_s:
            raise Unreachable(
                f"no picture from {self._where} for {now_s - made.asked_s:.0f} s; the last one stays"
            )

    def _lose(self, made: Link, line: str) -> None:
        made.close()
        self._link = None
        if self._down_s is None:
            self._down_s = time.perf_counter()
        time.sleep(0.2)  # limits the retry rate when a server refuses at once
        raise Unreachable(f"{line}; the last picture stays")

    def _frame(self, made: Link, result: dict, request: Request, began_s: float) -> Frame:
        picture = made.take(result)
        took_s = time.perf_counter() - began_s
        self._frame_s = took_s if self._frame_s is None else 0.8 * self._frame_s + 0.2 * took_s
        stage_ms = dict(result["stage_ms"])
        stage_ms["network"] = max(0.0, took_s * 1e3 - sum(stage_ms.values()))
        return Frame(request, picture, stage_ms, tuple(result["notes"]), result["why_not_faster"])

    def rest(self) -> bool:
        """Return False: no work is deferred on the client."""
        return False

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        """Return 0: FLOPs are not counted on the client."""
        return 0.0

    def close(self) -> None:
        """Close the link; idempotent."""
        if self._link is not None:
            self._link.close()
            self._link = None
