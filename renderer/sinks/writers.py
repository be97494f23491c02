"""Output of a network stream: a UDP or TCP socket, or a relay process.

Writes may block, but without holding the GIL. PyAV's own network output holds the GIL while it connects."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

OPEN_S, WRITE_S = 5.0, 5.0  # timeouts after which a receiver is lost
TS_BYTES = 1316  # seven MPEG-TS packets, which fit an Ethernet frame
CLOSE_S = 1.0
RELAY = Path(__file__).with_name("relay.py")


class Writer(Protocol):
    """A file object for av.open. Raises OSError; TimeoutError if the receiver takes no bytes."""

    def write(self, data: bytes) -> int: ...

    def close(self) -> None: ...


class UdpWriter:
    """Sends UDP datagrams of `pkt_size` bytes. URL options as in FFmpeg: `pkt_size` and `ttl`."""

    def __init__(self, url: str):
        host, port, options = address_of(url)
        family, _, _, _, self._address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._bytes = int(options.get("pkt_size", TS_BYTES))
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        if "ttl" in options and family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, int(options["ttl"]))

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        for begin in range(0, len(view), self._bytes):
            self._socket.sendto(view[begin : begin + self._bytes], self._address)
        return len(view)

    def close(self) -> None:
        self._socket.close()


class TcpWriter:
    """Sends over a TCP connection to a server."""

    def __init__(self, url: str):
        host, port, _ = address_of(url)
        self._socket = socket.create_connection((host, port), OPEN_S)
        self._socket.settimeout(WRITE_S)

    def write(self, data: bytes) -> int:
        self._socket.sendall(data)
        return len(data)

    def close(self) -> None:
        self._socket.close()


class RelayWriter:
    """Pipes to a relay process that sends with FFmpeg's own protocols."""

    def __init__(self, url: str, kind: str):
        self._process = subprocess.Popen(
            [sys.executable, str(RELAY), url, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin.fileno()
        with contextlib.suppress(AttributeError):  # missing on Windows before Python 3.12, where writes block
            os.set_blocking(self._pipe, False)

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            if self._process.poll() is not None:
                raise OSError(0, self._reason())
            if sys.platform != "win32" and not select.select([], [self._pipe], [], WRITE_S)[1]:
                raise TimeoutError
            try:
                view = view[os.write(self._pipe, view) :]
            except BrokenPipeError:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(CLOSE_S)
                raise OSError(0, self._reason()) from None
        return len(data)

    def _reason(self) -> str:
        lines = (
            self._process.stderr.read().decode(errors="replace").splitlines() if self._process.stderr else []
        )
        return lines[-1] if lines else "the connection ended"

    def close(self) -> None:
        """Let the process send its remaining data, then end it."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


def address_of(url: str) -> tuple[str, int, dict[str, str]]:
    """Parse a URL to (host, port, options). Raises ValueError without a port."""
    parts = urlsplit(url)
    if parts.port is None:
        raise ValueError("the address has no port")
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return (parts.hostname or "127.0.0.1"), parts.port, options
