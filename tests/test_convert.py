"""Tests of `convert` on real videos: frame times, sound, keyframes, stop and resume, bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest
from loop_harness import ROOT, SlowModel
from video_files import numbered, steady, write_video
from video_helpers import decoded

from models.api import Frame
from renderer.actions import InputError
from renderer.cli.live_settings import Convert
from renderer.offline import convert
from renderer.offline.convert import paper_size, plan, produce
from renderer.offline.keyframes import parse_keyframes
from renderer.picture_params import PictureParams


class Tint(SlowModel):
    """Model that returns the paper with channel 2 set to 255 * strength, so tests can read the strength."""

    def render(self, request, **_) -> Frame:
        self.requests.append(request)
        picture = request.paper[..., :3].copy()
        picture[..., 2] = round(255 * request.strength)
        return Frame(request, picture, {})


def converted(tmp_path, video, name="out.mkv", model=None, **options):
    """Convert a video; return the path of the output and the model used."""
    model = model or Tint()
    settings = Convert(video=video, output=tmp_path / name, **options)
    produce(plan(settings, model.card), model)
    return tmp_path / name, model


def sound_of(path) -> tuple[str, np.ndarray, float]:
    """Return (codec, samples of the first channel, time of the first sample)."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        frames = list(file.decode(stream))
        heard = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return stream.codec_context.name, heard, float(frames[0].time)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_every_frame_is_there_at_its_time_with_its_sound(tmp_path, suffix):
    video = write_video(tmp_path / f"in.{suffix}", steady(75), audio_s=2.5)
    output, model = converted(tmp_path, video, f"out.{suffix}")
    times, pictures = decoded(output)
    assert len(times) == 75 and len(model.requests) == 75
    assert np.abs(np.array(times) * 1000 - steady(75)).max() < 1000 / 30
    assert pictures[0].shape == (384, 512, 3)
    source = decoded(video)[1]
    for made, came in zip(pictures[::13], source[::13], strict=True):
        assert abs(int(made[300, 300, 0]) - int(came[180, 180, 0])) < 8
    codec, heard, begin_s = sound_of(output)
    original = sound_of(video)
    assert codec == "aac" and abs(begin_s - original[2]) < 0.03
    assert len(heard) == len(original[1]) and np.allclose(heard, original[1])
    assert not (tmp_path / f"out.{suffix}.parts").exists()


def test_uneven_times_are_kept(tmp_path):
    times = [0, 10, 150, 160, 500, 900, 910]
    output, _ = converted(tmp_path, write_video(tmp_path / "in.mkv", times))
    assert [round(at_s * 1000) for at_s in decoded(output)[0]] == times


def test_sound_that_the_format_does_not_take_is_encoded_anew(tmp_path):
    video = write_video(tmp_path / "in.mkv", steady(30), audio_s=1.0, sound="pcm_s16le")
    assert sound_of(video)[0] == "pcm_s16le"
    codec, heard, begin_s = sound_of(converted(tmp_path, video, "out.mp4")[0])
    assert codec == "aac" and begin_s < 0.05
    assert 0.9 < len(heard) / 48000 < 1.1
    peak = np.abs(np.fft.rfft(heard[4800:43200])).argmax() * 48000 / 38400
    assert abs(peak - 440) < 3


def test_a_turned_video_comes_out_upright_in_its_shape(tmp_path):
    video = write_video(tmp_path / "in.mp4", steady(3), size=(640, 360), turned=-90)
    picture = decoded(converted(tmp_path, video)[0])[1][0]
    assert picture.shape == (512, 288, 3)
    assert picture[10, -10, 0] > 150 > picture[10, -10, 1]


@pytest.mark.parametrize(
    ("size", "side", "paper"),
    [
        ((1920, 1080), None, (512, 288)),
        ((1080, 1920), 768, (448, 768)),
        ((321, 241), None, (512, 384)),
        ((3000, 100), None, (512, 256)),
        ((640, 640), 2048, (2048, 2048)),
    ],
)
def test_the_paper_has_the_videos_shape(size, side, paper):
    assert paper_size(size, side) == paper


# Settings over time


KEYS = """
# a fade
0    strength=0.0  prompt="a lake, at dawn"  seed=3
0.5  strength=1.0
1.0  strength=0.5  prompt=night  mood.sun=0.1
"""


def test_settings_follow_their_keyframes(tmp_path):
    keys = tmp_path / "keys.txt"
    keys.write_text(KEYS)
    video = write_video(tmp_path / "in.mkv", steady(45))
    _, model = converted(tmp_path, video, keyframes=keys)
    strengths = [request.strength for request in model.requests]
    assert strengths[0] == 0 and strengths[15] == pytest.approx(1.0, abs=0.01)
    assert strengths[6] == pytest.approx(0.4, abs=0.01) and strengths[44] == 0.5
    assert model.requests[29].prompt == "a lake, at dawn" and model.requests[30].prompt == "night"
    assert {request.seed for request in model.requests} == {3}
    assert model.requests[40].mood[0] == 0.1


def test_feedback_mixes_the_last_picture_into_the_next_frame(tmp_path):
    pictures = [np.full((256, 256, 3), level, np.uint8) for level in (0, 200, 200)]
    video = write_video(
        tmp_path / "in.mkv", [0, 40, 80], size=(256, 256), codec="ffv1", pixels="bgr0", options={},
        pictures=pictures,
    )  # fmt: skip
    _, model = converted(tmp_path, video, size=256, feedback=0.5)
    assert [int(request.paper[9, 9, 0]) for request in model.requests] == [0, 100, 150]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("soon strength=1", "line 1: 'soon' is no time"),
        ("0 strength", "NAME=VALUE"),
        ("0 strenght=1", "no setting 'strenght'"),
        ("0 strength=2", "from 0 to 1"),
        ("0 strength=nan", "from 0 to 1"),
        ("0 seed=1.5", "takes a number"),
        ("0 seed=-1", "below 0"),
        ("0 look=sepia", "no look 'sepia'"),
        ("5", "nothing is set"),
        ("5 seed=1\n4 seed=2", "line 2: the times of seed must rise"),
        ('0 prompt="open', "line 1: No closing quotation"),
    ],
)
def test_a_bad_keyframe_names_its_line(text, words):
    with pytest.raises(InputError, match=words) as refused:
        parse_keyframes(text)
    assert "\n" not in str(refused.value)


def test_times_are_seconds_or_clock_times():
    track = parse_keyframes("0:01.5 seed=1\n1:10 seed=2\n1:02:03 seed=3").tracks["seed"]
    assert [time_s for time_s, _ in track] == [1.5, 70, 3723]
    params, feedback = parse_keyframes("").at(5, PictureParams(), 0.3)
    assert params == PictureParams() and feedback == 0.3


# Stop and resume


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stop_at", [1, 25, 60, 61])
def test_a_stopped_conversion_continues_to_the_same_bytes(tmp_path, monkeypatch, stop_at):
    monkeypatch.setattr(convert, "PART_FRAMES", 20)
    video = write_video(tmp_path / "in.mkv", steady(70), audio_s=2.3)
    whole, _ = converted(tmp_path, video, "whole.mkv", feedback=0.4)

    class Stops(Tint):
        def render(self, request, **_):
            if len(self.requests) == stop_at:
                raise Killed
            return super().render(request)

    with pytest.raises(Killed):
        converted(tmp_path, video, "out.mkv", model=Stops(), feedback=0.4)
    output, model = converted(tmp_path, video, "out.mkv", feedback=0.4)
    assert len(model.requests) == 70 - stop_at // 20 * 20
    assert output.read_bytes() == whole.read_bytes()


def test_parts_of_another_conversion_are_not_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "PART_FRAMES", 5)
    video = write_video(tmp_path / "in.mkv", steady(12))

    class Stops(Tint):
        def render(self, request, **_):
            if len(self.requests) == 7:
                raise Killed
            return super().render(request)

    with pytest.raises(Killed):
        converted(tmp_path, video, model=Stops(), strength=0.1)
    _, model = converted(tmp_path, video, strength=0.9)
    assert len(model.requests) == 12 and {request.strength for request in model.requests} == {0.9}


@pytest.mark.slow
def test_the_command_killed_and_continued_gives_the_same_bytes(tmp_path, painter_file):
    video = write_video(tmp_path / "in.mp4", steady(70), size=(256, 256), audio_s=2.0)
    words = [sys.executable, str(ROOT / "main.py"), "convert", str(video), "--model", str(painter_file)]
    words += ["--size", "256", "--steps", "1", "--feedback", "0.3", "--device", "cpu", "-o"]
    subprocess.run([*words, str(tmp_path / "whole.mp4")], check=True, timeout=120, cwd=ROOT)
    output = tmp_path / "out.mp4"
    process = subprocess.Popen([*words, str(output)], cwd=ROOT, stderr=subprocess.DEVNULL)
    first = tmp_path / "out.mp4.parts" / "part-0000000.json"
    end_s = time.perf_counter() + 60
    while not first.exists() and process.poll() is None and time.perf_counter() < end_s:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert first.exists() and not output.exists()
    subprocess.run([*words, str(output)], check=True, timeout=120, cwd=ROOT)
    assert output.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


# Bad input to the command


def test_bad_input_is_one_line(tmp_path, refused):
    video = write_video(tmp_path / "in.mp4", steady(2))
    out = tmp_path / "out.mp4"
    assert "there is no video" in refused("convert", tmp_path / "none.mp4", "-o", out)
    assert "must end in" in refused("convert", video, "-o", tmp_path / "out.avi")
    assert "the video itself" in refused("convert", video, "-o", video)
    assert "flat colours are one of" in refused("convert", video, "-o", out, "--flatten", "soft")
    assert "must be a multiple of 32" in refused("convert", video, "-o", out, "--size", 9000)
    (tmp_path / "keys.txt").write_text("0 strength=7")
    assert "keys.txt, line 1" in refused("convert", video, "-o", out, "--keyframes", tmp_path / "keys.txt")
    assert "cannot be read" in refused("convert", video, "-o", out, "--keyframes", tmp_path / "none.txt")
    (tmp_path / "no.mp4").write_bytes(b"no video")
    assert "no video that can be read" in refused("convert", tmp_path / "no.mp4", "-o", out)
    out.write_bytes(b"mine")
    assert "there already" in refused("convert", video, "-o", out)
    assert out.read_bytes() == b"mine"
    other = tmp_path / "other.mp4"
    (tmp_path / "other.mp4.parts").mkdir()
    (tmp_path / "other.mp4.parts" / "letter.txt").write_text("mine")
    assert "is in the way" in refused("convert", video, "-o", other)
    assert (tmp_path / "other.mp4.parts" / "letter.txt").read_text() == "mine"


def test_the_picture_is_the_models_own(tmp_path):
    """The decoded output equals the model's pictures within the loss of x264 at this quality."""
    picture = numbered(7, (256, 256))
    video = write_video(tmp_path / "in.mkv", [0], size=(256, 256), pictures=[picture], options={"crf": "4"})
    output, model = converted(tmp_path, video, size=256, strength=0.5)
    (seen,) = decoded(output)[1]
    expected = model.requests[0].paper[..., :3].copy()
    expected[..., 2] = 128
    assert cv2.PSNR(seen, expected) > 32
