"""The recording, decoded again with PyAV: pictures, times, drops, cuts and full disks."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from itertools import pairwise

import av
import numpy as np
import pytest
from easel import ROOT, SlowModel

from renderer.actions import Command, Fill, InputError
from renderer.camera import Camera, slower
from renderer.encoder import Encoder, planar
from renderer.film import Film
from renderer.outputs import check_film
from renderer.recorder import QUEUE, Recorder
from renderer.ring import Ring

SIZE = (96, 64)
SUFFIXES = ("mkv", "mp4")


def shade(level: int) -> np.ndarray:
    """A picture that says its number: one grey."""
    return np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


def decoded(path) -> tuple[list[float], list[np.ndarray]]:
    """Times in seconds and RGB pictures of every frame."""
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
    return [frame.time for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def filmed(path, times_s, levels, **settings) -> Recorder:
    """Offer the pictures at their real times and close."""
    recorder = Recorder(**settings)
    recorder.start(path)
    began_s = time.monotonic()
    for at_s, level in zip(times_s, levels, strict=True):
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
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
    recorder.offer(shade(90), time.monotonic())
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
    recorder.offer(picture, time.monotonic())
    recorder.close()
    found = decoded(tmp_path / "a.mp4")[1][0].astype(int)
    assert np.abs(found - picture)[:, np.arange(96) % 32 % 30 > 2].max() < 12


def test_a_window_of_odd_size_that_grows_stays_one_film(tmp_path):
    recorder = Recorder()
    recorder.start(tmp_path / "a.mkv")
    for i, (height, width) in enumerate(((65, 97), (65, 97), (200, 300))):
        recorder.offer(np.full((height, width, 4), 80, np.uint8), time.monotonic() + i * 0.05)
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
        recorder.offer(shade(i), time.monotonic())
        took.append(time.perf_counter() - began_s)
    assert recorder.dropped >= 60 - QUEUE - 3
    assert np.median(took) < 0.001
    recorder.close()
    assert len(decoded(tmp_path / "a.mkv")[0]) >= 60 - recorder.dropped


def test_pictures_wait_for_an_idle_model_but_not_for_long(tmp_path):
    """Encoded at once where the film begins and while nothing is asked of the model; else after a while."""
    path, began_s = tmp_path / "a.mkv", time.monotonic()
    recorder = Recorder(ring_s=0)
    recorder.start(path)
    seen: list[tuple[float, float]] = []  # (when, time of the last picture in the file)

    def turn(idle: bool, level: int) -> None:
        recorder.offer(shade(level), time.monotonic())
        recorder.pulse(idle)
        time.sleep(0.05)
        now_s = time.monotonic() - began_s
        with contextlib.suppress(av.EOFError, FileNotFoundError):  # nothing was written yet
            seen.append((now_s, decoded(path)[0][-1]))

    while time.monotonic() < began_s + 1.4:
        turn(False, 5 * len(seen))
    turn(True, 200)
    turn(True, 210)
    recorder.close()
    lags_s = [now - last for now, last in seen]
    young_s = [now - last for now, last in seen if 0.15 < now < 0.45]
    assert young_s and max(young_s) < 0.25, seen
    assert 0.35 < max(lags_s) < 0.8 and lags_s[-1] < 0.25, seen


def test_fewer_pictures_are_taken_while_the_encoder_does_not_keep_up(desk, tmp_path, monkeypatch):
    """An encoder that takes 0.1 s a picture: after half a second nothing is dropped any more."""
    quick = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda *a, **k: (time.sleep(0.1), quick(*a, **k))[1])
    one = desk(SlowModel(), side=256).ready()
    camera = one.app.keeper.camera = Camera(Recorder(ring_s=0), "side", tmp_path)
    camera.recorder.start(tmp_path / "a.mkv")
    x, dropped = 0, []

    def paint(until_s: float) -> None:
        nonlocal x
        while time.monotonic() < until_s:
            x += 1
            one.stroke((20 + x % 200, 20), (20 + x % 200, 200))
            one.app.step()
            dropped.append(camera.recorder.dropped)

    paint(time.monotonic() + 4.0)
    assert "pictures a second" in one.app.scene.recording
    assert camera.slowest >= 4 and camera.hz <= 7.5
    assert dropped[-1] == dropped[len(dropped) // 2] <= 8
    monkeypatch.setattr(Encoder, "encode", quick)
    monkeypatch.setattr("renderer.camera.FAST_AFTER_S", 0.4)
    began_s = time.monotonic()
    while camera.slow > 1:
        assert time.monotonic() < began_s + 15
        paint(time.monotonic() + 0.2)
    assert "pictures a second" not in one.app.scene.recording
    camera.recorder.close()
    times_s = decoded(tmp_path / "a.mkv")[0]
    assert np.diff(times_s).max() < 0.5


@pytest.mark.parametrize(
    ("now", "fill", "since_s", "then"),
    [
        (1, 0.5, 9.0, 1),  # as full as waiting for the model makes it
        (1, 0.8, 9.0, 2),
        (2, 0.8, 0.4, 2),  # not twice at once
        (8, 1.0, 9.0, 8),
        (4, 0.2, 4.0, 4),
        (4, 0.2, 5.0, 2),
        (2, 0.6, 9.0, 2),
    ],
)
def test_the_rate_halves_at_once_and_doubles_slowly(now, fill, since_s, then):
    assert slower(now, fill, since_s) == then


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_film_cut_off_at_any_moment_plays_to_within_half_a_second(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    encoder = Encoder(SIZE)
    film = Film(path, encoder.stream)
    for i in range(100):
        for packet in encoder.encode(planar(shade(i)), i * 50):
            film.add(packet)
        if i % 7 == 6:
            (tmp_path / f"cut.{suffix}").write_bytes(path.read_bytes())
            if i * 50 >= 500:
                assert decoded(tmp_path / f"cut.{suffix}")[0][-1] >= (i * 50 - 500) / 1000
    film.close()
    film.close()


def test_a_full_disk_ends_the_film_with_a_message_and_what_was_written_plays(tmp_path):
    if not hasattr(__import__("signal"), "SIGXFSZ"):
        pytest.skip("no limit on file sizes here")
    code = """
import resource, signal, sys, time
import numpy as np
from pathlib import Path
from renderer.recorder import Recorder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
random = np.random.default_rng(1)
recorder = Recorder(ring_s=0)
recorder.start(Path(sys.argv[1]))
for i in range(60):
    recorder.offer(random.integers(0, 255, (64, 96, 3), np.uint8), time.monotonic())
    time.sleep(0.02)
assert not recorder.filming
assert any("the recording stopped" in line for line in recorder.news), recorder.news
recorder.close()
"""
    path = tmp_path / "a.mkv"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(decoded(path)[0]) > 5


def test_names_that_no_film_can_have(tmp_path):
    for name in ("a.avi", "a", "a.mkv/"):
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        with pytest.raises(InputError):
            check_film(tmp_path / name, "side")
    (tmp_path / "file").write_text("")
    recorder = Recorder()
    recorder.start(tmp_path / "file" / "a.mkv")
    recorder.offer(shade(1), time.monotonic())
    recorder.close()
    assert not recorder.filming and "cannot be written" in recorder.news[0]


# Keep that


def test_the_last_seconds_are_kept_although_nothing_was_recorded(tmp_path):
    recorder = Recorder(ring_s=2.0)
    now_s = time.monotonic() - 6.0
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
    encoder, ring = Encoder(SIZE), Ring(3.0, most_bytes=400_000)
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
        recorder.offer(shade(10 * i), time.monotonic())
        time.sleep(0.02)
        if i == 10:
            recorder.keep(tmp_path / "kept.mkv")
    recorder.close()
    assert len(decoded(tmp_path / "film.mkv")[0]) >= 20
    assert len(decoded(tmp_path / "kept.mkv")[0]) >= 10


# The camera in the loop


@pytest.mark.parametrize("layout", ["side", "picture", "paper", "window"])
def test_the_loop_films_what_the_window_shows(desk, tmp_path, layout):
    one = desk(SlowModel(), side=256).ready()
    one.app.keeper.camera = Camera(Recorder(), layout, tmp_path)
    one.app.keeper.camera.recorder.start(tmp_path / "a.mkv")
    one.do(Fill((200, 30, 30), 5, 5))
    one.rest()
    one.until(lambda: one.app.scene.ink.box.empty)
    one.tick(5)
    window = one.window
    one.app.keeper.camera.recorder.close()
    _, pictures = decoded(tmp_path / "a.mkv")
    view = window.view
    parts = {"side": (view.paper, view.picture), "picture": (view.picture,), "paper": (view.paper,)}
    if layout == "window":
        expected = window.screen()
        assert pictures[-1].shape == expected.shape
        assert (np.abs(pictures[-1][100:400].astype(int) - expected[100:400]) < 40).mean() > 0.98
    else:
        expected = np.concatenate(parts[layout], 1)
        assert np.abs(pictures[-1].astype(int) - expected).mean() < 3


def test_keys_begin_and_end_a_film_keep_the_last_seconds_and_say_so(desk, tmp_path):
    one = desk(SlowModel(), side=256)
    one.do(Command("record"))
    one.app.step()
    assert any("nothing can be recorded" in line for line in one.app.scene.messages)
    one.app.keeper.camera = Camera(Recorder(), "side", tmp_path)
    one.ready()
    one.do(Command("record"))
    one.stroke((20, 20), (200, 100))
    one.rest()
    assert one.app.scene.recording.startswith("recording 0:0")
    one.do(Command("record"))
    one.tick(2)
    one.do(Command("keep"))
    one.until(lambda: any("kept the last" in line for line in one.app.scene.messages))
    films = sorted(tmp_path.glob("*.mkv"))
    assert len(films) == 2
    assert all(len(decoded(path)[0]) > 3 for path in films)
    assert one.app.scene.recording.endswith("MB kept")


def test_nothing_is_copied_where_nothing_changes(desk, tmp_path):
    one = desk(SlowModel(), side=256).ready()
    one.until(lambda: one.app.scene.ink.box.empty)
    one.app.keeper.camera = Camera(Recorder(), "side", tmp_path)
    one.tick(3)
    offered = []
    one.app.keeper.camera.recorder.offer = lambda *item: offered.append(item)
    one.tick(20)
    assert not offered


# The command


def paint(*words) -> subprocess.CompletedProcess:
    line = [sys.executable, str(ROOT / "main.py"), "paint", "--headless", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_painting_is_filmed_from_its_start_to_its_end(tmp_path, painter_file):
    film = tmp_path / "a.mp4"
    words = ("--size", 256, "--layout", "picture", "--record-fps", 30, "--seconds", 8, "--json")
    done = paint("--demo", "--model", painter_file, "--record", film, *words)
    assert done.returncode == 0, done.stderr
    found_s, pictures = decoded(film)
    told = json.loads(done.stdout)
    assert told["dropped"] == 0
    assert found_s[-1] == pytest.approx(told["seconds"], abs=1.0)  # less what it took to begin
    assert np.abs(np.diff(found_s) - 1 / 30).max() <= 0.0011
    assert pictures[0].shape == (256, 256, 3) and np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 10


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--record", "a.avi"), "must end in .mkv or .mp4"),
        (("--record", "/dev/null"), "must end in"),
        (("--record", "a.mkv", "--layout", "round"), "choose side"),
        (("--resume", "nothing"), "no stroke log 'nothing'"),
    ],
)
def test_what_cannot_be_filmed_is_told_in_one_line(tmp_path, words, says):
    done = paint(*words, "--seconds", 1)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr.startswith("flowbrush: error: ") and says in done.stderr and done.stderr.count("\n") == 1
    )
