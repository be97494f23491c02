"""Animated WebP and GIF, which a web page shows by itself, over and over."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

ANIMATIONS = (".webp", ".gif")
WEBP = {"quality": "70", "compression_level": "4"}
WEBP_TICK, GIF_TICK = Fraction(1, 1000), Fraction(1, 100)  # neither format knows finer times
LOOKED_AT = 64  # pictures from which a GIF's colours are chosen


def write_animation(path: Path, pictures: Sequence[np.ndarray], fps: float) -> None:
    """Write pictures, (H, W, 3) uint8 RGB of one size, by the suffix of the path. Raises OSError."""
    gif = path.suffix == ".gif"
    codec, tick, options = ("gif", GIF_TICK, {}) if gif else ("libwebp_anim", WEBP_TICK, WEBP)
    reduce = Reduction(pictures) if gif else None
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options={"loop": "0"}) as file:
        stream = file.add_stream(codec, rate=round(1 / tick), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8" if gif else "yuv420p"
        stream.codec_context.time_base = tick
        for number, picture in enumerate(pictures):
            frame = frame_of(picture)
            frame = reduce(frame) if gif else frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = round(number / fps / tick), tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def frame_of(picture: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")


class Reduction:
    """Frames in full colour -> the same in 256 colours that serve all of them."""

    def __init__(self, pictures: Sequence[np.ndarray]):
        some = range(0, len(pictures), max(1, len(pictures) // LOOKED_AT))
        first = pictures[0]
        gather = av.filter.Graph()
        source, end = entry(gather, first.shape[1], first.shape[0]), gather.add("buffersink")
        made = gather.add("palettegen", "stats_mode=full")
        source.link_to(made)
        made.link_to(end)
        gather.configure()
        for number in some:
            source.push(frame_of(pictures[number]))
        source.push(None)
        palette = end.pull()

        self._graph = graph = av.filter.Graph()
        self._source, colors = entry(graph, first.shape[1], first.shape[0]), entry(graph, 16, 16, "bgra")
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
        return self._sink.pull()


def entry(graph: av.filter.Graph, width: int, height: int, pixels: str = "rgb24"):
    return graph.add_buffer(width=width, height=height, format=pixels, time_base=GIF_TICK)
