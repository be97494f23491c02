"""PNG files with embedded settings, and their compatibility with other readers."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from renderer.actions import InputError
from renderer.files.png import read_about, read_bytes, write_png

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


def test_settings_stand_before_the_pixels(tmp_path):
    """Settings precede the pixels, so reading decodes no image; settings after the pixels are read too."""
    write_png(tmp_path / "p.png", np.zeros((4, 4, 3), np.uint8), ABOUT)
    data = (tmp_path / "p.png").read_bytes()
    assert data.index(b"iTXt") < data.index(b"IDAT")
    begin = data.index(b"iTXt") - 4
    size = 12 + int.from_bytes(data[begin : begin + 4], "big")
    chunk = data[begin : begin + size]
    assert read_about(data[:begin] + data[begin + size : -12] + chunk + data[-12:]) == ABOUT


def png_with(text: str) -> bytes:
    made, info = io.BytesIO(), PngInfo()
    info.add_itxt("flowbrush", text)
    Image.new("RGB", (4, 4)).save(made, "PNG", pnginfo=info)
    return made.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 40,
        png_with(json.dumps(ABOUT))[:60],
        png_with("[1, 2]"),
        png_with("{"),
        png_with(""),
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
