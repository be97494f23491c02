"""H.264 encoder: pictures of one size to packets with times; no B-frames, so the order is kept."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import NamedTuple

import av
import av.video.frame
import cv2
import numpy as np
from av.codec.context import Flags

MILLISECOND = Fraction(1, 1000)
KEY_EVERY_MS = 2000  # seek points; each costs twice the time of another picture
# `qp` instead of `crf`, which analyses each picture twice: 0.89 instead of 1.35 ms CPU for two 512 px panes.
LIVE = {"preset": "ultrafast", "tune": "zerolatency", "qp": "18", "threads": "1"}
FINE = {"preset": "medium", "crf": "16", "bf": "0", "threads": "1"}
BT709, LIMITED = 1, 1  # FFmpeg's codes; players assume BT.709 from 720 rows on
# ITU-R BT.709, 3.3 to 3.5: R'G'B' in 0..255 -> Y' in 16..235, Cb and Cr in 16..240.
KR, KG, KB = 0.2126, 0.7152, 0.0722
LUMA, CHROMA = 219 / 255, 224 / 255
RGB_TO_YUV = np.array(
    (
        (KR * LUMA, KG * LUMA, KB * LUMA, 16),
        (-KR / (2 - 2 * KB) * CHROMA, -KG / (2 - 2 * KB) * CHROMA, CHROMA / 2, 128),
        (CHROMA / 2, -KG / (2 - 2 * KR) * CHROMA, -KB / (2 - 2 * KR) * CHROMA, 128),
    ),
    np.float32,
)


class Packet(NamedTuple):
    """One encoded picture. ms: presentation time. key: it is a key frame."""

    data: bytes
    ms: int
    key: bool


class Encoder:
    """One H.264 stream with global headers, so that a file can begin at any key frame."""

    def __init__(self, size: tuple[int, int], options: dict[str, str] = LIVE):
        """size: (width, height) in pixels, both even. options: x264 options; LIVE has no delay."""
        self.size = size
        self._nowhere = av.open(os.devnull, "w", format="null")
        self.stream = self._nowhere.add_stream("libx264", rate=30, options=dict(options))
        self.stream.width, self.stream.height = size
        self.stream.pix_fmt, self.stream.time_base = "yuv420p", MILLISECOND
        codec = self.stream.codec_context
        codec.time_base, codec.gop_size, codec.flags = MILLISECOND, 250, int(Flags.global_header)
        codec.colorspace, codec.color_range = BT709, LIMITED
        codec.color_primaries = codec.color_trc = BT709
        self._nowhere.start_encoding()
        self._key_ms: int | None = None
        self._last_ms = -1

    def encode(self, planes: np.ndarray, ms: int, *, key: bool = False) -> list[Packet]:
        """Encode planes made by `planar`, shown at `ms`, which must increase. key: make it a key frame.

        The planes may be overwritten afterwards.
        """
        frame = frame_of(planes)
        ms = max(ms, self._last_ms + 1)
        frame.pts, frame.time_base, self._last_ms = ms, MILLISECOND, ms
        if key or self._key_ms is None or ms - self._key_ms >= KEY_EVERY_MS:
            frame.pict_type, self._key_ms = av.video.frame.PictureType.I, ms
        return [packet_of(packet) for packet in self.stream.encode(frame)]

    def flush(self) -> list[Packet]:
        """The packets still in the encoder. Nothing can be encoded afterwards."""
        return [packet_of(packet) for packet in self.stream.encode(None)]

    def close(self) -> None:
        self._nowhere.close()


def packet_of(packet: av.Packet) -> Packet:
    return Packet(bytes(packet), packet.pts or 0, packet.is_keyframe)


def frame_of(planes: np.ndarray) -> av.VideoFrame:
    """A frame sharing the memory of the planes. PyAV 18 cannot do this for heights not divisible by four."""
    shared = planes.shape[0] % 6 == 0
    make = av.VideoFrame.from_numpy_buffer if shared else av.VideoFrame.from_ndarray
    return make(planes, format="yuv420p")


def planar(picture: np.ndarray, planes: np.ndarray | None = None) -> np.ndarray:
    """Convert (H, W, 3) RGB or (H, W, 4) BGRA uint8 to YUV 4:2:0 planes, (H * 3 / 2, W) uint8.

    planes: output array. OpenCV only converts with BT.601, so the BT.709 matrix is applied here: 1.5 ms for
    1280x720.
    """
    height, width = picture.shape[:2]
    rgb = picture if picture.shape[2] == 3 else cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB)
    luma, blue, red = cv2.split(cv2.transform(rgb, RGB_TO_YUV))
    made = np.empty((height * 3 // 2, width), np.uint8) if planes is None else planes
    made[:height] = luma
    half = (width // 2, height // 2)
    chroma = made[height:].reshape(2, half[1], half[0])
    for plane, whole in zip(chroma, (blue, red), strict=True):
        plane[:] = cv2.resize(whole, half, interpolation=cv2.INTER_AREA)
    return made


def even(picture: np.ndarray) -> np.ndarray:
    """Crop the last row or column of an odd height or width, as 4:2:0 subsampling needs even sizes."""
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def streaming(kbps: int) -> dict[str, str]:
    """x264 options for streaming: no delay, and a limit in kilobits per second."""
    limits = dict.fromkeys(("b", "maxrate", "bufsize"), f"{kbps}k")
    return {"preset": "ultrafast", "tune": "zerolatency", "threads": "1", **limits}
