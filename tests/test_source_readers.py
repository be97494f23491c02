"""Source readers on real files, folders and an X server: order, times, orientation, colour, errors."""

from __future__ import annotations

import errno
import os
import socket
import time
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from video_files import number_of, numbered, steady, write_video

from models.api import Rect
from renderer.actions import InputError
from renderer.sources.geometry import FITS, Placement
from renderer.sources.readers import camera, video
from renderer.sources.readers.folder import FolderReader
from renderer.sources.readers.shot import Shot, SourceLost
from renderer.sources.readers.spec import SourceSpec, parse_source
from renderer.sources.readers.tone_map import roll_off, to_sdr
from renderer.sources.readers.video import VideoReader


def all_shots(reader) -> list[Shot]:
    shots = []
    while (shot := reader.read()) is not None:
        shots.append(shot)
    return shots


def image_of(shot: Shot) -> np.ndarray:
    return shot.convert(*shot.size)


# --source


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("webcam", SourceSpec("webcam")),
        ("webcam:2", SourceSpec("webcam", index=2)),
        ("screen", SourceSpec("screen", index=1)),
        ("screen:0", SourceSpec("screen", index=0)),
        ("screen:640x480+10+20", SourceSpec("screen", index=1, region=Rect(10, 20, 650, 500))),
        ("rtsp://host/live", SourceSpec("url", "rtsp://host/live")),
        ("UDP://@:5000", SourceSpec("url", "UDP://@:5000")),
    ],
)
def test_a_source_is_named(text, spec):
    assert parse_source(text) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("webcam:x", "names no camera"),
        ("screen:640", None),
        ("screen:640x", "WIDTHxHEIGHT"),
        ("screen:0x480", "is empty"),
        ("ftp://host/film.mp4", "not a protocol"),
        ("no-such-file.mp4", "is not there"),
    ],
)
def test_a_source_that_cannot_be_is_refused_in_one_line(text, words):
    if words is None:
        assert parse_source(text).index == 640
        return
    with pytest.raises(InputError, match=words) as refused:
        parse_source(text)
    assert "\n" not in str(refused.value)


def test_messages_show_no_password():
    spec = parse_source("rtsp://me:secret@camera.local:554/live?token=7")
    assert spec.name == "rtsp://camera.local:554/live" and "secret" in spec.target
    assert parse_source("udp://@:5000").name == "udp://:5000"


def test_a_folder_without_a_picture_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="no picture"):
        parse_source(str(tmp_path))


# Video files


def test_a_file_gives_every_frame_in_order_with_its_time_and_ends(tmp_path):
    reader = VideoReader(str(write_video(tmp_path / "film.mp4", steady(40))))
    shots = all_shots(reader)
    assert [number_of(image_of(shot)) for shot in shots] == list(range(40))
    assert [round(shot.media_s * 1000) for shot in shots] == pytest.approx(steady(40), abs=1)
    assert reader.duration_s == pytest.approx(40 / 30, abs=0.05)
    assert reader.read() is None
    reader.close()


def test_frames_of_a_variable_rate_keep_their_own_times(tmp_path):
    times = [0, 10, 150, 160, 500, 900, 910]
    shots = all_shots(VideoReader(str(write_video(tmp_path / "film.mkv", times))))
    assert [round(shot.media_s * 1000) for shot in shots] == times


@pytest.mark.parametrize("wanted_ms", [0, 33, 400, 733, 1300])
def test_seeking_gives_the_first_frame_at_or_after_the_position(tmp_path, wanted_ms):
    reader = VideoReader(str(write_video(tmp_path / "film.mp4", steady(40))))
    reader.read()
    reader.seek(wanted_ms / 1000)
    times = [round(shot.media_s * 1000) for shot in all_shots(reader)]
    assert times == pytest.approx([ms for ms in steady(40) if ms >= wanted_ms], abs=1)


@pytest.mark.parametrize("size", [(320, 240), (321, 241), (130, 66), (2, 2)])
def test_odd_sizes_are_read(tmp_path, size):
    path = write_video(
        tmp_path / "film.mkv", steady(2), size=size, codec="ffv1", pixels="yuv444p", options={}
    )
    shot = VideoReader(str(path)).read()
    assert shot.size == size
    assert image_of(shot).shape == (size[1], size[0], 3)


PHONE = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # as upright phones write: turn clockwise


@pytest.mark.parametrize(
    ("turned", "size", "corner"),
    [
        (0, (320, 240), (0, 0)),
        (90, (240, 320), (-1, 0)),
        (180, (320, 240), (-1, -1)),
        (-90, (240, 320), (0, -1)),
    ],
)
def test_a_turned_video_stands_upright(tmp_path, turned, size, corner):
    """The mark in the top left corner moves to where the rotation puts it."""
    shot = VideoReader(str(write_video(tmp_path / "film.mp4", steady(2), turned=turned))).read()
    picture = image_of(shot)
    assert shot.size == size and picture.shape[:2] == size[::-1]
    red = picture[corner[0], corner[1]]
    assert red[0] > 150 and red[1] < 90, picture[[0, 0, -1, -1], [0, -1, 0, -1]]


def test_a_phone_held_upright_is_turned_clockwise(tmp_path):
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.set_display_matrix(PHONE)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(0, (320, 240)), format="rgb24")))
        file.mux(stream.encode(None))
    picture = image_of(VideoReader(str(path)).read())
    assert picture.shape == (320, 240, 3)
    assert picture[0, -1, 0] > 150 > picture[0, -1, 1]  # the top left corner is now at the top right


@pytest.mark.parametrize("height", [240, 720])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_colours_come_back_as_they_went_in(tmp_path, height, codec):
    """Without tags, players assume the BT.601 matrix, or BT.709 from 720 lines up; so does the reader."""
    size, space = (height * 4 // 3, height), 1 if height >= 720 else 5
    path = tmp_path / "film.mkv"
    rgb = np.zeros((size[1], size[0], 3), np.uint8)
    rgb[:] = (190, 106, 38)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate = 20_000_000
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=space
        )
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    seen = image_of(VideoReader(str(path)).read())
    assert np.abs(seen.astype(int) - rgb).max() <= 4


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 360, 288, "yuv420p"
        stream.sample_aspect_ratio = Fraction(16, 15)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(0, (360, 288)), format="rgb24")))
        file.mux(stream.encode(None))
    assert VideoReader(str(path)).read().size == (384, 288)


# HDR


def pq(nits: float) -> float:
    """SMPTE ST 2084, inverse: light -> code 0..1."""
    y = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


@pytest.mark.parametrize(("transfer", "tag", "white"), [("pq", 16, pq(203)), ("hlg", 18, 0.75)])
def test_hdr_video_is_brought_to_sdr(tmp_path, transfer, tag, white):
    """Diffuse white maps to light grey with headroom for highlights; without tone mapping it is dim."""
    path, level = tmp_path / "film.mkv", round(white * 1023)
    ten_bit = np.full((64, 64), round(64 + level / 1023 * 876), np.uint16)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = tag, 9, 9, 1
        chroma = np.full((32, 64), 512, np.uint16)
        frame = av.VideoFrame.from_ndarray(np.vstack((ten_bit, chroma)), format="yuv420p10le")
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    seen = image_of(VideoReader(str(path)).read())
    assert seen.dtype == np.uint8
    assert np.ptp(seen) <= 2
    assert 215 <= seen[32, 32, 0] <= 235


def test_the_tone_curve_rises_without_a_kink_and_keeps_grey_grey():
    light = np.linspace(0, 6, 2000, dtype=np.float32)
    curve = roll_off(light)
    assert (np.diff(curve) >= 0).all() and curve.max() <= 1
    assert np.abs(np.diff(curve, 2)).max() < 1e-3
    grey = np.repeat(np.arange(0, 65536, 257, dtype=np.uint16)[None, :, None], 3, 2)
    for transfer in ("pq", "hlg"):
        made = to_sdr(grey, transfer)
        assert np.ptp(made, axis=-1).max() <= 1
        assert (np.diff(made[0, :, 0].astype(int)) >= 0).all()


def test_a_saturated_highlight_keeps_its_hue():
    red = np.array([[[60000, 20000, 20000]]], np.uint16)
    made = to_sdr(red, "pq")[0, 0].astype(int)
    assert made[0] > 1.5 * made[1] and abs(made[1] - made[2]) < 40


# Unreadable input


@pytest.mark.parametrize("content", [b"", b"not a video" * 50, None])
def test_a_file_that_is_no_video_is_one_line(tmp_path, content):
    path = tmp_path / "film.mp4"
    if content is None:
        write_video(path, steady(3), codec="libx264")
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.write_bytes(content)
    with pytest.raises(SourceLost) as lost:
        VideoReader(str(path), name="film.mp4").read()
    assert str(lost.value).startswith("film.mp4 ") and "\n" not in str(lost.value)


def test_a_sound_without_a_picture_is_one_line(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(SourceLost, match="no video in it"):
        VideoReader(str(path))


def test_a_damaged_packet_costs_its_own_frames_only(tmp_path):
    path = write_video(tmp_path / "film.mkv", steady(40), options={"crf": "10", "g": "5"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = os.urandom(40)
    path.write_bytes(bytes(data))
    assert len(all_shots(VideoReader(str(path)))) > 25


@pytest.mark.parametrize("scheme", ["tcp", "udp", "http", "rtsp"])
def test_an_address_that_never_answers_is_given_up(monkeypatch, scheme):
    monkeypatch.setattr(video, "OPEN_S", 0.4)
    monkeypatch.setattr(video, "READ_S", 0.4)
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as silent:
        silent.bind(("127.0.0.1", 0))
        if scheme != "udp":
            silent.listen(1)
        port = silent.getsockname()[1]
        if scheme == "udp":
            silent.close()
        began_s = time.perf_counter()
        with pytest.raises(SourceLost, match="does not answer"):
            VideoReader(f"{scheme}://127.0.0.1:{port}/live", live=True)
    assert time.perf_counter() - began_s < 4


def test_a_refused_connection_and_a_missing_protocol_are_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceLost, match="connection refused"):
        VideoReader(f"tcp://127.0.0.1:{port}", live=True)
    with pytest.raises(SourceLost, match=r"cannot read nosuch://"):
        VideoReader("nosuch://127.0.0.1", live=True)


# Cameras: none is available; system errors become one line


@pytest.mark.skipif(os.path.exists("/dev/video77"), reason="there is such a camera")
@pytest.mark.skipif(os.name != "posix", reason="V4L2")
def test_a_camera_that_is_not_there_is_one_line():
    with pytest.raises(SourceLost, match="there is no camera 77: "):
        camera.open_camera(77)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EBUSY, "in use by another program"),
        (errno.EACCES, "group `video`"),
        (errno.ENOTTY, "no camera"),
    ],
)
def test_a_camera_that_is_taken_or_forbidden_is_one_line(monkeypatch, number, words):
    """The system's reply is a stand-in, since no camera is available."""

    def refuse(*_, **__):
        raise av.error.OSError(number, os.strerror(number), "/dev/video0")

    monkeypatch.setattr(camera.sys, "platform", "linux")
    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(SourceLost, match=words) as lost:
        camera.open_camera(0)
    assert "\n" not in str(lost.value)


@pytest.mark.parametrize(
    ("stamp_us", "captured_s"), [(99_950_000, 99.95), (1_790_000_000_000_000, 100.0), (None, 100.0)]
)
def test_the_drivers_time_counts_where_it_is_of_this_clock(stamp_us, captured_s):
    packet = av.Packet(b"x")
    packet.pts, packet.time_base = stamp_us, Fraction(1, 1_000_000)
    assert video.captured_at(packet, 100.0) == captured_s


# Folders


def test_pictures_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    for number in (1, 2, 10, 9):
        level = np.full((20, 30, 3), number * 20, np.uint8)
        cv2.imwrite(str(tmp_path / f"view {number}.png"), level)
    (tmp_path / "view 3.png").write_bytes(b"broken")
    reader = FolderReader(str(tmp_path), fps=2.0)
    shots = all_shots(reader)
    assert [int(image_of(shot)[0, 0, 0]) for shot in shots] == [20, 40, 180, 200]
    assert shots[0].size == (30, 20) and shots[-1].media_s == 2.0
    reader.seek(0)
    assert image_of(reader.read())[0, 0, 0] == 20


def test_a_picture_with_transparency_keeps_it(tmp_path):
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[:, :20] = (10, 20, 200, 255)
    cv2.imwrite(str(tmp_path / "half.png"), rgba)
    shot = FolderReader(str(tmp_path), fps=1).read()
    pixels, alpha = Placement().place(shot, (80, 80))
    assert alpha[40, 10] == 255 and alpha[40, 70] == 0
    assert tuple(pixels[40, 10]) == (200, 20, 10)


# Fit, mirror and crop


def gradient(size: tuple[int, int]) -> Shot:
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    picture = np.dstack((columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1), rows * 0))
    picture = picture.astype(np.uint8)

    def convert(w: int, h: int) -> np.ndarray:
        return cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)

    return Shot(size, 0.0, 0.0, convert)


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (64, 64), (1920, 1080), (3, 500)])
@pytest.mark.parametrize("paper", [(256, 256), (512, 288), (256, 512)])
@pytest.mark.parametrize("fit", FITS)
def test_every_fit_fills_what_it_says(size, paper, fit):
    pixels, alpha = Placement(fit).place(gradient(size), paper)
    assert pixels.shape == (paper[1], paper[0], 3) and pixels.dtype == np.uint8
    if fit != "contain":
        assert alpha is None
        return
    part, box = Placement(fit).boxes(size, paper)
    assert part == Rect(0, 0, *size)
    assert box.width == paper[0] or box.height == paper[1]
    if alpha is not None:
        assert (alpha[box.slices] == 255).all() and (alpha > 0).sum() == box.width * box.height


def test_cover_cuts_evenly_and_mirror_swaps_the_sides():
    wide = gradient((640, 320))
    plain, _ = Placement("cover").place(wide, (320, 320))
    assert plain[0, 0, 0] == pytest.approx(64, abs=2) and plain[0, -1, 0] == pytest.approx(191, abs=2)
    mirrored, _ = Placement("cover", mirror=True).place(wide, (320, 320))
    assert (mirrored == plain[:, ::-1]).all()


def test_a_crop_is_shown_alone_and_one_beside_the_picture_is_ignored():
    shot = gradient((640, 480))
    part, _ = Placement("stretch", crop=Rect(320, 0, 640, 240)).place(shot, (256, 256))
    assert part[..., 0].min() >= 125 and part[..., 1].max() <= 130
    beside, _ = Placement("stretch", crop=Rect(900, 900, 1000, 1000)).place(shot, (256, 256))
    assert np.ptp(beside[..., 0]) > 240


# Screen capture from a real X server


def test_the_screen_of_a_real_x_server_is_read(xserver, monkeypatch):
    pytest.importorskip("mss")
    from renderer.sources.readers.screen import ScreenReader

    monkeypatch.setenv("DISPLAY", xserver.display)
    xserver.show((40, 72, 108))
    reader = ScreenReader(1)
    shot = reader.read()
    assert shot.size == (640, 480)
    assert tuple(image_of(shot)[100, 100]) == (40, 72, 108)
    xserver.show((200, 30, 30))
    assert tuple(image_of(reader.read())[100, 100]) == (200, 30, 30)
    reader.close()
    part = ScreenReader(1, Rect(10, 20, 110, 60))
    assert part.read().size == (100, 40)
    part.close()
    with pytest.raises(SourceLost, match="beyond the desktop"):
        ScreenReader(1, Rect(600, 0, 700, 50))
    with pytest.raises(SourceLost, match="there is no screen 5"):
        ScreenReader(5)


def test_no_screen_is_one_line(monkeypatch):
    pytest.importorskip("mss")
    from renderer.sources.readers.screen import ScreenReader

    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(SourceLost, match="the screen cannot be read") as lost:
        ScreenReader(1)
    assert "\n" not in str(lost.value)
