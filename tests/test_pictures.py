"""PNG files with the settings inside, by this program and read by another."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest

from renderer.actions import InputError
from renderer.files.png import SIGNATURE, chunk, read_about, read_bytes, write_png

ABOUT = {"seed": 2**63 - 1, "prompt": 'fog "over" é 山', "mood": {"haze": 0.125}, "strength": 0.1}


@pytest.mark.parametrize("channels", [3, 4])
def test_pixels_and_settings_come_back_exactly(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 32, channels), np.uint8)
    write_png(tmp_path / "a" / "b.png", pixels, ABOUT)
    data = read_bytes(tmp_path / "a" / "b.png")
    assert read_about(data) == ABOUT
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = cv2.COLOR_BGRA2RGBA if channels == 4 else cv2.COLOR_BGR2RGB
    assert (cv2.cvtColor(image, order) == pixels).all()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]


def test_every_chunk_is_whole(tmp_path):
    """Length, type and CRC of each chunk, as the PNG specification has them."""
    write_png(tmp_path / "p.png", np.zeros((4, 4, 3), np.uint8), ABOUT)
    data = (tmp_path / "p.png").read_bytes()
    at, kinds = len(SIGNATURE), []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        kinds.append(body[:4])
        assert int.from_bytes(data[at + 8 + length : at + 12 + length], "big") == zlib.crc32(body)
        at += 12 + length
    assert kinds[0] == b"IHDR" and kinds[-2:] == [b"iTXt", b"IEND"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        SIGNATURE,
        SIGNATURE + b"\xff" * 40,
        SIGNATURE + chunk(ABOUT)[:-9],
        SIGNATURE + chunk([1, 2]),
        SIGNATURE + b"\0\0\0\x0ciTXtflowbrush\0\0\0",
    ],
)
def test_what_holds_no_settings_gives_none(data):
    assert read_about(data) == {}


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_png(tmp_path / "file" / "p.png", np.zeros((4, 4, 3), np.uint8))


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(tmp_path / "none.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(tmp_path)
