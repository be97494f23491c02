"""Tests of image import: orientation, transparency, colour profiles, shapes, formats, extreme sizes."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from loop_harness import ROOT, SlowModel
from PIL import Image, ImageCms

from models.api import MAX_SIZE_PX, check_size
from renderer.actions import Command, InputError
from renderer.canvas.import_image import decode_paper
from renderer.files.images import MAX_SIDE_PX, decode, fit, nearest_size, read_labels
from renderer.files.images_format_1 import decode_format_1, fit_format_1
from renderer.files.outputs import write_whole


def encoded(image: Image.Image, kind: str = "PNG", **words) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **words)
    return made.getvalue()


def quarters() -> Image.Image:
    """Image of red, green, blue and white quarters, 48 px wide and 32 px high."""
    image = Image.new("RGB", (48, 32), (250, 250, 250))
    for box, color in (((0, 0), (250, 0, 0)), ((24, 0), (0, 250, 0)), ((0, 16), (0, 0, 250))):
        image.paste(color, (*box, box[0] + 24, box[1] + 16))
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_is_turned_upright(orientation, kind):
    """The file stores the picture rotated the opposite way, with the matching orientation tag."""
    T = Image.Transpose
    turned = {
        1: None, 2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM,
        5: T.TRANSPOSE, 6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270,
    }[orientation]  # fmt: skip
    image = quarters() if turned is None else quarters().transpose(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    words = (
        {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    )
    found = decode(encoded(image, kind, exif=exif, **words))
    assert found.shape == (32, 48, 4)
    for (x, y), color in (((8, 8), (250, 0, 0)), ((40, 8), (0, 250, 0)), ((8, 24), (0, 0, 250))):
        assert np.abs(found[y, x, :3].astype(int) - color).max() < 6


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM"])
def test_formats_are_read(name):
    words = {"quality": 100} if name in ("JPEG", "WEBP", "AVIF") else {}
    found = decode(encoded(quarters(), name, **words))
    assert found.shape == (32, 48, 4) and (found[..., 3] == 255).all()
    assert np.abs(found[8, 8, :3].astype(int) - (250, 0, 0)).max() < 12


def test_a_flattened_psd_is_read():
    """Minimal PSD: a header, three empty sections, and the pixels plane by plane."""
    pixels = np.array(quarters()).transpose(2, 0, 1).tobytes()
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 32, 48, 8, 3)
    found = decode(head + struct.pack(">IIIH", 0, 0, 0, 0) + pixels)
    assert (found[..., :3] == np.array(quarters())).all()


def test_transparency_of_every_kind_arrives_as_alpha():
    half = Image.new("RGBA", (8, 8), (200, 100, 50, 128))
    assert (decode(encoded(half)) == (200, 100, 50, 128)).all()
    assert (decode(encoded(half.convert("LA")))[..., 3] == 128).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 250, 10, 10, 10, 250, 10])
    palette.paste(2, (0, 0, 4, 8))
    found = decode(encoded(palette, transparency=bytes([255, 0, 90])))
    assert (found[:, 4:] == 0).all() and (found[:, :4] == (10, 250, 10, 90)).all()
    keyed = Image.new("RGB", (8, 8), (1, 2, 3))
    keyed.paste((200, 0, 0), (0, 0, 4, 8))
    found = decode(encoded(keyed, transparency=(1, 2, 3)))
    assert (found[:, 4:] == 0).all() and (found[:, :4] == (200, 0, 0, 255)).all()
    gray = decode(encoded(Image.new("L", (8, 8), 77), transparency=77))
    assert not gray.any()
    gif = decode(encoded(palette, "GIF", transparency=1))
    assert (gif[:, 4:, 3] == 0).all() and (gif[:, :4, 3] == 255).all()


def test_what_cannot_be_seen_is_unpainted():
    faint = decode(encoded(Image.new("RGBA", (8, 8), (200, 100, 50, 2))))
    assert not faint.any()


def test_more_than_8_bits_keep_their_brightness():
    deep = np.full((8, 8), 32896, np.uint16)
    assert (decode(encoded(Image.fromarray(deep)))[..., :3] == 128).all()
    color = cv2.imencode(".png", np.full((8, 8, 3), 32896, np.uint16))[1].tobytes()
    assert (decode(color)[..., :3] == 128).all()
    single = encoded(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF")
    assert (decode(single)[..., :3] == 128).all()


def test_a_colour_profile_is_turned_to_srgb():
    """With a profile whose red and blue are swapped, stored blue is shown as red."""
    found = decode(encoded(Image.new("RGB", (8, 8), (10, 20, 250)), icc_profile=swapped_profile()))
    assert np.abs(found[0, 0].astype(int) - (250, 20, 10, 255)).max() <= 3
    broken = decode(encoded(Image.new("RGB", (8, 8), (10, 20, 250)), icc_profile=b"no profile"))
    assert found.shape == broken.shape and (broken[0, 0] == (10, 20, 250, 255)).all()
    faint = Image.new("RGBA", (8, 8), (10, 20, 250, 90))
    assert (decode(encoded(faint, icc_profile=swapped_profile()))[..., 3] == 90).all()


def swapped_profile() -> bytes:
    """The sRGB profile of littlecms with the tags of the red and blue primaries exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


# Shapes


@pytest.mark.parametrize(("width", "height"), [(600, 400), (400, 600), (3000, 100), (64, 64)])
def test_a_picture_that_is_not_square_is_fitted_whole(width, height):
    image = np.zeros((height, width, 4), np.uint8)
    image[:] = (9, 99, 199, 255)
    made = fit(image, 256, 256)
    rows, columns = np.nonzero(made[..., 3])
    wide, high = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
    assert max(wide, high) == 256 and wide / high == pytest.approx(width / height, rel=0.1)
    assert abs(rows.min() - (255 - rows.max())) <= 1 and abs(columns.min() - (255 - columns.max())) <= 1
    assert (made[rows, columns] == (9, 99, 199, 255)).all()


@pytest.mark.parametrize(
    "size", [(600, 400), (1, 1), (20000, 2), (3000, 3), (512, 512), (4096, 4096), (31, 999)]
)
def test_the_nearest_size_is_one_of_a_paper(size):
    width, height = nearest_size(*size)
    check_size(height, width)
    assert nearest_size(width, height) == (width, height)


def test_scaling_mixes_no_colour_of_what_is_transparent():
    image = np.zeros((50, 50, 4), np.uint8)
    image[10:40, 10:40] = (250, 240, 230, 255)
    seen = fit(image, 96, 96)
    seen = seen[seen[..., 3] > 8].astype(int)
    assert np.abs(seen[:, :3] - (250, 240, 230)).max() < 24


# Extremes


def stripe(width: int, height: int) -> bytes:
    return encoded(Image.new("RGB", (width, height), (200, 30, 30)))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are set as on Linux")
@pytest.mark.parametrize("size", [(20000, 2), (3000, 3), (2, 20000), (60000, 1000), (8000, 8000)])
def test_an_extreme_ratio_takes_neither_memory_nor_time(tmp_path, size):
    """Decode and fit with the current code and that of format 1, within 1.5 GB of address space."""
    (tmp_path / "image.png").write_bytes(stripe(*size))
    code = f"""
import resource, sys
from pathlib import Path
import numpy, cv2
from PIL import Image, ImageCms, ImageOps
from renderer.canvas.import_image import decode_paper
from renderer.files.images_format_1 import decode_format_1, fit_format_1
cv2.setNumThreads(1)
limit = 1_500_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
data = Path(r"{tmp_path / "image.png"}").read_bytes()
print(decode_paper(data, (512, 512))[0].shape, decode_paper(data)[0].shape[2])
if {max(size) / min(size) > 100}:
    print(fit_format_1(decode_format_1(data), 512, 512).shape)
"""
    began_s = time.perf_counter()
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0 and "(512, 512, 4) 4" in done.stdout, done.stderr
    assert time.perf_counter() - began_s < 30


def test_an_image_that_claims_too_much_is_refused_before_it_is_decoded():
    for width, height in ((50_000, 50_000), (8001, 8000), (2**31 - 1, 1)):
        head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        began_s = time.perf_counter()
        with pytest.raises(InputError, match=r"megapixels|damaged|not an image"):
            decode(b"\x89PNG\r\n\x1a\n" + chunk)
        assert time.perf_counter() - began_s < 1


def test_a_large_image_is_made_smaller_at_once():
    found = decode(encoded(Image.new("RGB", (6000, 3000), (1, 2, 3)), "JPEG"))
    assert max(found.shape) <= MAX_SIDE_PX and found.shape[1] == 2 * found.shape[0] >= MAX_SIZE_PX


def test_the_format_1_way_cuts_before_it_scales():
    made = fit_format_1(decode_format_1(stripe(20000, 2)), 256, 256)
    assert made.shape == (256, 256, 4) and (made == (200, 30, 30, 255)).all()


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_a_damaged_file_is_one_line(cut):
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        data = encoded(quarters().resize((200, 200)), kind)
        with pytest.raises(InputError) as error:
            decode(data[:cut])
        assert "\n" not in str(error.value)


def test_an_extreme_image_does_not_hold_up_the_window(make_loop, tmp_path):
    """The image is read on a thread; ticks continue meanwhile and each is short."""
    (tmp_path / "wide.png").write_bytes(stripe(60000, 1000))
    one = make_loop(SlowModel()).ready()
    ticks = len(one.app.stats.tick_ms)
    one.do(Command("load", str(tmp_path / "wide.png")))
    one.until(lambda: not one.app.canvas.blank)
    assert len(one.app.stats.tick_ms) > ticks + 5 and one.app.canvas.pixels[128, 128, 0] == 200


# Label files and part files


def test_labels_are_read_as_they_are():
    labels = np.arange(13, dtype=np.uint8)[None].repeat(4, 0)
    assert (read_labels(encoded(Image.fromarray(labels))) == labels).all()
    pixels, materials = decode_paper(encoded(Image.new("RGB", (64, 64), (44, 98, 138))), (256, 256))
    assert pixels.shape == (256, 256, 4) and (materials == 9).all()


def test_a_failed_write_leaves_no_part_file(tmp_path, monkeypatch):
    """On a full disk the partial file is removed and the existing file stays."""
    path = tmp_path / "p.png"
    write_whole(path, b"first")

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        write_whole(path, b"second")
    assert [one.name for one in tmp_path.iterdir()] == ["p.png"] and path.read_bytes() == b"first"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is of Linux")
def test_a_full_disk_is_one_line(program, tmp_path):
    done = program("render", ROOT / "assets" / "sketches" / "lake.png", "-o", "/dev/full")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
