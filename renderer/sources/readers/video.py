"""Decode video files and network streams with PyAV: upright, square pixels, sRGB, with frame times."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.error import EOFError, ExitError, FFmpegError, InvalidDataError, ProtocolNotFoundError, TimeoutError
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation

from renderer.sources.readers.shot import Shot, SourceLost
from renderer.sources.readers.tone_map import to_sdr

OPEN_S, READ_S = 5.0, 5.0  # a network source that is silent for longer is lost
HARDWARE = ("cuda", "videotoolbox", "d3d11va", "vaapi")
HARDWARE_PIXELS = 1280 * 720  # below this size the copy from the GPU costs more than decoding on the CPU
NEAR_S = 1.0  # longest delay of a camera's buffers
MOST_BROKEN = 100  # limit on consecutive packets that cannot be decoded
HDR = {int(ColorTrc.SMPTE2084): "pq", int(ColorTrc.ARIB_STD_B67): "hlg"}
KNOWN_SPACES = {int(space) for space in Colorspace}
LIVE_OPTIONS = {"flags": "low_delay", "analyzeduration": "1000000"}
NO_BUFFER = {"fflags": "nobuffer"}  # not for HLS, where it drops the entire first segment
PROTOCOL_OPTIONS = {
    "rtsp": {"rtsp_transport": "tcp", **NO_BUFFER},
    "rtmp": NO_BUFFER,
    "tcp": NO_BUFFER,
    "udp": {**NO_BUFFER, "fifo_size": "20000", "overrun_nonfatal": "1"},
}


class VideoReader:
    """An open video file, stream or device. `read` returns frames in order of time; only files can seek."""

    def __init__(self, target: str, *, live: bool = False, name: str = "", **opened: object):
        """live: a stream or device, opened with timeouts and minimal delay. opened: further arguments of
        `av.open`, such as format. Raises SourceLost."""
        self.name, self.live, self._device = name or target, live, "format" in opened
        self._container = self._open(target, opened)
        if not self._container.streams.video:
            self._container.close()
            raise SourceLost(f"{self.name} has no video in it")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "SLICE" if live else "AUTO"  # frame threading delays one frame per thread
        self._stream.codec_context.thread_count = 1 if live else 2  # leave the cores to the model
        rate = self._stream.guessed_rate or self._stream.average_rate or Fraction(30)
        self.interval_s = float(1 / rate) if 1 <= rate <= 1000 else 1 / 30
        self._begin_s: float | None = None  # time stamp of the first frame
        self._last_s = -self.interval_s
        self._from_s = 0.0  # frames before this position are only decoded to reach it
        self._frames = self._decode()

    def _open(self, target: str, opened: dict):
        options = dict(opened.pop("options", None) or {})
        if self.live:
            options = LIVE_OPTIONS | PROTOCOL_OPTIONS.get(target.partition("://")[0].lower(), {}) | options
            opened["timeout"] = (OPEN_S, READ_S)
        began_s = time.perf_counter()
        try:
            container = av.open(target, options=options, **opened)
            return container if self.live else on_hardware(container, target, options, opened)
        except (FFmpegError, OSError, ValueError) as error:
            if self.live and time.perf_counter() - began_s > 0.9 * OPEN_S:  # RTSP: no timeout error
                raise SourceLost(f"{self.name} does not answer") from error
            raise SourceLost(reason(self.name, error)) from error

    @property
    def duration_s(self) -> float | None:
        """Duration of a file; None if it is not stated."""
        length = self._container.duration
        return None if length is None or length <= 0 else length / av.time_base

    def read(self) -> Shot | None:
        """The next frame; None at the end. Raises SourceLost."""
        try:
            return next(self._frames, None)
        except (FFmpegError, OSError) as error:
            raise SourceLost(reason(self.name, error)) from error

    def seek(self, media_s: float) -> None:
        """Seek to the first frame at or after this position; the first frame is at 0. Raises SourceLost."""
        media_s = max(0.0, media_s)
        at_s = media_s + (self._begin_s or 0.0)
        try:
            self._container.seek(round(at_s * av.time_base), backward=True)
            self._stream.codec_context.flush_buffers()
        except (FFmpegError, OSError) as error:
            raise SourceLost(f"{self.name} cannot be positioned: {reason(self.name, error)}") from error
        self._from_s = media_s
        self._last_s = media_s - self.interval_s
        self._frames = self._decode()

    def close(self) -> None:
        self._container.close()

    def _decode(self) -> Iterator[Shot]:
        broken = 0
        packets = self._container.demux(self._stream)
        while True:
            packet = next(packets, None)
            if packet is None:
                return
            captured_s = captured_at(packet, time.perf_counter()) if self._device else time.perf_counter()
            try:
                frames = packet.decode()
                broken = 0
            except InvalidDataError:  # a damaged packet loses only its own frames
                broken += 1
                if broken > MOST_BROKEN:
                    raise
                continue
            for frame in frames:
                media_s = self._time_of(frame)
                if media_s >= self._from_s - 1e-6:
                    yield Shot(self._size(frame), captured_s, media_s, Converter(frame))

    def _time_of(self, frame: av.VideoFrame) -> float:
        """Seconds since the first frame; a frame without a time stamp follows the last by one interval."""
        stamp = frame.time
        if stamp is None:
            at_s = self._last_s + self.interval_s
        else:
            if self._begin_s is None:
                self._begin_s = stamp
            at_s = stamp - self._begin_s
        self._last_s = at_s
        return at_s

    def _size(self, frame: av.VideoFrame) -> tuple[int, int]:
        width, height = frame.width, frame.height
        aspect = self._stream.sample_aspect_ratio
        if aspect is not None and aspect > 0 and aspect != 1:  # anamorphic: pixels are not square
            width = max(1, round(width * aspect))
        return (height, width) if quarter_turns(frame) % 2 else (width, height)


class Converter:
    """Converts a frame to RGB at a given size; see Shot.convert."""

    def __init__(self, frame: av.VideoFrame):
        self._frame = frame

    def __call__(self, width: int, height: int) -> np.ndarray:
        frame, turns = self._frame, quarter_turns(self._frame)
        if turns % 2:
            width, height = height, width
        space = frame.colorspace if frame.colorspace in KNOWN_SPACES else untagged(frame)
        transfer = HDR.get(frame.color_trc)
        made = frame.reformat(
            width,
            height,
            "rgb48le" if transfer else "rgb24",
            src_colorspace=space,
            dst_colorspace=space,
            src_color_range=full_or_limited(frame),
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA if width < frame.width else Interpolation.BILINEAR,
            threads=1,
        ).to_ndarray()
        rgb = to_sdr(made, transfer) if transfer else made
        return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def captured_at(packet: av.Packet, now_s: float) -> float:
    """Capture time of a camera picture, from its V4L2 time stamp if possible.

    V4L2 uses the system's monotonic clock, which on Linux is that of perf_counter. A stamp of another clock
    is not close to now, and is not used."""
    if packet.pts is None or packet.time_base is None:
        return now_s
    stamp_s = float(packet.pts * packet.time_base)
    return stamp_s if 0 <= now_s - stamp_s < NEAR_S else now_s


def quarter_turns(frame: av.VideoFrame) -> int:
    """Number of 90-degree counterclockwise rotations that make the frame upright: 0 to 3."""
    return round(frame.rotation / 90) % 4


def untagged(frame: av.VideoFrame) -> int:
    """Colour matrix of an untagged frame, as assumed by players: BT.709 from 720 lines on, else BT.601."""
    return int(Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601)


def full_or_limited(frame: av.VideoFrame) -> int:
    if frame.color_range in (int(ColorRange.MPEG), int(ColorRange.JPEG)):
        return frame.color_range
    full = frame.format.name.startswith(("yuvj", "rgb", "bgr", "gbr", "gray", "pal"))
    return int(ColorRange.JPEG if full else ColorRange.MPEG)


def on_hardware(container, target: str, options: dict, opened: dict):
    """Reopen a file with GPU decoding if available and the pictures are large; else return it unchanged."""
    video = container.streams.video
    if not video or video[0].width * video[0].height < HARDWARE_PIXELS or video[0].codec_context is None:
        return container
    for kind in HARDWARE:
        if kind not in hwdevices_available():
            continue
        with contextlib.suppress(FFmpegError, OSError, ValueError, RuntimeError, NotImplementedError):
            accelerated = av.open(target, options=options, hwaccel=HWAccel(kind), **opened)
            if accelerated.streams.video and accelerated.streams.video[0].codec_context.is_hwaccel:
                container.close()
                return accelerated
            accelerated.close()
    return container


def reason(name: str, error: Exception) -> str:
    """One-line error message for a source, with advice if known."""
    if isinstance(error, ExitError | TimeoutError):
        return f"{name} does not answer"
    if isinstance(error, ProtocolNotFoundError):
        scheme = name.partition("://")[0]
        return f"this PyAV cannot read {scheme}://; use rtsp, udp, http or rtmp"
    if isinstance(error, EOFError):
        return f"{name} ended"
    if isinstance(error, InvalidDataError):
        return f"{name} is no video that can be read"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{name}: {words[0].lower()}{words[1:]}"


def to_rgb(bgra: np.ndarray) -> np.ndarray:
    """Convert (H, W, 4) BGRA to (H, W, 3) RGB uint8."""
    return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGB)
