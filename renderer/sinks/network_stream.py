"""Network streaming of the recorder's H.264 packets: MPEG-TS over UDP or SRT, RTMP, or an HLS folder."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
from av.container import OutputContainer
from av.error import ExitError, FFmpegError, ProtocolNotFoundError

from renderer.actions import InputError
from renderer.recording.encoder import MILLISECOND, Packet
from renderer.sinks.writers import TS_BYTES, RelayWriter, TcpWriter, UdpWriter, Writer, address_of

QUEUE = 60  # limit of queued packets: two seconds at 30 per second
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 5.0
CLOSE_S = 2.0
BUFFER_BYTES = 24 * TS_BYTES  # a whole number of MPEG-TS packets
SCHEMES = ("udp", "srt", "rtmp", "rtmps", "tcp")


@dataclass(frozen=True)
class StreamTarget:
    """Target of a stream. format: container format. options: muxer options."""

    url: str
    format: str
    options: dict[str, str]

    @property
    def name(self) -> str:
        """Name for messages, without the stream key at the end of an RTMP path."""
        if "://" not in self.url:
            return self.url
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.partition('/')[0].partition('?')[0].rpartition('@')[2]}"


def parse_stream(text: str) -> StreamTarget:
    """Parse the value of `--stream`: a URL, or a folder for HLS. Raises InputError."""
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in ("rtmp", "rtmps"):
        return checked(StreamTarget(text, "flv", {"flvflags": "no_duration_filesize"}))
    if scheme in SCHEMES:
        if scheme in ("udp", "tcp"):
            check_address(text)
        return checked(StreamTarget(text, "mpegts", {}))
    if scheme:
        raise InputError(f"{scheme}:// cannot be streamed to; use {', '.join(SCHEMES)}, or a folder for HLS")
    folder = Path(text).expanduser()
    if folder.suffix == ".m3u8":
        folder = folder.parent
    elif folder.suffix and not folder.is_dir():
        raise InputError(f"{text} is no URL and no folder; to write a file use --record")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and not empty; name a new folder for the stream")
    options = {
        "hls_time": "2",
        "hls_list_size": "6",
        "hls_flags": "delete_segments+independent_segments",
        "hls_segment_filename": str(folder / "segment-%05d.ts"),
    }
    return StreamTarget(str(folder / "index.m3u8"), "hls", options)


def check_address(url: str) -> None:
    """Raise InputError for an address without a port or with an invalid option."""
    try:
        _, _, options = address_of(url)
        for name in ("pkt_size", "ttl"):
            if int(options.get(name, 1)) <= 0:
                raise ValueError(f"{name} must be above 0")
    except ValueError as error:
        raise InputError(f"{url} cannot be streamed to: {error}; write udp://host:port") from error


def checked(target: StreamTarget) -> StreamTarget:
    """Return the target. Raises InputError if this build of FFmpeg lacks the protocol."""
    scheme = target.url.partition("://")[0]
    try:
        av.open(f"{scheme}:", "r", format="mpegts", timeout=0.1).close()
    except ProtocolNotFoundError as error:
        others = ", ".join(name for name in ("udp", "tcp", "rtmp") if name != scheme)
        raise InputError(
            f"the FFmpeg inside this PyAV has no {scheme}://; stream with {others}, or to a folder for HLS"
        ) from error
    except (FFmpegError, OSError, ValueError):
        pass  # the protocol exists; opening an empty address always fails
    return target


def open_writer(target: StreamTarget) -> tuple[Writer, str]:
    """Open the writer of a target. Returns (writer, container format). Raises OSError."""
    scheme = target.url.partition("://")[0].lower()
    if scheme == "udp":
        return UdpWriter(target.url), "mpegts"
    if scheme == "tcp":
        return TcpWriter(target.url), "mpegts"
    return RelayWriter(target.url, target.format), "matroska"


class NetworkStream:
    """Sends packets on its own thread. Packets that do not fit the queue are dropped and counted.

    state, problem: of the connection, which is retried when lost. sent, dropped: numbers of pictures.
    Receivers can start only at a key frame, so after a drop or a new connection packets up to the next one
    are skipped.
    """

    def __init__(self, target: StreamTarget):
        self.target = target
        self.state: Literal["opening", "live", "lost", "closed"] = "opening"
        self.problem = ""
        self.sent = self.dropped = 0
        self.wants_key = True  # request a key frame from the encoder
        self._writer: Writer | None = None
        self._like: av.VideoStream | None = None
        self._queue: deque[Packet] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def offer(self, packet: Packet, like: av.VideoStream) -> None:
        """Queue a packet; never waits. like: the encoder's stream, for the header."""
        with self._ready:
            self._like = like
            if self._closing:
                return
            if len(self._queue) >= QUEUE or (self.wants_key and not packet.key):
                self.dropped += 1
                self.wants_key = True
                return
            self.wants_key = False
            self._queue.append(packet)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
                self._thread.start()
            self._ready.notify()

    def close(self) -> bool:
        """Send the queued packets and end the stream. Returns whether this was in time. Idempotent."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        if self._thread is None:
            return True
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._closing:
            output, before = None, self.sent
            self._writer = None
            try:
                output = self._open()
                self._send(*output)
            except (FFmpegError, OSError, ValueError) as error:
                self._lose(error)
            finally:
                if output is not None:
                    with contextlib.suppress(FFmpegError, OSError):
                        output[0].close()
                if self._writer is not None:
                    self._writer.close()
            if not self._closing:
                retry_s = FIRST_RETRY_S if self.sent > before else min(LAST_RETRY_S, 2 * retry_s)
                with self._ready:
                    self._ready.wait_for(lambda: self._closing, retry_s)
                    self.dropped += len(self._queue)
                    self._queue.clear()
                    self.wants_key = True
        self.state = "closed"

    def _lose(self, error: Exception) -> None:
        if self._closing:
            return
        if isinstance(error, ExitError | TimeoutError):
            words = "does not answer"
        else:
            words = (getattr(error, "strerror", None) or str(error)).lower()
        self.state, self.problem = "lost", f"the stream to {self.target.name}: {words}"

    def _open(self) -> tuple[OutputContainer, av.VideoStream]:
        target = self.target
        assert self._like is not None, "the thread starts with the first packet"
        flush = {"flush_packets": "1"}
        if target.format == "hls":
            Path(target.url).parent.mkdir(parents=True, exist_ok=True)
            container = av.open(
                target.url, "w", format="hls", options=target.options, container_options=flush
            )
        else:
            self._writer, kind = open_writer(target)
            container = av.open(
                self._writer, "w", format=kind, buffer_size=BUFFER_BYTES, container_options=flush
            )
        stream = container.add_stream_from_template(self._like)
        stream.time_base = MILLISECOND
        return container, stream

    def _send(self, container: OutputContainer, stream: av.VideoStream) -> None:
        begin_ms: int | None = None
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                packet = self._queue.popleft()
            if begin_ms is None:
                begin_ms = packet.ms
            out = av.Packet(packet.data)
            out.pts = out.dts = packet.ms - begin_ms
            out.time_base, out.is_keyframe, out.stream = MILLISECOND, packet.key, stream
            container.mux(out)
            self.sent += 1
            self.state, self.problem = "live", ""

    def words(self) -> str:
        """One line for the HUD."""
        if self.state == "lost":
            return f"{self.problem}; trying again"
        return f"streaming, {self.dropped} dropped" if self.state == "live" else "the stream opens"
