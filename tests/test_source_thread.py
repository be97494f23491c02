"""Source thread on real files and sockets: pace, looping, pause, seek, loss and reconnection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from video_files import number_of, numbered, steady, write_video

from renderer.sources import source_thread
from renderer.sources.geometry import Placement
from renderer.sources.preparation import Preparation, SourceFrame
from renderer.sources.readers.open_source import opener
from renderer.sources.readers.shot import Shot, SourceLost
from renderer.sources.readers.spec import SourceSpec, parse_source
from renderer.sources.source_thread import SourceThread

PAPER = (256, 256)
STRETCHED = Preparation(Placement("stretch"))


@pytest.fixture
def start():
    """Factory of source threads; closes them after the test."""
    made: list[SourceThread] = []

    def begin(source, **options) -> SourceThread:
        spec = parse_source(str(source)) if not isinstance(source, SourceSpec) else source
        made.append(SourceThread(spec, opener(spec), PAPER, **{"preparation": STRETCHED, **options}))
        made[-1].start()
        return made[-1]

    yield begin
    for one in made:
        assert one.close()


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    end_s = time.perf_counter() + timeout_s
    while not condition():
        assert time.perf_counter() < end_s, "waited in vain"
        time.sleep(0.005)


def watch(source: SourceThread, seconds: float) -> list[tuple[float, SourceFrame]]:
    """Return (time, frame) of every frame taken from the slot within `seconds`."""
    seen, end_s = [], time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        taken = source.slot.take()
        if taken is not None:
            seen.append((time.perf_counter(), taken[0]))
        time.sleep(0.002)
    return seen


def test_a_file_plays_at_its_own_pace_and_begins_again(tmp_path, start):
    """A busy machine may skip frames; those that arrive are on time."""
    source = start(write_video(tmp_path / "film.mp4", steady(15)))
    seen: list[SourceFrame] = []

    def again() -> bool:
        seen.extend(frame for _, frame in watch(source, 0.1))
        return any(one.media_s > other.media_s for one, other in pairwise(seen))

    until(again, 20)
    first = [frame for frame in seen if frame.captured_s - seen[0].captured_s < 0.49]
    assert first[0].media_s == 0 and len(first) >= 5
    for frame in first:
        assert frame.captured_s - first[0].captured_s == pytest.approx(frame.media_s, abs=0.002)
        assert number_of(frame.pixels) == round(frame.media_s * 30)
    assert source.state == "live" and not source.problem


def test_a_variable_rate_is_kept(tmp_path, start):
    times = [0, 60, 400, 460, 700]
    source = start(write_video(tmp_path / "film.mkv", times), loop=False)
    seen = [frame for _, frame in watch(source, 1.2)]
    assert len(seen) >= 3
    for frame in seen:
        assert round(frame.media_s * 1000) in times
        assert frame.captured_s - seen[0].captured_s == pytest.approx(frame.media_s, abs=0.002)


def test_a_file_that_ends_keeps_its_last_frame(tmp_path, start):
    source = start(write_video(tmp_path / "film.mp4", steady(8)), loop=False)
    until(lambda: source.state == "ended")
    frame, _ = source.slot.take()
    assert number_of(frame.pixels) == 7
    time.sleep(0.2)
    assert source.slot.take() is None and source.captured == 8 and not source.problem


def test_pause_stops_and_goes_on_where_it_was(tmp_path, start):
    source = start(write_video(tmp_path / "film.mp4", steady(60)), loop=False)
    until(lambda: source.captured >= 5)
    source.pause(True)
    until(lambda: source.state == "paused")
    at_s = source.position_s
    source.slot.take()
    time.sleep(0.3)
    assert source.slot.take() is None and source.position_s == at_s
    source.pause(False)
    until(lambda: source.slot.waiting)
    assert 0 < source.position_s - at_s < 0.15


@pytest.mark.parametrize("paused", [False, True])
def test_seeking_shows_the_frame_of_the_position(tmp_path, start, paused):
    source = start(write_video(tmp_path / "film.mp4", steady(60)), loop=False)
    until(lambda: source.slot.waiting)
    source.pause(paused)
    time.sleep(0.1)
    source.slot.take()
    source.seek(1.5)
    until(lambda: source.position_s >= 1.5 and source.slot.waiting)
    frame, _ = source.slot.take()
    assert 1.499 <= frame.media_s <= (1.5 if paused else 1.7)
    assert number_of(frame.pixels) == round(frame.media_s * 30) - 40  # the numbers restart at 40
    source.seek(1e9)
    until(lambda: source.position_s > 1.9)


def test_every_frame_waits_for_each_to_be_painted(tmp_path, start):
    source = start(write_video(tmp_path / "film.mp4", steady(12)), loop=False, every_frame=True)
    numbers = []
    for _ in range(12):
        until(lambda: source.slot.waiting)
        time.sleep(0.05)  # longer than an interval: a clock would skip frames
        frame, _ = source.slot.take()
        numbers.append(number_of(frame.pixels))
        source.painted(frame.number)
    until(lambda: source.state == "ended")
    assert numbers == list(range(12))


def test_the_newest_frame_wins_and_its_dirt_adds_up(tmp_path, start):
    """After two marks in succession, a late take returns the last picture and a rectangle of both."""
    pictures = [np.full((256, 256, 3), 90, np.uint8) for _ in range(3)]
    pictures[1][20:60, 20:60] = 200
    pictures[2][20:60, 20:60] = 200
    pictures[2][180:220, 180:220] = 200
    path = write_video(
        tmp_path / "film.mkv", [0, 300, 400], size=PAPER, codec="ffv1", pixels="yuv444p", options={},
        pictures=pictures,
    )  # fmt: skip
    source = start(path, loop=False)
    until(lambda: source.slot.waiting)
    source.slot.take()
    until(lambda: source.state == "ended")
    frame, dirty = source.slot.take()
    assert frame.pixels[200, 200, 0] > 150 and frame.dirty.x0 > 100
    assert dirty.x0 <= 20 and dirty.y1 >= 220 and dirty.width < 240


def test_pictures_are_not_prepared_faster_than_the_model_wants_them(tmp_path, start):
    source = start(write_video(tmp_path / "film.mp4", steady(60, 60)))
    source.spacing_s = 0.2
    until(lambda: source.captured >= 10)
    prepared: list[int] = []
    original = source._preparer.prepare
    source._preparer.prepare = lambda shot, number, how: (
        prepared.append(number) or original(shot, number, how)
    )
    time.sleep(0.5)
    assert len(prepared) <= 4
    frame, _ = source.slot.take()
    assert frame.number >= 10  # frames in between are numbered too and count as skipped


# Loss and reconnection


class Flaky:
    """Capture that returns `count` pictures, then fails."""

    def __init__(self, count: int, error: Exception | None = None):
        self.left, self.error, self.closed = count, error or SourceLost("camera 0 gives no more"), False

    def read(self) -> Shot:
        if not self.left:
            raise self.error
        self.left -= 1
        picture = numbered(self.left % 30, (64, 64))
        return Shot((64, 64), time.perf_counter(), 0.0, lambda w, h: np.resize(picture, (h, w, 3)))

    def seek(self, media_s: float) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("error", [SourceLost("camera 0 gives no more"), RuntimeError("a fault inside")])
def test_a_lost_source_is_told_and_tried_again(monkeypatch, error):
    monkeypatch.setattr(source_thread, "FIRST_RETRY_S", 0.05)
    opened: list[Flaky] = []

    def open_it() -> Flaky:
        if len(opened) == 1:
            opened.append(Flaky(0))
            raise SourceLost("there is no camera 0")
        opened.append(Flaky(3, error))
        return opened[-1]

    source = SourceThread(SourceSpec("webcam"), open_it, PAPER, preparation=STRETCHED)
    source.start()
    until(lambda: source.lost_times == 1)
    assert source.state == "lost" and str(error) in source.problem
    until(lambda: source.captured >= 6)  # reconnected without a command
    assert opened[0].closed
    assert source.close()


def serve(port: int, stop: threading.Event) -> None:
    """Send MPEG-TS over UDP to this port at 30 frames per second until `stop` is set."""
    with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=30, options={"tune": "zerolatency", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        number = 0
        while not stop.wait(1 / 30):
            frame = av.VideoFrame.from_ndarray(numbered(number % 30, (320, 240)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(stream.encode(frame))
            number += 1


def test_a_network_source_is_killed_and_comes_back(monkeypatch, start):
    import socket

    from renderer.sources.readers import video

    monkeypatch.setattr(video, "READ_S", 0.5)
    monkeypatch.setattr(source_thread, "FIRST_RETRY_S", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = start(f"udp://127.0.0.1:{port}")
    for round_ in range(2):
        stop = threading.Event()
        server = threading.Thread(target=serve, args=(port, stop), daemon=True)
        server.start()
        before = source.captured
        until(lambda before=before: source.captured > before + 5, 15)
        assert source.state == "live" and source.problem == ""
        stop.set()
        server.join()
        until(lambda round_=round_: source.lost_times == round_ + 1, 15)
        assert "does not answer" in source.problem and source.state == "lost"
    frame, _ = source.slot.take()
    assert frame.pixels.shape == (256, 256, 3)  # the last frame stays


def test_closing_does_not_wait_for_a_silent_address(start):
    source = start("udp://127.0.0.1:9")
    time.sleep(0.1)
    began_s = time.perf_counter()
    source.close()
    assert time.perf_counter() - began_s < source_thread.CLOSE_S + 0.5
    until(lambda: not source._thread.is_alive(), 10)
