"""Tests of a live source in the real loop: model input, frame counts, and loss of the source."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pygame
import pytest
from loop_harness import RED, ROOT, SlowModel, differs
from video_files import numbered, steady, write_video

from models.api import ModelError, Rect
from renderer.actions import Begin, Change, Command, Extend, Fill, Undo
from renderer.live import LiveParts
from renderer.runtime.messages import Level
from renderer.runtime.pacing import source_due_s
from renderer.sources.live_source import LayerSettings
from renderer.sources.preparation import AS_IT_IS, Preparation
from renderer.sources.readers.open_source import opener
from renderer.sources.readers.spec import SourceSpec, parse_source
from renderer.sources.source_thread import SourceThread

SIDE = 256
PLAIN = LayerSettings()


@pytest.fixture
def live_loop(make_loop):
    """Factory of real loops with a source; returns (harness, model)."""

    def make(source, model=None, *, layer=PLAIN, preparation=AS_IT_IS, parts=None, **options):
        spec = source if isinstance(source, SourceSpec) else parse_source(str(source))
        thread = SourceThread(spec, opener(spec), (SIDE, SIDE), preparation=preparation, **options)
        model = model or SlowModel()
        return make_loop(model, live=LiveParts(source=thread, layer=layer, **(parts or {}))), model

    return make


@pytest.fixture
def film(tmp_path):
    """Three-second video at 30 frames per second; each frame has its own grey level."""
    return write_video(tmp_path / "film.mp4", steady(90), size=(SIDE, SIDE))


@pytest.fixture
def still(tmp_path):
    """Folder with one picture."""
    folder = tmp_path / "still"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.png"), numbered(10, (SIDE, SIDE))[..., ::-1])
    return folder


def figures(one) -> dict:
    return one.app.live.fields()["source"]


def arrived(one) -> None:
    """Wait until the source is on the paper and the model has made a picture."""
    one.until(lambda: one.app.live.active and one.app.picture is not None)


# Model input


def test_the_model_gets_strokes_over_the_source_and_the_strokes_stay_as_they_are(live_loop, still):
    one, model = live_loop(still)
    arrived(one)
    one.do(Fill((200, 30, 30), 5, 5))
    one.do(Undo())
    one.stroke((150, 60), (230, 200))
    one.rest()
    strokes, paper = one.app.canvas.pixels, model.requests[-1].paper
    assert strokes[60, 150, 3] == 255 and strokes[10, 200, 3] == 0
    assert (paper[..., 3] == 255).all()
    assert (paper[strokes[..., 3] == 255] == strokes[strokes[..., 3] == 255]).all()
    assert (paper[strokes[..., 3] == 0, :3] == numbered(10, (SIDE, SIDE))[strokes[..., 3] == 0]).all()
    assert one.app.messages.errors == 0
    assert not model.torn


def test_the_window_shows_the_source_under_the_strokes(live_loop, still):
    one, _ = live_loop(still)
    arrived(one)
    one.stroke((150, 60), (230, 200))
    one.tick(3)
    shown = one.window.panes.paper
    assert tuple(shown[10, 10]) == (220, 30, 30)  # colour of the source's mark
    assert tuple(shown[60, 150]) == (200, 30, 30)


def test_hidden_it_is_gone_and_shown_it_is_back(live_loop, still):
    one, model = live_loop(still)
    arrived(one)
    one.rest()
    one.do(Command("source.show"))
    one.until(lambda: not model.requests[-1].paper.any())
    assert one.window.panes.paper[10, 10, 1] > 200  # ivory
    one.do(Command("source.show"))
    one.until(lambda: model.requests[-1].paper.all(-1).any())
    assert tuple(one.window.panes.paper[10, 10]) == (220, 30, 30)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("source.over", True), ("source.opacity.less", True), ("source.mirror", True), ("source.flatten", True)],
)
def test_keys_lay_the_source_otherwise(live_loop, still, name, changes):
    one, model = live_loop(still)
    arrived(one)
    one.stroke((20, 20), (200, 200))
    one.rest()
    before, served = model.requests[-1].paper.copy(), len(model.requests)
    one.do(Command(name))
    one.until(lambda: len(model.requests) > served and differs(model.requests[-1].paper, before).any())
    assert (one.app.canvas.pixels[20, 20] == (200, 30, 30, 255)).all()


def test_flat_materials_reach_the_model_and_strokes_keep_theirs(live_loop, still):
    one, model = live_loop(still, preparation=Preparation(flatten="materials"))
    arrived(one)
    one.do(Fill((38, 72, 44), 5, 5, 24, 6))
    one.rest()
    assert set(np.unique(model.requests[-1].materials)) == {6}
    one.do(Undo())
    one.rest()
    assert model.requests[-1].materials.min() > 0


def test_feedback_mixes_the_last_picture_into_the_source(live_loop, film):
    one, model = live_loop(film, layer=LayerSettings(feedback=0.5), every_frame=True)
    one.until(lambda: len(model.requests) > 8)
    papers = {request.sequence: int(request.paper[200, 200, 0]) for request in model.requests}
    levels = list(papers.values())
    plain = [int(numbered(n, (SIDE, SIDE))[200, 200, 0]) for n in range(8)]
    assert levels[0] == pytest.approx(plain[0], abs=4)
    assert all(level < source - 1 for level, source in zip(levels[3:8], plain[3:8], strict=True))  # it lags


# Frame counts


def test_every_frame_is_painted_or_counted_as_skipped(live_loop, tmp_path):
    """A source of 60 frames per second with a model that makes 12."""
    fast = write_video(tmp_path / "fast.mp4", steady(120, 60), size=(SIDE, SIDE))
    one, model = live_loop(fast, SlowModel(0.08))
    end_s = time.perf_counter() + 2.0
    one.until(lambda: time.perf_counter() > end_s)
    one.do(Command("source.pause"))
    one.until(lambda: figures(one)["state"] == "paused")
    one.rest()
    source = figures(one)
    assert source["captured"] >= 60 and source["painted"] >= 5
    assert source["painted"] + source["skipped"] + source["unchanged"] == source["captured"]
    assert source["in_flight"] == 0
    assert source["painted"] <= len(model.requests)
    shown = source["capture_to_shown_ms"]
    assert 80 < shown["p50"] < 1000 and shown["p50"] <= shown["p95"]


def test_with_every_frame_none_is_skipped(live_loop, tmp_path):
    short = write_video(tmp_path / "short.mp4", steady(20, 60), size=(SIDE, SIDE))
    one, _ = live_loop(short, SlowModel(0.03), every_frame=True, loop=False)
    one.until(lambda: figures(one)["state"] == "ended" and figures(one)["in_flight"] == 0)
    source = figures(one)
    assert (source["captured"], source["painted"], source["skipped"]) == (20, 20, 0)


def test_a_model_that_fails_stops_no_source(live_loop, tmp_path):
    short = write_video(tmp_path / "short.mp4", steady(10, 60), size=(SIDE, SIDE))
    one, model = live_loop(short, every_frame=True, loop=False)
    model.failures = [ModelError("not this time")]
    one.until(lambda: figures(one)["state"] == "ended", 20)
    assert one.app.stats.errors == 1


def test_where_the_source_stands_still_nothing_is_computed_and_the_picture_is_refined(live_loop, still):
    one, model = live_loop(still, loop=True)
    arrived(one)
    one.rest()  # fully refined: the source does not prevent it
    calls = len(model.requests)
    one.until(lambda: figures(one)["unchanged"] >= 1, 10)
    one.tick(10)
    assert len(model.requests) == calls and one.app.stats.idle_calls == 0


def test_only_what_moves_is_dirty_and_the_rest_keeps_its_bits(live_loop, tmp_path):
    """With a noisy camera and a small moving object, the rest of the picture must not flicker."""
    random = np.random.default_rng(0)
    pictures = []
    for number in range(60):
        picture = np.clip(110 + random.normal(0, 3, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        picture[40:70, 20 + 3 * number : 50 + 3 * number] = (30, 160, 60)
        pictures.append(picture)
    path = write_video(
        tmp_path / "noisy.mkv", steady(60), size=(SIDE, SIDE), codec="ffv1", pixels="yuv444p", options={},
        pictures=pictures,
    )  # fmt: skip
    one, model = live_loop(path, every_frame=True, loop=False)
    one.until(lambda: figures(one)["state"] == "ended", 30)
    one.rest()
    moving = [request for request in model.requests[20:] if not request.dirty.empty]
    assert len(moving) > 20
    assert np.mean([request.dirty.width * request.dirty.height for request in moving]) < 0.15 * SIDE**2
    assert (moving[0].paper[120:] == moving[-1].paper[120:]).all(-1).mean() > 0.99
    assert figures(one)["skipped_area"] > 0.6 and 2 < figures(one)["noise_levels"] < 5


# The pen


def test_while_the_pen_moves_the_source_waits_so_far_that_strokes_do_not():
    assert source_due_s(now_s=10, pen_s=0, taken_s=9.99, frame_ms=20) == 10  # no pen activity
    assert source_due_s(now_s=10, pen_s=9.9, taken_s=9.9, frame_ms=20) == pytest.approx(10.3)
    assert source_due_s(now_s=10, pen_s=9.9, taken_s=9.5, frame_ms=20) == 10  # one frame in twenty passes
    assert source_due_s(now_s=10, pen_s=9.9, taken_s=9.9, frame_ms=0) == 10  # frame time not known yet


def test_strokes_over_a_moving_source_come_with_few_frames_of_it(live_loop, film):
    one, model = live_loop(film, SlowModel(0.02))
    one.until(lambda: figures(one)["painted"] >= 10)
    moved = len({request.paper[250, 250, 0] for request in model.requests})
    assert moved >= 10
    served = len(model.requests)
    one.do(Begin(RED, (20, 20, 0.8)))
    for step in range(60):
        one.do(Extend(((20 + 3 * step, 20 + 2 * step, 0.8),)))
        one.tick()
    drawn = model.requests[served:]
    assert len(drawn) > 15
    frames = len({int(request.paper[250, 250, 0]) for request in drawn})
    assert frames <= len(drawn) / 3
    small = [request for request in drawn if request.dirty.width < SIDE]
    assert len(small) > len(drawn) / 2  # most pictures recompute only the area that the stroke reaches


# Loss of the source


class Broken:
    """Stand-in camera that is unplugged after three pictures; the third time it stays connected."""

    opened = 0

    def __init__(self):
        Broken.opened += 1
        self.left = 3 if Broken.opened < 3 else 10**6

    def read(self):
        from renderer.sources.readers.shot import Shot, SourceLost

        if not self.left:
            raise SourceLost("camera 0 gives no more pictures")
        self.left -= 1
        time.sleep(0.02)
        picture = numbered(self.left % 40, (SIDE, SIDE))
        return Shot((SIDE, SIDE), time.perf_counter(), 0.0, lambda w, h: cv2.resize(picture, (w, h)))

    def seek(self, media_s): ...

    def close(self): ...


def test_a_lost_source_keeps_its_last_frame_under_a_red_line_and_comes_back(make_loop, monkeypatch, capfd):
    from renderer.sources import source_thread

    monkeypatch.setattr(source_thread, "FIRST_RETRY_S", 0.4)
    monkeypatch.setattr(Broken, "opened", 0)
    thread = SourceThread(SourceSpec("webcam"), Broken, (SIDE, SIDE))
    one = make_loop(SlowModel(), live=LiveParts(source=thread))
    one.until(lambda: one.app.picture is not None and one.app.live.active)
    one.until(lambda: one.app.scene.status.level is Level.ERROR)
    assert one.app.scene.status.text == "camera 0 gives no more pictures, trying again"
    assert one.app.live.active and one.window.panes.paper[10, 10, 0] == 220
    one.until(lambda: not one.app.scene.status.text and Broken.opened == 3, 20)
    assert capfd.readouterr().err.count("camera 0 gives no more pictures") == 1
    assert figures(one)["lost"] == 2 and one.app.messages.errors == 0


def test_without_a_source_its_keys_say_so(make_loop):
    one = make_loop(SlowModel())
    one.until(lambda: one.app.picture is not None)
    for name in ("source.pause", "source.show", "projector", "camera"):
        one.do(Command(name))
    one.tick(2)
    assert any("start with --source" in line for line in one.messages)
    assert one.app.live.fields() == {"source": None, "stream": None, "camera": None, "osc": None}


# Remote control in the loop


def test_osc_messages_steer_the_painting(make_loop):
    pytest.importorskip("pythonosc")
    from pythonosc.udp_client import SimpleUDPClient

    from renderer.control.addresses import addresses
    from renderer.control.osc import OscServer
    from renderer.ui.input.keymap import KEYS

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = OscServer("127.0.0.1", port, addresses((key.name, key.help) for key in KEYS))
    one = make_loop(SlowModel(), live=LiveParts(osc=server))
    one.until(lambda: one.app.picture is not None)
    client = SimpleUDPClient("127.0.0.1", port)
    client.send_message("/flowbrush/prompt", "a misty lake")
    client.send_message("/flowbrush/strength", 0.35)
    client.send_message("/flowbrush/view", [])
    client.send_message("/flowbrush/seed", 1e38)
    one.until(lambda: one.app.scene.params.prompt == "a misty lake" and one.app.scene.view != "side")
    assert one.app.scene.params.strength == 0.35
    one.tick(3)
    assert one.app.messages.errors == 0
    assert one.app.live.fields()["osc"]["received"] == 4


# The commands


def command(*words) -> subprocess.CompletedProcess:
    """Run the program. A short run may end while torch is being imported, which ends the process."""
    line = [sys.executable, str(ROOT / "main.py"), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=120)


def receive(port: int, found: list[float], stop: threading.Event) -> None:
    options = {"analyzeduration": "200000", "probesize": "100000", "fifo_size": "20000"}
    try:
        with av.open(f"udp://127.0.0.1:{port}", options=options, timeout=(60.0, 3.0)) as stream:
            for frame in stream.decode(video=0):
                found.append(frame.time)
                if stop.is_set():
                    return
    except (av.error.FFmpegError, OSError):
        return


@pytest.mark.slow
def test_a_video_goes_in_and_a_stream_comes_out(film, tmp_path, painter_file):
    """Run the command with a file as source, streaming and recording at once.

    The model's pictures are received over the loopback. They are encoded once, with the same times in both.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    times, stop = [], threading.Event()
    receiver = threading.Thread(target=receive, args=(port, times, stop), daemon=True)
    receiver.start()
    record = tmp_path / "record.mkv"
    words = ("--headless", "--size", 256, "--model", painter_file, "--device", "cpu", "--keep-seconds", 0)
    done = command(
        "paint", *words, "--source", film, "--stream", f"udp://127.0.0.1:{port}", "--record", record,
        "--seconds", 12, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stop.set()
    receiver.join(10)
    fields = json.loads(done.stdout)
    source, stream = fields["source"], fields["stream"]
    assert source["painted"] > 5 and source["captured"] >= source["painted"] + source["skipped"]
    assert source["capture_to_shown_ms"]["p50"] > 0
    assert stream["dropped"] == 0 and stream["sent"] > 10 and stream["problem"] is None
    assert len(times) >= 0.8 * stream["sent"]
    with av.open(str(record)) as file:
        recorded = [frame.time for frame in file.decode(video=0)]
    gaps_sent, gaps_kept = np.diff(times), np.diff(recorded)
    assert (gaps_sent > 0).all()
    length = min(len(gaps_sent), len(gaps_kept)) - 3
    best = min(np.abs(gaps_sent[1 : length - 8] - gaps_kept[at : at + length - 9]).max() for at in range(8))
    assert best < 0.034  # within one interval


def test_bad_options_are_one_line_before_a_window_opens(refused, tmp_path, film):
    assert "is not there" in refused("paint", "--headless", "--source", tmp_path / "none.mp4")
    assert "not a protocol" in refused("paint", "--headless", "--source", "gopher://x")
    assert "names no camera" in refused("paint", "--headless", "--source", "webcam:front")
    assert "fit is one of" in refused("paint", "--headless", "--source", film, "--source-fit", "wide")
    assert "flat colours are" in refused("paint", "--headless", "--source", film, "--source-flatten", "x")
    assert "WIDTHxHEIGHT" in refused("paint", "--headless", "--source", film, "--source-crop", "half")
    assert "PORT or HOST:PORT" in refused("paint", "--headless", "--osc", "nine")
    assert "cannot be streamed to" in refused("paint", "--headless", "--stream", "ftp://x")
    assert "use --record" in refused("paint", "--headless", "--stream", tmp_path / "out.mp4")


@pytest.mark.slow
def test_a_source_that_never_answers_is_told_and_the_run_goes_on(painter_file):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        done = command(
            "paint", "--headless", "--size", 256, "--model", painter_file, "--device", "cpu", "--source", url,
            "--seconds", 7, "--json",
        )  # fmt: skip
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if url in line]
    assert told == [f"flowbrush: {url} does not answer, trying again"]
    source = json.loads(done.stdout)["source"]
    assert source["state"] == "lost" and "does not answer" in source["problem"]
    assert source["captured"] == 0


# Projector window, in a real X server


PROJECT = """
import sys, time
import numpy as np
from renderer.sinks.projector import Projector
from renderer.ui.window import Window
from renderer.actions import InputError, Command
import pygame
window = Window((400, 300))
try:
    Projector(7)
except InputError as error:
    print(error)
projector = Projector(0)
picture = np.zeros((100, 100, 3), np.uint8)
picture[:50], picture[50:] = (200, 30, 30), (30, 160, 60)
projector.offer(picture)
end = time.perf_counter() + 10
while not projector.shown and time.perf_counter() < end:
    projector.show(); pygame.event.pump(); time.sleep(0.02)
import mss
shot = np.frombuffer(mss.MSS().grab({"left": 0, "top": 0, "width": 640, "height": 480}).bgra, np.uint8)
shot = shot.reshape(480, 640, 4)[..., 2::-1]
print(*shot[60, 320], *shot[420, 320], *shot[240, 20])
projector.close(); projector.close(); window.close()
"""


def test_a_projector_shows_the_picture_alone(xserver):
    pytest.importorskip("mss")
    line = [sys.executable, "-c", PROJECT]
    done = subprocess.run(line, capture_output=True, text=True, env=xserver.environment, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    *_, refused, colors = done.stdout.splitlines()
    assert refused == "there is no display 7: there is one, number 0"
    assert [int(v) for v in colors.split()] == [200, 30, 30, 30, 160, 60, 0, 0, 0]


def test_the_screen_is_a_source_of_the_painting(xserver, make_loop, monkeypatch):
    pytest.importorskip("mss")
    from renderer.sources.readers.screen import ScreenReader

    monkeypatch.setenv("DISPLAY", xserver.display)
    xserver.show((40, 72, 108))
    spec = SourceSpec("screen", index=1)
    thread = SourceThread(spec, lambda: ScreenReader(1, Rect(0, 0, 400, 400)), (SIDE, SIDE), fps=30)
    model = SlowModel()
    one = make_loop(model, live=LiveParts(source=thread))
    one.until(lambda: model.requests and tuple(model.requests[-1].paper[50, 50]) == (40, 72, 108, 255))
    xserver.show((200, 30, 30))
    one.until(lambda: tuple(model.requests[-1].paper[50, 50]) == (200, 30, 30, 255))
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"
    one.do(Change("seed", 5))
    one.until(lambda: model.requests[-1].seed == 5)


def test_events_of_a_projectors_window_are_not_the_paintings(make_loop):
    """The pointer over the projector window draws nothing; keys work in both windows."""
    one = make_loop(SlowModel())
    one.tick(2)
    window = one.window
    other, own = SimpleNamespace(id=window.handle.id + 7), SimpleNamespace(id=window.handle.id)
    moved = {"pos": (9, 9), "rel": (1, 1), "buttons": (0, 0, 0)}
    assert window.elsewhere(pygame.event.Event(pygame.MOUSEMOTION, **moved, window=other))
    assert window.elsewhere(pygame.event.Event(pygame.WINDOWFOCUSLOST, window=other))
    assert not window.elsewhere(pygame.event.Event(pygame.MOUSEMOTION, **moved, window=own))
    assert not window.elsewhere(pygame.event.Event(pygame.MOUSEMOTION, **moved))
    assert not window.elsewhere(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_b, mod=0, window=other))
