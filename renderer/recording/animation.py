"""Animated WebP and GIF files that loop forever."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.filter
import numpy as np

ANIMATIONS = (".webp", ".gif")
WEBP = {"quality": "70", "compression_level": "4"}
WEBP_TICK, GIF_TICK = Fraction(1, 1000), Fraction(1, 100)  # finest time units of the formats
PALETTE_PICTURES = 64  # sample from which a GIF's 256 colours are chosen


class Pictures(Protocol):
    """A sequence of pictures, (H, W, 3) uint8 RGB of one size."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> np.ndarray: ...


def write_animation(path: Path, pictures: Pictures, fps: float) -> None:
    """Write an animation in the format given by the suffix of the path. Raises OSError."""
    gif = path.suffix == ".gif"
    codec, tick, options = ("gif", GIF_TICK, {}) if gif else ("libwebp_anim", WEBP_TICK, WEBP)
    reduce = PaletteReduction(pictures) if gif else None
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options={"loop": "0"}) as file:
        stream = file.add_stream(codec, rate=round(1 / tick), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8" if gif else "yuv420p"
        stream.codec_context.time_base = tick
        for number in range(len(pictures)):
            frame = frame_of(pictures[number])
            frame = reduce(frame) if reduce is not None else frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = round(number / fps / tick), tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def frame_of(picture: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")


class PaletteReduction:
    """Reduces frames to a common palette of 256 colours with FFmpeg's palettegen and paletteuse."""

    def __init__(self, pictures: Pictures):
        some = range(0, len(pictures), max(1, len(pictures) // PALETTE_PICTURES))
        first = pictures[0]
        gather = av.filter.Graph()
        source, end = add_source(gather, first.shape[1], first.shape[0]), gather.add("buffersink")
        made = gather.add("palettegen", "stats_mode=full")
        source.link_to(made)
        made.link_to(end)
        gather.configure()
        for number in some:
            source.push(frame_of(pictures[number]))
        source.push(None)
        palette = end.pull()

        self._graph = graph = av.filter.Graph()
        self._source, colors = (
            add_source(graph, first.shape[1], first.shape[0]),
            add_source(graph, 16, 16, "bgra"),
        )
        use, self._sink = graph.add("paletteuse", "dither=bayer:bayer_scale=5"), graph.add("buffersink")
        self._source.link_to(use, 0, 0)
        colors.link_to(use, 0, 1)
        use.link_to(self._sink)
        graph.configure()
        colors.push(palette)
        colors.push(None)
        self._number = 0

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        frame.pts, frame.time_base = self._number, GIF_TICK
        self._number += 1
        self._source.push(frame)
        reduced = self._sink.pull()
        assert isinstance(reduced, av.VideoFrame)
        return reduced


def add_source(graph: av.filter.Graph, width: int, height: int, pixels: str = "rgb24"):
    return graph.add_buffer(width=width, height=height, format=av.VideoFormat(pixels), time_base=GIF_TICK)
