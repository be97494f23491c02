"""H.264 encoder: pictures of one size -> packets with their time; pictures are never reordered."""

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
KEY_EVERY_MS = 2000  # where a player can jump to; each costs twice the time of another picture
# `qp`, not `crf`, which looks at each picture twice: 0.89 ms of processor for two panes of 512 px, not 1.35.
LIVE = {"preset": "ultrafast", "tune": "zerolatency", "qp": "18", "threads": "1"}
FINE = {"preset": "medium", "crf": "16", "bf": "0", "threads": "1"}
BT709, LIMITED = 1, 1  # FFmpeg's numbers; a player takes pictures of 720 rows and more for BT.709 anyway
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
    """One encoded picture. ms: when it is shown. key: it is decoded without those before it."""

    data: bytes
    ms: int
    key: bool


class Encoder:
    """One H.264 stream. Its headers are apart from its packets, so that a file can begin at any key frame."""

    def __init__(self, size: tuple[int, int], options: dict[str, str] = LIVE):
        """size: (width, height) in pixels, both even. options: of x264; LIVE has no delay."""
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
        """Encode what `planar` made, shown at `ms`, which must have grown; `key` asks for a key frame.

        The planes may be written to afterwards.
        """
        frame = frame_of(planes)
        ms = max(ms, self._last_ms + 1)
        frame.pts, frame.time_base, self._last_ms = ms, MILLISECOND, ms
        if key or self._key_ms is None or ms - self._key_ms >= KEY_EVERY_MS:
            frame.pict_type, self._key_ms = av.video.frame.PictureType.I, ms
        return [packet_of(packet) for packet in self.stream.encode(frame)]

    def flush(self) -> list[Packet]:
        """The packets that the encoder still holds; nothing can be encoded afterwards."""
        return [packet_of(packet) for packet in self.stream.encode(None)]

    def close(self) -> None:
        self._nowhere.close()


def packet_of(packet: av.Packet) -> Packet:
    return Packet(bytes(packet), packet.pts or 0, packet.is_keyframe)


def frame_of(planes: np.ndarray) -> av.VideoFrame:
    """A frame that shares the memory of the planes. PyAV 18 cannot for heights not divisible by four."""
    shared = planes.shape[0] % 6 == 0
    make = av.VideoFrame.from_numpy_buffer if shared else av.VideoFrame.from_ndarray
    return make(planes, format="yuv420p")


def planar(picture: np.ndarray, planes: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) RGB or (H, W, 4) BGRA uint8 -> (H * 3 / 2, W) uint8, the planes that H.264 encodes.

    planes: an array to be filled. OpenCV converts by BT.601 alone, so BT.709's matrix is applied here: 1.5 ms
    for 1280x720.
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
    """The picture without its last row or column where their number is odd: 4:2:0 halves the colours."""
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def streaming(kbps: int) -> dict[str, str]:
    """x264 options for a network: no delay, and at most so many kilobits a second."""
    limits = dict.fromkeys(("b", "maxrate", "bufsize"), f"{kbps}k")
    return {"preset": "ultrafast", "tune": "zerolatency", "threads": "1", **limits}
