"""Receive OSC messages over UDP and turn them into actions for the loop."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from renderer.actions import Change, Command, InputError
from renderer.control.addresses import Address, action_of

LOOPBACK = "127.0.0.1"
MOST_WAITING = 512  # limit of messages per loop iteration; others are dropped and counted
TELL_EVERY_S = 2.0  # interval of warnings about invalid messages
MISSING = "OSC needs python-osc; install it with: pip install flowbrush[live]"


@dataclass(frozen=True)
class Received:
    """Content of a message: a Change, a Command, or the name of a row in the key table."""

    wish: Change | Command | str
    time_s: float


def parse_osc(text: str) -> tuple[str, int]:
    """Parse PORT or HOST:PORT to (host, port); the default host is the loopback. Raises InputError."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or LOOPBACK
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--osc takes PORT or HOST:PORT, such as 9000, not {text!r}")
    return host, int(port)


class OscServer:
    """OSC server on its own thread. received, dropped, refused: message counts. news: warning lines."""

    def __init__(self, host: str, port: int, table: dict[str, Address]):
        """Raises InputError if python-osc is missing or the port cannot be opened."""
        try:
            from pythonosc.dispatcher import Dispatcher
            from pythonosc.osc_server import BlockingOSCUDPServer
        except ImportError as error:
            raise InputError(MISSING) from error
        self.table = table
        self.received = self.dropped = self.refused = 0
        self.news: deque[str] = deque(maxlen=8)
        self._waiting: deque[Received] = deque()
        self._told_s = -1e9
        dispatcher = Dispatcher()
        dispatcher.set_default_handler(self._message)
        try:
            self._server = BlockingOSCUDPServer((host, port), dispatcher)
        except (OSError, OverflowError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise InputError(f"OSC cannot listen on {host}:{port}: {words}; choose another port") from error
        self.address = self._server.server_address
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="osc", daemon=True
        )
        self._thread.start()

    def take(self) -> list[Received]:
        """Messages since the last call, in order; only the newest of several values for one setting."""
        taken: list[Received] = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        newest = {r.wish.name: i for i, r in enumerate(taken) if isinstance(r.wish, Change)}
        return [r for i, r in enumerate(taken) if not isinstance(r.wish, Change) or newest[r.wish.name] == i]

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._server.shutdown()
        self._server.server_close()

    def _message(self, path: str, *arguments: object) -> None:
        self.received += 1
        address = self.table.get(path.rstrip("/").lower())
        try:
            if address is None:
                raise ValueError(f"there is no OSC address {path[:80]}")
            wish = action_of(address, arguments)
        except ValueError as error:
            self.refused += 1
            now_s = time.perf_counter()
            if now_s - self._told_s > TELL_EVERY_S:
                self._told_s = now_s
                self.news.append(str(error))
            return
        if not wish:
            return
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(Received(wish, time.perf_counter()))
