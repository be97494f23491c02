"""Stroke log: round trips, reading up to the first fault, and refusal of newer formats."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_harness import ROOT
from video_helpers import ERASER, EVERY

from renderer.actions import (
    EDITS,
    Begin,
    Clear,
    Command,
    End,
    Event,
    Extend,
    InputError,
    Redo,
    Undo,
)
from renderer.canvas.canvas import Canvas
from renderer.stroke_log import log as session
from renderer.stroke_log.codec import packed, quantized, unpacked
from renderer.stroke_log.log import FORMAT, LogHeader, LogWriter, read

HEADER = LogHeader(512, 384, "painter", "0123456789abcdef", {"seed": 3, "mood": {"haze": 0.5}})


def write(path, actions, header=HEADER, gap_s=0.25):
    writer = LogWriter(path, header)
    for number, action in enumerate(actions):
        writer.write(Event(action, 1000.0 + gap_s * number))
    return writer


def test_every_action_is_read_as_it_was_written(tmp_path):
    write(tmp_path / "log", EVERY).close()
    found = read(tmp_path / "log")
    assert found.header == HEADER
    assert [event.action for event in found.events] == EVERY
    assert [event.time_s for event in found.events] == [0.25 * number for number in range(len(EVERY))]
    assert found.fault == ""


def test_the_header_names_format_canvas_model_weights_and_settings(tmp_path):
    write(tmp_path / "log", []).close()
    fields = json.loads((tmp_path / "log").read_text().splitlines()[0])
    assert fields == {
        "flowbrush": FORMAT,
        "width": 512,
        "height": 384,
        "model": "painter",
        "weights": "0123456789abcdef",
        "settings": {"seed": 3, "mood": {"haze": 0.5}},
    }


@pytest.mark.parametrize("pause_s", [1200.0, 86_400.0, 1e9])
def test_a_long_pause_is_no_fault(tmp_path, pause_s):
    actions = [Clear(), Extend(((1.0, 2.0, 0.5),)), Undo(), Redo()]
    write(tmp_path / "log", actions, gap_s=pause_s).close()
    found = read(tmp_path / "log")
    assert [event.action for event in found.events] == actions and found.fault == ""
    assert found.events[1].time_s == min(pause_s, 1e6)


def test_commands_are_not_logged(tmp_path):
    write(tmp_path / "log", [Command("save"), Clear(), Command("help")]).close()
    assert [event.action for event in read(tmp_path / "log").events] == [Clear()]


def test_every_event_is_in_the_file_before_the_log_is_closed(tmp_path):
    writer = write(tmp_path / "log", EVERY)
    assert len(read(tmp_path / "log").events) == len(EVERY)
    writer.close()
    writer.close()


number = st.floats(-600, 1200, allow_nan=False)
points = st.lists(st.tuples(number, number, st.floats(0, 1)), min_size=1, max_size=40).map(tuple)


@given(strokes=st.lists(points, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_rounded_strokes_survive_to_the_bit(strokes, tmp_path_factory):
    """The loop paints the rounded strokes of the log: differences in tenths add up without drift."""
    path = tmp_path_factory.mktemp("log") / "log"
    actions = []
    for stroke in strokes:
        actions += [quantized(Begin(ERASER, stroke[0])), quantized(Extend(stroke)), End()]
    write(path, actions).close()
    assert [event.action for event in read(path).events] == actions


@given(numbers=st.lists(st.integers(-(10**7), 10**7)))
def test_numbers_survive_packing(numbers):
    assert unpacked(packed(numbers)) == numbers


def test_a_minute_of_busy_painting_stays_under_40_kb(tmp_path):
    """A 125 Hz mouse, polled 60 times per second, draws strokes of 2.4 s every 3 s at 400 px/s."""
    writer = LogWriter(tmp_path / "log", HEADER)
    for tick in range(60 * 60):
        now = tick / 60
        angles = [2.1 * (now + i / 125) for i in (0, 1)]
        where = [(256 + 200 * math.cos(a), 190 + 150 * math.sin(1.3 * a), 0.5 + a % 0.4) for a in angles]
        if tick % 180 == 0:
            writer.write(Event(quantized(Begin(ERASER, where[0])), now))
        if tick % 180 < 144:
            writer.write(Event(quantized(Extend(tuple(where))), now))
        if tick % 180 == 144:
            writer.write(Event(End(), now))
    writer.close()
    assert (tmp_path / "log").stat().st_size <= 40 * 1024


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_log_cut_anywhere_is_read_up_to_its_last_whole_line(tmp_path, cut):
    write(tmp_path / "log", EVERY).close()
    data = (tmp_path / "log").read_bytes()[:-cut]
    (tmp_path / "cut").write_bytes(data)
    found = read(tmp_path / "cut")
    whole = data[: data.rindex(b"\n")].count(b"\n")
    assert [event.action for event in found.events] == EVERY[:whole]
    assert bool(found.fault) == (not data.endswith(b"\n"))
    if found.fault:
        assert f"line {whole + 2}" in found.fault


BAD_LINES = (
    b"{}",
    b"[]",
    b"[1]",
    b"null",
    b'[0,"q"]',
    b'[0,"e",1]',
    b'""',
    b'"O"',
    b'"!"',
    b'"PO"',
    b'"\xc3\xa9"',
    b'"' + b"!" * 5000 + b'O"',
    b'[0,"e",1,2,1e999]',
    b'[0,"e",1,2,"3"]',
    b'[0,"b",1,2,300,9,1,1,0,1,2,3]',
    b'[0,"b",NaN,2,3,9,1,1,0,1,2,3]',
    b'[0,"f",1,2,3,4,5,6,99]',
    b'[0,"p","not base 64!"]',
    b'[0,"s",1,2]',
    b'["0","x"]',
    b'[1e400,"x"]',
    b'[0,"x",1]',
    b"\xff\xfe",
    b"[" * 100_000,
)


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: repr(line[:16]))
def test_a_bad_line_ends_the_log_there_and_its_number_is_told(tmp_path, line):
    write(tmp_path / "log", [Clear(), Undo()]).close()
    with open(tmp_path / "log", "ab") as file:
        file.write(line + b'\n[0,"y"]\n')
    found = read(tmp_path / "log")
    assert [event.action for event in found.events] == [Clear(), Undo()]
    assert "line 4" in found.fault


@given(noise=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_session_or_one_line_of_error(noise, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(noise)
    with pytest.raises(InputError):
        read(path)
    write(path, [Clear()]).close()
    with open(path, "ab") as file:
        file.write(noise)
    events = [event.action for event in read(path).events]
    assert events[0] == Clear()


def test_a_newer_format_is_refused(tmp_path):
    line = json.dumps({"flowbrush": FORMAT + 1, **HEADER.__dict__})
    (tmp_path / "log").write_text(line + "\n")
    with pytest.raises(InputError, match=f"session format {FORMAT + 1}"):
        read(tmp_path / "log")
    fields = {"flowbrush": FORMAT + 1, "canvas": [512, 512], "something": "new"}
    (tmp_path / "log").write_text(json.dumps(fields) + "\n")
    with pytest.raises(InputError, match=f"session format {FORMAT + 1}"):
        read(tmp_path / "log")


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        LogWriter(tmp_path / "file" / "log.jsonl", HEADER)


def test_a_full_disk_stops_the_log_and_not_the_painting():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    from pathlib import Path

    writer = LogWriter(Path("/dev/full"), HEADER)
    writer.write(Event(Clear(), 1.0))
    writer.write(Event(Clear(), 2.0))
    assert "stopped" in writer.error


@pytest.mark.parametrize("name", ["lake", "dusk", "dunes"])
def test_the_samples_are_whole_and_paint_a_picture_like_a_hand(name):
    """Samples last 60 to 120 s, cover most of the paper, and have human-like pauses and pressures."""
    found = read(ROOT / "assets" / "sessions" / f"{name}.jsonl")
    assert found.fault == ""
    assert 60 <= found.seconds <= 120
    canvas = Canvas(found.header.width, found.header.height)
    for event in found.events:
        if isinstance(event.action, EDITS):
            canvas.apply(event.action)
    assert (canvas.pixels[..., 3] > 0).mean() > 0.8
    gaps = np.diff([event.time_s for event in found.events])
    assert gaps.max() > 0.3 and gaps.min() >= 0
    pressures = {p[2] for e in found.events if isinstance(e.action, Extend) for p in e.action.points}
    assert len(pressures) > 10


@pytest.mark.slow
def test_a_killed_program_leaves_its_log_complete_to_the_last_event(tmp_path):
    log = tmp_path / "log.jsonl"
    command = [sys.executable, str(ROOT / "main.py"), "paint", "--headless", "--demo", "--session", str(log)]
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end_s = time.perf_counter() + 60
    while not (log.exists() and log.read_bytes().count(b"\n") > 40):
        assert time.perf_counter() < end_s and program.poll() is None
        time.sleep(0.05)
    program.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    program.wait(10)
    found = session.read(log)
    assert found.fault == ""
    assert len(found.events) >= 40
    assert len(found.header.weights) == 16
