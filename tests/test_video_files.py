"""Finished videos: BT.709 colours, and MP4 files with duration and index at the front."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from video_helpers import decoded, shade

from renderer.recording.container import VideoFile, index_first
from renderer.recording.encoder import FINE, Encoder, planar

COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (118, 169, 222), (38, 72, 44), (255, 255, 255), (0, 0, 0))


def write(path, pictures) -> None:
    encoder = film = None
    for number, picture in enumerate(pictures):
        if encoder is None:
            encoder = Encoder((picture.shape[1], picture.shape[0]), FINE)
            film = VideoFile(path, encoder.stream)
        for packet in encoder.encode(planar(picture), number * 100):
            film.add(packet)
    for packet in encoder.flush():
        film.add(packet)
    film.finish()


def boxes(data: bytes) -> list[bytes]:
    """Types of the boxes of an MP4, in order."""
    at, kinds = 0, []
    while at + 8 <= len(data):
        kinds.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big") or len(data)
    return kinds


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("order", ["RGB", "BGRA"])
def test_planes_are_those_of_bt709(color, order):
    """Planes match the formulas of ITU-R BT.709 in double precision."""
    r, g, b = (v / 255 for v in color)
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    expected = 16 + 219 * y, 128 + 224 * (b - y) / 1.8556, 128 + 224 * (r - y) / 1.5748
    picture = np.full((32, 64, 3), color, np.uint8)
    if order == "BGRA":
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGRA)
    planes = planar(picture)
    chroma = planes[32:].reshape(2, 16, 32)
    found = planes[:32].mean(), chroma[0].mean(), chroma[1].mean()
    assert np.abs(np.subtract(found, expected)).max() <= 1
    assert (planar(picture, np.empty_like(planes)) == planes).all()


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_colours_come_back_and_are_tagged(tmp_path, suffix):
    path = tmp_path / f"film.{suffix}"
    write(path, [np.full((64, 96, 3), color, np.uint8) for color in COLORS])
    with av.open(str(path)) as film:
        context = film.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)
        assert (context.color_primaries, context.color_trc) == (1, 1)
    _, pictures = decoded(path)
    for color, picture in zip(COLORS, pictures, strict=True):
        assert np.abs(picture.astype(int).mean((0, 1)) - color).max() < 5


def test_a_finished_mp4_has_its_index_in_front_and_its_duration(tmp_path):
    path = tmp_path / "film.mp4"
    write(path, [shade(20 * i) for i in range(10)])
    kinds = boxes(path.read_bytes())
    assert kinds.index(b"moov") < kinds.index(b"mdat") and b"moof" not in kinds
    with av.open(str(path)) as film:
        assert film.duration / 1e6 == pytest.approx(1.0, abs=0.15) and film.streams.video[0].frames == 10
    times, pictures = decoded(path)
    assert times == pytest.approx([0.1 * i for i in range(10)], abs=0.002)
    assert [round(float(picture.mean()) / 20) for picture in pictures] == list(range(10))
    assert [one.name for one in tmp_path.iterdir()] == ["film.mp4"]


def test_a_disk_that_is_full_at_the_end_leaves_the_fragments(tmp_path, monkeypatch):
    """The fragmented file plays, and no partial file remains beside it."""

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("renderer.recording.container.os.replace", full)
    write(tmp_path / "film.mp4", [shade(20 * i) for i in range(10)])
    assert b"moof" in boxes((tmp_path / "film.mp4").read_bytes())
    assert len(decoded(tmp_path / "film.mp4")[1]) == 10
    assert [one.name for one in tmp_path.iterdir()] == ["film.mp4"]


def test_the_same_film_is_the_same_bytes(tmp_path):
    files, packets = [], []
    encoder = Encoder((96, 64), FINE)
    for number in range(5):
        packets += encoder.encode(planar(shade(number * 30)), number * 100)
    packets += encoder.flush()
    for name in ("a", "b"):
        film = VideoFile(tmp_path / f"{name}.mp4", encoder.stream, exact=True)
        for packet in packets:
            film.add(packet)
        film.finish()
        film.finish()
        files.append((tmp_path / f"{name}.mp4").read_bytes())
    assert files[0] == files[1]
    with pytest.raises(OSError):
        index_first(tmp_path / "none.mp4")
