"""Replay: the same bytes as live, at any rate, size and speed; parts that are gone on with; every format."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest
from easel import RED, ROOT, SlowModel

from models import registry
from models.api import Request
from renderer import parts
from renderer.actions import Begin, Brush, Change, End, Event, Extend, Fill, InputError
from renderer.canvas import Canvas
from renderer.demo import scaled
from renderer.parts import PART_FRAMES, check_output, folder_of, produce
from renderer.rehearsal import Rehearsal
from renderer.replay import Player, plan
from renderer.session import Header, SessionWriter, read
from renderer.settings import Replay
from renderer.walk import Walk


def circle(number: int, side: int = 256) -> list:
    """A stroke of 20 points that ends where it began."""
    angles = [2 * math.pi * (number / 7 + i / 20) for i in range(20)]
    reach = side * (0.15 + 0.04 * number)
    where = [(side / 2 + reach * math.cos(a), side / 2 + reach * math.sin(a), 0.8) for a in angles]
    return [Begin(RED, where[0]), *(Extend((point,)) for point in where[1:]), End()]


def log(path, actions, *, gap_s=0.04, side=256, model="painter", settings=None):
    writer = SessionWriter(path, Header(side, side, model, "", settings or {}))
    for number, action in enumerate(actions):
        writer.write(Event(action, gap_s * number))
    writer.close()
    return path


@pytest.fixture
def strokes(tmp_path):
    """A log of 3.5 seconds: paint, another seed in the middle, more paint."""
    actions = [*circle(0), *circle(1), Change("seed", 5), *circle(2), *circle(3)]
    return log(tmp_path / "log.jsonl", actions)


def planned(source, output, load=None, **settings):
    model = load or (lambda name: SlowModel())
    return plan(Replay(source, output, **{"hold": 0.5, **settings}), ("painter",), model)[0]


def frames_of(made) -> list[np.ndarray]:
    return [picture.copy() for picture in Player(made).frames(0, made.frames)]


def decoded(path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
    return [frame.time for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def silent(count: int) -> None:
    """Progress that nobody watches."""


def digest(picture: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()


# The same bytes


def test_replayed_frames_are_the_bytes_that_the_window_showed(desk, painter, tmp_path):
    """Every picture of a live painting, refined ones too, against the log's own at the same moment."""
    one = desk(lambda: painter).ready()
    one.app.record_session(tmp_path / "log.jsonl")
    live: dict[tuple[int, int], str] = {}
    written = 0

    def look() -> None:
        picture = one.app.picture
        if written and picture.request.sequence == one.app._sequence:
            live[written, picture.request.steps] = digest(picture.picture)

    for number, brush in enumerate((Brush((118, 169, 222), 60), Brush((44, 98, 138), 40, 0.4, 0.7))):
        for action in circle(number):
            one.do(Begin(brush, action.point) if isinstance(action, Begin) else action)
            one.app.step()
            written += 1
            one.until(lambda: one.app.picture.request.sequence == one.app._sequence)
            look()
        one.do(Change("mood.sun", 0.2 + number / 2))
        one.app.step()
        written += 1
        one.rest()
        look()
    one.app.close()
    assert {steps for _, steps in live} >= {1, 4} and len(live) > 30
    session = read(tmp_path / "log.jsonl")
    for (count, steps), expected in live.items():
        walk = Walk(session)
        walk.to(session.events[count - 1].time_s)
        assert walk._next == count
        assert digest(painter.render(walk.request(steps)).picture) == expected


def test_a_replay_shows_what_the_window_did_finer_where_the_pen_rests(tmp_path, painter):
    source = log(tmp_path / "log", [Fill((118, 169, 222), 5, 5), Fill((44, 98, 138), 5, 5)], gap_s=1.0)
    made = planned(source, tmp_path / "o", lambda name: lambda: painter, fps=10, hold=0.5)
    frames = frames_of(made)
    session = read(source)
    for frame, moment_s, steps in (
        (0, 0.0, 1),
        (1, 0.1, 1),
        (2, 0.2, 4),
        (9, 0.9, 4),
        (10, 1.0, 1),
        (14, 1.4, 4),
    ):
        walk = Walk(session)
        walk.to(moment_s)
        assert digest(painter.render(walk.request(steps)).picture) == digest(frames[frame]), frame


# Rate, size, speed


def test_frames_show_the_moments_they_stand_for(tmp_path):
    colors = [(10 * i, 0, 0) for i in range(1, 21)]
    source = log(tmp_path / "log", [Fill(color, 5, 5) for color in colors], gap_s=0.1)
    made = planned(source, tmp_path / "o", fps=20, speed=2, hold=0.5, layout="picture")
    frames = frames_of(made)
    assert len(frames) == made.frames == 20 + 10
    assert [int(frame[5, 5, 0]) for frame in frames] == [10 * (i + 1) for i in range(20)] + [200] * 10


def test_strokes_are_drawn_anew_at_another_size(tmp_path, strokes):
    made = planned(strokes, tmp_path / "o", size=512, layout="paper")
    *_, last = Player(made).frames(0, made.frames)
    canvas = Canvas(512, 512)
    for event in read(strokes).events:
        if not isinstance(event.action, Change):
            canvas.apply(scaled(event.action, 2, 2))
    walk = Walk(read(strokes), (512, 512))
    walk.to(99)
    assert (walk.canvas.pixels == canvas.pixels).all()
    blurred = cv2.resize(frames_of(planned(strokes, tmp_path / "o", layout="paper"))[-1], (512, 512))
    assert (
        np.abs(np.diff(last.astype(int), axis=1)).max() > np.abs(np.diff(blurred.astype(int), axis=1)).max()
    )


def test_steps_and_model_can_be_other_ones(tmp_path, strokes):
    asked: list = []
    model = SlowModel()

    def load(name):
        asked.append(name)
        return model

    frames_of(planned(strokes, tmp_path / "o", load, steps=3, model="painter-teacher", fps=10))
    assert asked == ["painter-teacher"]
    assert {request.steps for request in model.requests} == {3}
    assert {request.seed for request in model.requests} == {0, 5}


def test_what_did_not_change_is_not_rendered_again(tmp_path):
    source = log(tmp_path / "log", [Fill((9, 9, 9), 5, 5), Fill((8, 8, 8), 5, 5)], gap_s=3.0)
    model = SlowModel()
    frames_of(planned(source, tmp_path / "o", lambda name: model, fps=30))
    assert len(model.requests) == 4


@pytest.mark.parametrize(
    ("layout", "shape"), [("side", (256, 512)), ("paper", (256, 256)), ("window", (720, 1280))]
)
def test_layouts(tmp_path, strokes, layout, shape):
    made = planned(strokes, tmp_path / "o", layout=layout, fps=2)
    frames = frames_of(made)
    assert {frame.shape for frame in frames} == {(*shape, 3)}
    assert digest(frames[0]) != digest(frames[-1])


# Parts


def test_a_stopped_replay_goes_on_where_it_was(tmp_path, strokes):
    class Stop(Exception):
        pass

    counted = []

    def stop(count):
        counted.append(count)
        if sum(counted) == PART_FRAMES + 7:
            raise Stop

    made = planned(strokes, tmp_path / "o.mkv", fps=60)
    with pytest.raises(Stop):
        produce(made, stop)
    ready = sorted(folder_of(made).glob("part-*"))
    assert len(ready) == 1 and not (tmp_path / "o.mkv").exists()
    stamp = ready[0].stat().st_mtime_ns
    model = SlowModel()
    again = planned(strokes, tmp_path / "o.mkv", lambda name: model, fps=60)
    kept = ready[0].read_bytes()
    counts = []

    def watch(count):
        counts.append(count)
        assert ready[0].stat().st_mtime_ns == stamp and ready[0].read_bytes() == kept

    produce(again, watch)
    assert sum(counts) == again.frames
    assert not folder_of(made).exists()
    found_s, pictures = decoded(tmp_path / "o.mkv")
    assert len(pictures) == again.frames
    expected = frames_of(planned(strokes, tmp_path / "o.mkv", fps=60))
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(pictures, expected, strict=True)) < 2
    assert np.abs(np.array(found_s) - np.arange(len(found_s)) / 60).max() <= 0.001


def test_parts_of_another_plan_are_not_gone_on_with(tmp_path, strokes):
    made = planned(strokes, tmp_path / "o.mkv", fps=10)
    folder_of(made).mkdir()
    (folder_of(made) / "plan.json").write_text('{"flowbrush": "another"}')
    (folder_of(made) / "part-000000.mkv").write_text("from another plan")
    produce(made, silent)
    assert len(decoded(tmp_path / "o.mkv")[0]) == made.frames


def test_a_foreign_folder_in_the_way_is_left_alone(tmp_path, strokes):
    made = planned(strokes, tmp_path / "o.mkv")
    folder_of(made).mkdir()
    (folder_of(made) / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="in the way"):
        produce(made, silent)
    assert (folder_of(made) / "diary.txt").read_text() == "mine"


def test_a_disk_that_fills_is_one_line(tmp_path, strokes, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.Film, "add", full)
    with pytest.raises(InputError, match="No space left"):
        produce(planned(strokes, tmp_path / "o.mkv"), silent)


# Formats


@pytest.mark.parametrize("name", ["o.mkv", "o.mp4", "o.gif", "o.webp", "folder"])
def test_every_format_holds_every_frame_at_its_time(tmp_path, strokes, name):
    made = planned(strokes, tmp_path / name, fps=10, layout="side")
    produce(made, silent)
    expected = frames_of(made)
    if name == "folder":
        files = sorted((tmp_path / name).iterdir())
        assert [path.name for path in files] == [f"frame-{i:06}.png" for i in range(made.frames)]
        for path, picture in zip(files, expected, strict=True):
            assert (cv2.imread(str(path))[..., ::-1] == picture).all()
        return
    if name == "o.webp":
        times_s, pictures = webp_frames(tmp_path / name)
    else:
        times_s, pictures = decoded(tmp_path / name)
    moments = np.arange(made.frames) / 10
    if len(pictures) < made.frames:  # a repeated picture may be shown longer instead of twice
        assert name == "o.webp" and len(pictures) > made.frames * 0.6
    for at_s, picture in zip(times_s, pictures, strict=True):
        frame = int(np.abs(moments - at_s).argmin())
        assert abs(moments[frame] - at_s) <= 0.0051
        assert np.abs(picture.astype(int) - expected[frame]).mean() < 6, frame


def webp_frames(path) -> tuple[list[float], list[np.ndarray]]:
    image_module = pytest.importorskip("PIL.Image")
    times_s, pictures, now_ms = [], [], 0
    with image_module.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            pictures.append(np.asarray(image.convert("RGB")))
            times_s.append(now_ms / 1000)
            now_ms += image.info["duration"]
    return times_s, pictures


# Bad input


def test_a_log_cannot_choose_a_file_as_model(tmp_path, strokes):
    for source in (
        log(tmp_path / "a", [Fill((1, 2, 3), 5, 5)], model="/etc/secret.safetensors"),
        log(
            tmp_path / "b",
            [Fill((1, 2, 3), 5, 5), Change("model", "/etc/secret.safetensors"), Fill((2, 2, 3), 5, 5)],
        ),
    ):
        asked = []
        made = planned(
            source, tmp_path / "o.mkv", lambda name, asked=asked: asked.append(name) or SlowModel()
        )
        with pytest.raises(InputError, match="--model"):
            produce(made, silent)
        assert not any("secret" in name for name in asked)
        produce(planned(source, tmp_path / "o.mkv", model="painter"), silent)


def test_outputs_that_no_replay_can_have(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "d.mkv").mkdir()
    (tmp_path / "file").write_text("")
    for name in ("o.avi", "full", "d.mkv", "file", "file/o.mkv"):
        with pytest.raises(InputError):
            check_output(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.mkv", "file", "full"]


def test_logs_that_cannot_be_replayed(tmp_path):
    with pytest.raises(InputError, match="nothing was painted"):
        planned(log(tmp_path / "empty", []), tmp_path / "o.mkv")
    source = log(tmp_path / "long", [Fill((1, 2, 3), 5, 5), *[End()] * 900], gap_s=999)
    with pytest.raises(InputError, match="--speed"):
        planned(source, tmp_path / "o.mkv")
    with pytest.raises(InputError, match="--size"):
        planned(source, tmp_path / "o.mkv", size=100)


def command(*words) -> subprocess.CompletedProcess:
    line = [sys.executable, str(ROOT / "main.py"), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=180)


@pytest.mark.slow
def test_two_workers_make_the_same_bytes_as_one(tmp_path, strokes, painter_file):
    words = ("--fps", 20, "--hold", 0.2, "--model", painter_file)
    for count in (1, 2):
        done = command("replay", strokes, "-o", tmp_path / f"by-{count}", *words, "--workers", count)
        assert done.returncode == 0, done.stderr
    one, two = (sorted((tmp_path / f"by-{count}").iterdir()) for count in (1, 2))
    assert len(one) == len(two) > PART_FRAMES
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


@pytest.mark.slow
def test_a_killed_replay_is_finished_by_the_same_command(tmp_path, strokes, painter_file):
    words = ["replay", strokes, "-o", tmp_path / "o.mkv", "--fps", 60, "--model", painter_file]
    line = [sys.executable, str(ROOT / "main.py"), *map(str, words)]
    program = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end_s = time.monotonic() + 120
    while not list((tmp_path / "o.mkv.parts").glob("part-*")):
        assert time.monotonic() < end_s and program.poll() is None
        time.sleep(0.02)
    program.kill()
    program.wait(10)
    assert not (tmp_path / "o.mkv").exists()
    assert command(*words).returncode == 0
    made = plan(
        Replay(strokes, tmp_path / "o.mkv", fps=60), ("painter",), functools.partial(registry.loader)
    )[0]
    assert len(decoded(tmp_path / "o.mkv")[0]) == made.frames


def test_the_command_tells_of_a_fault_in_the_log_and_of_bad_input_in_one_line(tmp_path, strokes):
    with open(strokes, "a", encoding="utf-8") as file:
        file.write("this is no action\n")
    done = command("replay", strokes, "-o", tmp_path / "o", "--fps", 1, "--hold", 0, "--layout", "paper")
    assert done.returncode == 0 and "line 87" in done.stderr
    (tmp_path / "foreign.jsonl").write_text(json.dumps([1, 2]))
    for words, says in (
        ((tmp_path / "foreign.jsonl", "-o", tmp_path / "x.mkv"), "not a Flowbrush session"),
        ((strokes, "-o", tmp_path / "x.mkv", "--layout", "round"), "choose side"),
        ((strokes, "-o", "/dev/null"), "null"),
        ((strokes, "-o", tmp_path / "x.mkv", "--model", "monet"), "monet"),
    ):
        done = command("replay", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr.startswith("flowbrush: error: ")
            and says in done.stderr
            and done.stderr.count("\n") == 1
        )


# The papers of a benchmark


def test_a_rehearsal_renders_the_moments_of_a_painting(tmp_path, strokes):
    model = SlowModel()
    rehearsal = Rehearsal(model, strokes, 256, 10)
    for _ in range(12):
        rehearsal.render(Request(np.zeros((256, 256, 4), np.uint8), steps=2))
    covered = [(request.paper[..., 3] > 0).sum() for request in model.requests]
    assert covered[:10] == sorted(covered[:10]) and covered[9] > covered[0] and covered[10:] == covered[:2]
    assert {request.steps for request in model.requests} == {2}
    assert [request.seed for request in model.requests[:10]] == [0] * 5 + [5] * 5
    with pytest.raises(InputError, match="nothing was painted"):
        Rehearsal(model, log(tmp_path / "empty", []), 256, 10)


@pytest.mark.slow
def test_bench_takes_a_log(strokes, painter_file):
    done = command(
        "bench", "--session", strokes, "--model", painter_file, "--size", 256, "--frames", 8, "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["session"], found["papers"], found["frames"]) == (str(strokes), 8, 8)
    assert {"frame_ms", "roofline", "model_fps"} <= set(found)
