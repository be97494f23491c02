"""Recordings, decoded again with PyAV: pictures, times, drops, truncated files and full disks."""

from __future__ import annotations

import contextlib
import time

import av
import numpy as np
import pytest
from video_helpers import SIZE, SUFFIXES, decoded, shade

from renderer.actions import InputError
from renderer.files.outputs import check_film
from renderer.recording.container import VideoFile
from renderer.recording.encoder import Encoder, planar
from renderer.recording.recorder import QUEUE, Recorder
from renderer.recording.status import RecordingState
from renderer.runtime.messages import Level


def filmed(path, times_s, levels, **settings) -> Recorder:
    """Record pictures of these levels, each offered at its real time, and close the recorder."""
    recorder = Recorder(**settings)
    recorder.start(path)
    began_s = time.perf_counter()
    for at_s, level in zip(times_s, levels, strict=True):
        time.sleep(max(0.0, began_s + at_s - time.perf_counter()))
        assert recorder.offer(shade(level), began_s + at_s)
    recorder.close()
    return recorder


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_come_back_with_the_times_at_which_they_were_shown(tmp_path, suffix):
    times_s = [0.0, 0.031, 0.05, 0.2, 0.217, 0.3, 1.05, 1.4]
    levels = [20, 60, 100, 140, 180, 220, 40, 80]
    filmed(tmp_path / f"a.{suffix}", times_s, levels)
    found_s, pictures = decoded(tmp_path / f"a.{suffix}")
    first = {}
    for at_s, picture in zip(found_s, pictures, strict=True):
        first.setdefault(int(np.abs(np.array(levels) - picture.mean()).argmin()), at_s)
        assert min(abs(picture.mean() - level) for level in levels) < 4
    assert list(first) == list(range(len(levels)))
    assert np.abs(np.array(list(first.values())) - times_s).max() <= 0.002
    assert found_s[-1] == pytest.approx(times_s[-1], abs=0.2)


def test_a_picture_that_stands_still_goes_on_in_the_film(tmp_path):
    recorder = Recorder()
    recorder.start(tmp_path / "a.mkv")
    recorder.offer(shade(90), time.perf_counter())
    time.sleep(1.5)
    recorder.close()
    found_s, pictures = decoded(tmp_path / "a.mkv")
    assert found_s[-1] == pytest.approx(1.5, abs=0.15)
    assert max(np.diff(found_s)) < 0.6
    assert all(abs(picture.mean() - 90) < 3 for picture in pictures)


@pytest.mark.parametrize("fps", [30, 60])
def test_a_constant_rate_has_a_picture_at_every_tick(tmp_path, fps):
    times_s = [0.0, 0.011, 0.35, 0.4, 0.7]
    filmed(tmp_path / "a.mkv", times_s, [20, 60, 100, 140, 180], fps=fps)
    found_s, pictures = decoded(tmp_path / "a.mkv")
    assert np.abs(np.diff(found_s) - 1 / fps).max() <= 0.0011
    assert found_s[-1] == pytest.approx(0.7, abs=1.5 / fps)
    shown = [picture.mean() for at_s, picture in zip(found_s, pictures, strict=True) if 0.1 < at_s < 0.3]
    assert np.abs(np.array(shown) - 60).max() < 4


def test_colours_come_back(tmp_path):
    red, green, blue = (200, 40, 60), (30, 160, 70), (50, 70, 190)
    picture = np.zeros((64, 96, 3), np.uint8)
    for i, color in enumerate((red, green, blue)):
        picture[:, 32 * i : 32 * i + 32] = color
    recorder = Recorder()
    recorder.start(tmp_path / "a.mp4")
    recorder.offer(picture, time.perf_counter())
    recorder.close()
    found = decoded(tmp_path / "a.mp4")[1][0].astype(int)
    assert np.abs(found - picture)[:, np.arange(96) % 32 % 30 > 2].max() < 12


def test_a_window_of_odd_size_that_grows_stays_one_film(tmp_path):
    recorder = Recorder()
    recorder.start(tmp_path / "a.mkv")
    for i, (height, width) in enumerate(((65, 97), (65, 97), (200, 300))):
        recorder.offer(np.full((height, width, 4), 80, np.uint8), time.perf_counter() + i * 0.05)
    recorder.close()
    assert {picture.shape for picture in decoded(tmp_path / "a.mkv")[1]} == {(64, 96, 3)}


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path, monkeypatch):
    slow = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda *a, **k: (time.sleep(0.05), slow(*a, **k))[1])
    recorder = Recorder()
    recorder.start(tmp_path / "a.mkv")
    took = []
    for i in range(60):
        began_s = time.perf_counter()
        recorder.offer(shade(i), time.perf_counter())
        took.append(time.perf_counter() - began_s)
    assert recorder.dropped >= 60 - QUEUE - 3
    assert np.median(took) < 0.001
    recorder.close()
    assert len(decoded(tmp_path / "a.mkv")[0]) >= 60 - recorder.dropped


def test_pictures_wait_for_an_idle_model_but_not_for_long(tmp_path):
    """Pictures are encoded at once at the start and while the model is idle, otherwise with a delay."""
    path, began_s = tmp_path / "a.mkv", time.perf_counter()
    recorder = Recorder(ring_s=0)
    recorder.start(path)
    seen: list[tuple[float, float]] = []  # (time of reading, time of the last picture in the file)

    def turn(idle: bool, level: int) -> None:
        recorder.offer(shade(level), time.perf_counter())
        recorder.pulse(idle)
        time.sleep(0.05)
        now_s = time.perf_counter() - began_s
        with contextlib.suppress(av.EOFError, FileNotFoundError):  # nothing written yet
            seen.append((now_s, decoded(path)[0][-1]))

    while time.perf_counter() < began_s + 1.4:
        turn(False, 5 * len(seen))
    turn(True, 200)
    turn(True, 210)
    recorder.close()
    lags_s = [now - last for now, last in seen]
    young_s = [now - last for now, last in seen if 0.15 < now < 0.45]
    assert young_s and max(young_s) < 0.25, seen
    assert 0.35 < max(lags_s) < 0.8 and lags_s[-1] < 0.25, seen


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_film_cut_off_at_any_moment_plays_to_within_half_a_second(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    encoder = Encoder(SIZE)
    film = VideoFile(path, encoder.stream)
    for i in range(100):
        for packet in encoder.encode(planar(shade(i)), i * 50):
            film.add(packet)
        if i % 7 == 6:
            (tmp_path / f"cut.{suffix}").write_bytes(path.read_bytes())
            if i * 50 >= 500:
                assert decoded(tmp_path / f"cut.{suffix}")[0][-1] >= (i * 50 - 500) / 1000
    film.close()
    film.close()


def test_names_that_no_film_can_have(tmp_path):
    for name in ("a.avi", "a", "a.mkv/"):
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        with pytest.raises(InputError):
            check_film(tmp_path / name, "side")
    (tmp_path / "file").write_text("")
    recorder = Recorder()
    recorder.start(tmp_path / "file" / "a.mkv")
    for level in (1, 2, 3):
        recorder.offer(shade(level), time.perf_counter())
    recorder.close()
    assert not recorder.recording and len(recorder.news) == 1 and "cannot be written" in recorder.news[0].text


# Failures


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [av.error.ExternalError(1, "x264 broke"), MemoryError()])
def test_an_encoder_that_fails_is_told_and_what_was_written_plays(tmp_path, monkeypatch, suffix, error):
    """The recorder reports PyAV errors, which do not derive from OSError, and can be started again."""
    encode, calls = Encoder.encode, []

    def failing(self, *values, **named):
        calls.append(1)
        if len(calls) == 30:
            raise error
        return encode(self, *values, **named)

    monkeypatch.setattr(Encoder, "encode", failing)
    recorder = Recorder()
    recorder.start(tmp_path / f"a.{suffix}")
    for level in range(20, 60):
        recorder.offer(shade(level), time.perf_counter())
        time.sleep(0.005)
    wait_for(lambda: recorder.state is RecordingState.FAILED)
    told = [message for message in recorder.news if message.level is Level.ERROR]
    assert len(told) == 1 and "the recording stopped" in told[0].text == recorder.fault
    _, pictures = decoded(tmp_path / f"a.{suffix}")
    assert len(pictures) >= 25 and abs(pictures[0].mean() - 20) < 4
    recorder.start(tmp_path / f"b.{suffix}")
    recorder.offer(shade(200), time.perf_counter())
    recorder.close()
    assert abs(decoded(tmp_path / f"b.{suffix}")[1][0].mean() - 200) < 4


def test_a_file_that_fails_ends_the_recording_but_not_what_is_kept(tmp_path, monkeypatch):
    """A container error that is not an OSError ends the recording but not the replay buffer."""
    copy, calls = VideoFile.copy, []

    def failing(self, *values):
        calls.append(1)
        if len(calls) == 5:
            raise av.error.ExternalError(1, "the muxer broke")
        copy(self, *values)

    monkeypatch.setattr(VideoFile, "copy", failing)
    recorder = Recorder()
    recorder.start(tmp_path / "a.mkv")
    for level in range(20, 40):
        recorder.offer(shade(level), time.perf_counter())
        time.sleep(0.005)
    wait_for(lambda: recorder.state is RecordingState.FAILED)
    assert "the muxer broke" in recorder.fault
    recorder.keep(tmp_path / "kept.mkv")
    recorder.close()
    assert len(decoded(tmp_path / "a.mkv")[1]) == 4 and len(decoded(tmp_path / "kept.mkv")[1]) >= 20


def wait_for(condition, timeout_s: float = 10.0) -> None:
    end_s = time.perf_counter() + timeout_s
    while not condition():
        assert time.perf_counter() < end_s, "waited in vain"
        time.sleep(0.005)
