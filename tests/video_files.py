"""Small video files for the tests of sources: every frame says its number in its grey level and colours."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICK = Fraction(1, 1000)


def numbered(number: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: grey by number, and a red mark in the top left corner, so that turns are seen."""
    picture = np.full((size[1], size[0], 3), 40 + number * 5 % 200, np.uint8)
    picture[: size[1] // 4, : size[0] // 4] = (220, 30, 30)
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number that `numbered` wrote, read from the middle."""
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2, :3].mean()
    return round((middle - 40) / 5)


def write_video(
    path: Path,
    times_ms: Sequence[int],
    *,
    size: tuple[int, int] = (320, 240),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    turned: int | None = None,
    audio_s: float = 0.0,
    sound: str = "aac",
    pictures: Sequence[np.ndarray] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video with a frame at each of these times. turned: degrees counterclockwise to stand upright."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(
            codec, rate=30, options={"crf": "10", "g": "10"} if options is None else options
        )
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = stream.time_base = TICK
        if turned is not None:
            stream.set_display_rotation(turned)
        heard = file.add_stream(sound, rate=48000, layout="mono") if audio_s else None
        for number, ms in enumerate(times_ms):
            picture = numbered(number, size) if pictures is None else pictures[number]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = ms, TICK
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if heard is not None:
            total = int(audio_s * 48000)
            wave = 0.3 * np.sin(np.arange(total) * 2 * np.pi * 440 / 48000)
            for begin in range(0, total, 1024):
                part = (wave[begin : begin + 1024] * 32767).astype(np.int16)[None]
                samples = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = 48000, begin, Fraction(1, 48000)
                file.mux(heard.encode(samples))
            file.mux(heard.encode(None))
    return path


def steady(count: int, fps: float = 30.0) -> list[int]:
    """Times of frames at a constant rate."""
    return [round(number * 1000 / fps) for number in range(count)]
