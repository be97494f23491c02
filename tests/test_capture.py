"""Tests of window capture: frame rate, dropped frames, the ring buffer, and the recording command."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from loop_harness import ROOT, SlowModel
from video_helpers import SIZE, decoded, shade

from renderer.actions import Command, Fill
from renderer.recording.capture import WindowCapture, slower
from renderer.recording.encoder import Encoder, planar
from renderer.recording.packet_ring import PacketRing
from renderer.recording.recorder import Recorder

# Capture in the loop


@pytest.mark.parametrize("layout", ["side", "picture", "paper", "window"])
def test_the_loop_films_what_the_window_shows(make_loop, tmp_path, layout):
    one = make_loop(SlowModel(), side=256).ready()
    one.app.persistence.capture = WindowCapture(Recorder(), layout, tmp_path)
    one.app.persistence.capture.recorder.start(tmp_path / "a.mkv")
    one.do(Fill((200, 30, 30), 5, 5))
    one.rest()
    one.until(lambda: one.app.scene.ink.box.empty)
    one.tick(5)
    window = one.window
    one.app.persistence.capture.recorder.close()
    _, pictures = decoded(tmp_path / "a.mkv")
    panes = window.panes
    parts = {"side": (panes.paper, panes.picture), "picture": (panes.picture,), "paper": (panes.paper,)}
    if layout == "window":
        expected = window.screen()
        assert pictures[-1].shape == expected.shape
        assert (np.abs(pictures[-1][100:400].astype(int) - expected[100:400]) < 40).mean() > 0.98
    else:
        expected = np.concatenate(parts[layout], 1)
        assert np.abs(pictures[-1].astype(int) - expected).mean() < 3


def test_keys_begin_and_end_a_film_keep_the_last_seconds_and_say_so(make_loop, tmp_path):
    one = make_loop(SlowModel(), side=256)
    one.do(Command("record"))
    one.app.step()
    assert any("nothing can be recorded" in line for line in one.messages)
    one.app.persistence.capture = WindowCapture(Recorder(), "side", tmp_path)
    one.ready()
    one.do(Command("record"))
    one.stroke((20, 20), (200, 100))
    one.rest()
    assert one.app.scene.recording.text.startswith("recording 0:0")
    one.do(Command("record"))
    one.tick(2)
    one.do(Command("keep"))
    one.until(lambda: any("kept the last" in line for line in one.messages))
    films = sorted(tmp_path.glob("*.mkv"))
    assert len(films) == 2
    assert all(len(decoded(path)[0]) > 3 for path in films)
    assert one.app.scene.recording.text.endswith("MB kept")


def test_nothing_is_copied_where_nothing_changes(make_loop, tmp_path):
    one = make_loop(SlowModel(), side=256).ready()
    one.until(lambda: one.app.scene.ink.box.empty)
    one.app.persistence.capture = WindowCapture(Recorder(), "side", tmp_path)
    one.tick(3)
    offered = []
    one.app.persistence.capture.recorder.offer = lambda *item: offered.append(item)
    one.tick(20)
    assert not offered


def test_fewer_pictures_are_taken_while_the_encoder_does_not_keep_up(make_loop, tmp_path, monkeypatch):
    """With an encoder that takes 0.1 s per picture, nothing is dropped after the first half second."""
    quick = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda *a, **k: (time.sleep(0.1), quick(*a, **k))[1])
    one = make_loop(SlowModel(), side=256).ready()
    capture = one.app.persistence.capture = WindowCapture(Recorder(ring_s=0), "side", tmp_path)
    capture.recorder.start(tmp_path / "a.mkv")
    x, dropped = 0, []

    def paint(until_s: float) -> None:
        nonlocal x
        while time.perf_counter() < until_s:
            x += 1
            one.stroke((20 + x % 200, 20), (20 + x % 200, 200))
            one.app.step()
            dropped.append(capture.recorder.dropped)

    paint(time.perf_counter() + 4.0)
    assert "pictures a second" in one.app.scene.recording.text
    assert capture.slowest >= 4 and capture.hz <= 7.5
    assert dropped[-1] == dropped[len(dropped) // 2] <= 8
    monkeypatch.setattr(Encoder, "encode", quick)
    monkeypatch.setattr("renderer.recording.capture.FAST_AFTER_S", 0.4)
    began_s = time.perf_counter()
    while capture.slow > 1:
        assert time.perf_counter() < began_s + 15
        paint(time.perf_counter() + 0.2)
    assert "pictures a second" not in one.app.scene.recording.text
    capture.recorder.close()
    times_s = decoded(tmp_path / "a.mkv")[0]
    assert np.diff(times_s).max() < 0.5


@pytest.mark.parametrize(
    ("now", "fill", "since_s", "then"),
    [
        (1, 0.5, 9.0, 1),  # the fill level that waiting for the model causes
        (1, 0.8, 9.0, 2),
        (2, 0.8, 0.4, 2),  # too soon after the last change
        (8, 1.0, 9.0, 8),
        (4, 0.2, 4.0, 4),
        (4, 0.2, 5.0, 2),
        (2, 0.6, 9.0, 2),
    ],
)
def test_the_rate_halves_at_once_and_doubles_slowly(now, fill, since_s, then):
    assert slower(now, fill, since_s) == then


# Keep that


def test_the_last_seconds_are_kept_although_nothing_was_recorded(tmp_path):
    recorder = Recorder(ring_s=2.0)
    now_s = time.perf_counter() - 6.0
    for i in range(120):
        while not recorder.offer(shade(2 * i), now_s + i * 0.05):
            time.sleep(0.005)
        time.sleep(0.002)
    time.sleep(0.1)
    recorder.keep(tmp_path / "kept.mkv")
    recorder.close()
    found_s, pictures = decoded(tmp_path / "kept.mkv")
    assert found_s[0] == 0
    assert found_s[-1] == pytest.approx(2.0, abs=0.15)
    levels = [picture.mean() / 2 for picture in pictures]
    assert levels[-1] == pytest.approx(119, abs=2)
    last_s = next(at_s for at_s, level in zip(found_s, levels, strict=True) if level > 117.5)
    middle = int(np.abs(np.array(found_s) - 1.0).argmin())
    assert levels[middle] == pytest.approx(119 - 20 * (last_s - found_s[middle]), abs=2)


def test_the_ring_is_bounded_and_begins_with_a_key_frame():
    encoder, ring = Encoder(SIZE), PacketRing(3.0, most_bytes=400_000)
    random = np.random.default_rng(3)
    for i in range(200):
        for packet in encoder.encode(planar(random.integers(0, 255, (64, 96, 3), np.uint8)), i * 50):
            ring.add(packet)
            assert ring.bytes <= 400_000
            assert ring.bytes == sum(len(p.data) for p in ring._packets)
    packets = ring.packets()
    assert packets[0].key and all(b.ms > a.ms for a, b in pairwise(packets))


def test_keeping_does_not_disturb_a_film_that_is_being_recorded(tmp_path):
    recorder = Recorder(ring_s=5)
    recorder.start(tmp_path / "film.mkv")
    for i in range(20):
        recorder.offer(shade(10 * i), time.perf_counter())
        time.sleep(0.02)
        if i == 10:
            recorder.keep(tmp_path / "kept.mkv")
    recorder.close()
    assert len(decoded(tmp_path / "film.mkv")[0]) >= 20
    assert len(decoded(tmp_path / "kept.mkv")[0]) >= 10


# The recording command


def paint(*words, **how) -> subprocess.CompletedProcess:
    line = [sys.executable, str(ROOT / "main.py"), "paint", "--headless", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, **how)


@pytest.mark.slow
def test_a_painting_is_filmed_from_its_start_to_its_end(tmp_path, painter_file):
    film = tmp_path / "a.mp4"
    words = ("--size", 256, "--layout", "picture", "--record-fps", 30, "--seconds", 5, "--json")
    done = paint("--demo", "--model", painter_file, "--record", film, *words)
    assert done.returncode == 0, done.stderr
    found_s, pictures = decoded(film)
    told = json.loads(done.stdout)
    assert told["dropped"] == 0
    assert found_s[-1] == pytest.approx(told["seconds"], abs=1.0)  # except for the start-up time
    assert np.abs(np.diff(found_s) - 1 / 30).max() <= 0.0011
    assert pictures[0].shape == (256, 256, 3) and np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 10


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes there")
def test_a_disk_that_fills_ends_the_film_not_the_painting_and_is_told_at_the_end(tmp_path, painter_file):
    import resource

    most = 24_000
    words = ("--demo", "--model", painter_file, "--size", 256, "--seconds", 4, "--record", tmp_path / "a.mkv")
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    done = paint(*words, "--json", preexec_fn=limit)
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "flowbrush: error: the recording stopped: " in done.stderr and told["errors"] == 0
    assert 1 < len(decoded(tmp_path / "a.mkv")[0]) < told["shown_fps"] * told["seconds"] / 2
    assert told["seconds"] >= 4 and told["problem"].startswith("the recording stopped")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--record", "a.avi"), "must end in .mkv or .mp4"),
        (("--record", "/dev/null"), "must end in"),
        (("--record", "a.mkv", "--layout", "round"), "choose side"),
        (("--resume", "nothing"), "no stroke log 'nothing'"),
    ],
)
def test_what_cannot_be_filmed_is_told_in_one_line(words, says, refused):
    assert says in refused("paint", "--headless", *words, "--seconds", 1)
