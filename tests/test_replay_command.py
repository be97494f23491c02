"""Commands `replay` and `bench --session`: workers, killed runs, invalid logs and outputs."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from loop_harness import ROOT, SlowModel
from video_helpers import decoded, log, planned, silent

from models import registry
from models.api import Request
from renderer.actions import Change, End, Fill, InputError
from renderer.cli.settings import Replay
from renderer.offline.replay import plan
from renderer.offline.segments import PART_FRAMES, check_output, produce
from renderer.offline.session_benchmark import StrokeLogBenchmark


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
    end_s = time.perf_counter() + 120
    while not list((tmp_path / "o.mkv.parts").glob("part-*")):
        assert time.perf_counter() < end_s and program.poll() is None
        time.sleep(0.02)
    program.kill()
    program.wait(10)
    assert not (tmp_path / "o.mkv").exists()
    assert command(*words).returncode == 0
    made = plan(
        Replay(strokes, tmp_path / "o.mkv", fps=60), ("painter",), functools.partial(registry.loader)
    )[0]
    assert len(decoded(tmp_path / "o.mkv")[0]) == made.frames


def test_the_command_tells_of_a_fault_in_the_log_and_of_bad_input_in_one_line(tmp_path, strokes, refused):
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
        assert says in refused("replay", *words)


# Papers of a benchmark


def test_a_rehearsal_renders_the_moments_of_a_painting(tmp_path, strokes):
    model = SlowModel()
    rehearsal = StrokeLogBenchmark(model, strokes, (256, 256), 10)
    for _ in range(12):
        rehearsal.render(Request(np.zeros((256, 256, 4), np.uint8), steps=2))
    covered = [(request.paper[..., 3] > 0).sum() for request in model.requests]
    assert covered[:10] == sorted(covered[:10]) and covered[9] > covered[0] and covered[10:] == covered[:2]
    assert {request.steps for request in model.requests} == {2}
    assert [request.seed for request in model.requests[:10]] == [0] * 5 + [5] * 5
    with pytest.raises(InputError, match="nothing was painted"):
        StrokeLogBenchmark(model, log(tmp_path / "empty", []), 256, 10)


@pytest.mark.slow
def test_bench_takes_a_log(strokes, painter_file):
    done = command(
        "bench", "--session", strokes, "--model", painter_file, "--size", 256, "--frames", 8, "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["session"], found["papers"], found["frames"]) == (str(strokes), 8, 8)
    assert {"frame_ms", "roofline", "model_fps"} <= set(found)
