"""Tests of the log store: stroke logs are kept, cleaned up, and found and restored after a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from loop_harness import ROOT, SlowModel

from renderer.actions import Change, Command, Event, Fill
from renderer.persistence import OFFER, Files
from renderer.picture_params import PictureParams
from renderer.stroke_log import log as session_module
from renderer.stroke_log.log import LogHeader, LogWriter, read
from renderer.stroke_log.store import LogStore, log_name

HEADER = LogHeader(256, 256)


def painted(store: LogStore, name: str, count: int = 3, age_s: float = 0.0):
    """Log left open by a process that no longer exists."""
    store.folder.mkdir(parents=True, exist_ok=True)
    path = store.folder / name
    writer = LogWriter(path, HEADER)
    for number in range(count):
        writer.write(Event(Fill((10 * number, 50, 60), 5, 5), number * 0.1))
    writer.close()
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return path


def test_every_painting_leaves_a_log_and_looking_around_leaves_none(make_loop, tmp_path):
    store = LogStore(tmp_path / "sessions")
    one = make_loop(SlowModel(), files=Files(store=store, weights="0123456789abcdef"))
    one.do(Command("help"), Command("help"))
    one.tick(3)
    assert store.logs() == []
    one.do(Fill((9, 9, 9), 5, 5), Change("seed", 4))
    one.tick()
    (path,) = store.logs()
    assert path.name.endswith(".jsonl.open") and len(read(path).events) == 2
    assert store.crashed() == []
    one.app.close()
    (closed,) = store.logs()
    assert closed.name == path.name.removesuffix(".open")
    found = read(closed)
    assert [event.action for event in found.events] == [Fill((9, 9, 9), 5, 5), Change("seed", 4)]
    assert found.header.weights == "0123456789abcdef"


def test_the_oldest_logs_go_first_and_what_a_crash_left_last_stays(tmp_path):
    store = LogStore(tmp_path)
    for number in range(6):
        painted(store, f"{number}.jsonl", age_s=100 - number)
    left = painted(store, "crash.jsonl.open", age_s=500)
    size = left.stat().st_size
    store.prune(4.5 * size)
    assert sorted(path.name for path in store.logs()) == ["3.jsonl", "4.jsonl", "5.jsonl", "crash.jsonl.open"]
    store.prune(0)
    assert store.logs() == [left]


def test_a_log_that_is_being_written_is_neither_offered_nor_removed(tmp_path):
    store = LogStore(tmp_path)
    kept = store.begin(HEADER)
    kept.write(Event(Fill((1, 2, 3), 5, 5), 0.0))
    assert store.crashed() == []
    store.prune(0)
    assert len(store.logs()) == 1
    kept.close()
    assert store.crashed() == [] and len(store.logs()) == 1


def test_a_folder_that_cannot_be_written_is_a_message_and_painting_goes_on(make_loop, tmp_path):
    (tmp_path / "file").write_text("")
    one = make_loop(SlowModel(), files=Files(store=LogStore(tmp_path / "file" / "sessions")))
    one.do(Fill((9, 9, 9), 5, 5))
    one.tick(2)
    assert one.app.canvas.pixels[5, 5, 0] == 9
    assert any("cannot be written" in line for line in one.messages)


# After a crash


def test_the_paper_of_a_crash_is_offered_and_brought_back(make_loop, tmp_path):
    store = LogStore(tmp_path)
    path = painted(store, "crash.jsonl.open")
    with open(path, "ab") as file:
        file.write(
            b'[90,"s","prompt","fog"]\n[20,"s","mood.sun",0.9]\n[1,"f",200,'
        )  # truncated in the middle of a line
    one = make_loop(SlowModel(), files=Files(store=store))
    assert one.app.scene.offer == OFFER
    one.tick(2)
    one.do(Command("restore"))
    one.until(lambda: one.app.canvas.pixels[5, 5, 3] == 255)
    assert one.app.canvas.pixels[5, 5].tolist() == [20, 50, 60, 255]
    assert (one.app.scene.params.prompt, one.app.scene.params.mood[0]) == ("fog", 0.9)
    assert one.app.scene.offer == "" and any("line 7" in line for line in one.messages)
    one.ready()
    one.app.close()
    assert store.crashed() == []
    again = read(store.logs()[-1])
    assert again.fault == ""
    assert log_name(path) in [log_name(log) for log in store.logs()]


def test_an_offer_that_nobody_answered_is_made_again(make_loop, tmp_path):
    """Ending a run without painting, a headless run or a demo does not answer the offer."""
    store = LogStore(tmp_path)
    painted(store, "crash.jsonl.open")
    for demo in (False, True):
        one = make_loop(SlowModel(), files=Files(store=store))
        one.app.scene.demo = demo
        if demo:
            one.do(Fill((9, 9, 9), 5, 5))
        one.tick()
        one.app.close()
    two = make_loop(SlowModel(), files=Files(store=store))
    assert two.app.scene.offer == OFFER


def test_an_offer_that_is_not_taken_ends_with_the_first_stroke_and_is_not_made_again(make_loop, tmp_path):
    store = LogStore(tmp_path)
    painted(store, "crash.jsonl.open")
    one = make_loop(SlowModel(), files=Files(store=store))
    one.do(Fill((9, 9, 9), 5, 5))
    one.tick()
    assert one.app.scene.offer == ""
    one.app.close()
    two = make_loop(SlowModel(), files=Files(store=store))
    assert two.app.scene.offer == ""


def test_a_restored_painting_is_restored_again_from_its_own_log(make_loop, tmp_path):
    """The restored painting is stored in the new log as an image, so the old log is not needed."""
    store = LogStore(tmp_path)
    painted(store, "crash.jsonl.open")
    one = make_loop(SlowModel(), files=Files(store=store))
    one.do(Command("restore"))
    one.until(lambda: one.app.canvas.pixels[5, 5, 3] == 255)
    one.stroke((50, 50), (90, 120))
    one.tick(2)
    newest = read(store.logs()[-1])
    from renderer.stroke_log.playback import Playback

    playback = Playback(newest)
    playback.advance(99)
    assert (playback.canvas.pixels == one.app.canvas.pixels).all()


def test_changes_to_another_look():
    one = PictureParams(prompt="fog", seed=3, mood=(0.1,) * 7)
    two = PictureParams(model="other", steps=4)
    for known, model in (((), "painter"), (("other",), "other")):
        params = one
        for change in one.changes_to(two, known):
            params = params.change(change.name, change.value)
        assert params == PictureParams(model=model, steps=4)


# Writing to disk


def test_the_disk_is_waited_for_by_a_thread_and_not_by_the_pen(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(session_module, "SYNC_EVERY_S", 0.05)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(time.perf_counter()), time.sleep(0.3)))
    writer = LogWriter(tmp_path / "log", HEADER)
    took = []
    for number in range(100):
        began_s = time.perf_counter()
        writer.write(Event(Fill((1, 2, 3), 5, 5), number / 100))
        took.append(time.perf_counter() - began_s)
        time.sleep(0.005)
    assert max(took) < 0.1 and len(synced) >= 1
    assert len(read(tmp_path / "log").events) == 100
    writer.close()


@pytest.mark.slow
def test_a_killed_program_offers_its_paper_to_the_next_one(tmp_path):
    environment = {**os.environ, "FLOWBRUSH_DATA": str(tmp_path)}
    line = [sys.executable, str(ROOT / "main.py"), "paint", "--headless"]
    program = subprocess.Popen([*line, "--demo"], env=environment, stdout=-3, stderr=-3)
    store = LogStore(tmp_path / "sessions")
    end_s = time.perf_counter() + 60
    while not (store.logs() and store.logs()[0].read_bytes().count(b"\n") > 60):
        assert time.perf_counter() < end_s and program.poll() is None
        time.sleep(0.05)
    assert store.crashed() == []
    program.kill()
    program.wait(10)
    (left,) = store.crashed()
    assert read(left).fault == ""
    words = [
        "--resume",
        log_name(left),
        "--seconds",
        "6",
        "--json",
        "--save-last",
        str(tmp_path / "last.png"),
    ]
    done = subprocess.run([*line, *words], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["errors"] == 0
    assert store.crashed() == [] and len(store.logs()) == 2
    from renderer.stroke_log.playback import Playback

    papers = []
    for path in store.logs():
        playback = Playback(read(path))
        playback.advance(1e9)
        papers.append(playback.canvas.pixels)
    assert np.array_equal(*papers) and papers[0].any()
    assert cv2.imread(str(tmp_path / "last.png")).shape == (720, 1280, 3)
