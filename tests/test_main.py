"""Tests of the command line: each command prints one JSON object or a one-line error."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from loop_harness import ROOT, SlowModel

from renderer import commands
from renderer.actions import Brush, Change

SKETCH = ROOT / "assets" / "sketches" / "lake.png"


def flowbrush(*words, **variables: str) -> subprocess.CompletedProcess:
    """Run main.py without a display; the result has text in stdout and stderr."""
    environment = {key: value for key, value in os.environ.items() if key not in NO_SCREEN} | variables
    command = [sys.executable, str(ROOT / "main.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


NO_SCREEN = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
PERCENTILES = {"p50", "p95", "p99"}


def bad(*words, says: str) -> None:
    done = flowbrush(*words)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("error: XDG")]
    assert (done.returncode, done.stdout) == (1, ""), done
    assert len(lines) == 1 and lines[0].startswith("flowbrush: error: ") and says in lines[0], lines


# Bad input: one line, exit code 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_no_display():
    bad("paint", "--seconds", 1, says="--headless")


@pytest.mark.parametrize("size", [100, 300, 224, 2080, 0])
def test_a_size_that_will_not_do(size, refused):
    assert "multiple of 32 from 256 to 2048" in refused("--headless", "--size", size)


def test_an_unknown_model_is_answered_with_the_valid_ones():
    for command in (["--headless"], ["bench"], ["render", SKETCH, "-o", "o.png"]):
        bad(*command, "--model", "monet", says="choose painter")


def test_weights_that_are_missing_cut_short_or_foreign(tmp_path, painter_file, refused):
    render = ["render", SKETCH, "-o", tmp_path / "o.png", "--model"]
    assert "no file" in refused(*render, tmp_path / "none.safetensors")
    whole = painter_file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in refused(*render, tmp_path / "cut.safetensors")
    (tmp_path / "text.safetensors").write_text("these are no weights")
    assert "cannot be read" in refused(*render, tmp_path / "text.safetensors")
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "foreign.safetensors")
    assert "another program" in refused(*render, tmp_path / "foreign.safetensors")
    assert not (tmp_path / "o.png").exists()


def test_images_that_are_missing_no_images_or_too_large(tmp_path, refused):
    (tmp_path / "text.png").write_text("this is no image")
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((8001, 8000), np.uint8))
    for name, says in (("none", "cannot be read"), ("text", "not an image"), ("large", "64 megapixels")):
        assert says in refused("render", tmp_path / f"{name}.png", "-o", tmp_path / "o.png")
        assert says in refused("--headless", "--seconds", 1, "--paper", tmp_path / f"{name}.png")
    assert "image" in refused("render", tmp_path / "huge.png", "-o", tmp_path / "o.png")
    for endless in (tmp_path, *(Path(name) for name in ("/dev/zero",) if Path(name).exists())):
        assert "it is no file" in refused("--headless", "--seconds", 1, "--paper", endless)


def test_sessions_that_are_missing_foreign_or_of_a_newer_format(tmp_path, refused):
    (tmp_path / "new.jsonl").write_text('{"flowbrush": 99, "canvas": [1, 2]}\n')
    (tmp_path / "foreign.jsonl").write_text("[1, 2, 3]\n")
    assert "format 99" in refused("--headless", "--demo", tmp_path / "new.jsonl")
    assert "not a Flowbrush session" in refused("--headless", "--demo", tmp_path / "foreign.jsonl")
    assert "lake" in refused("--headless", "--demo", tmp_path / "none.jsonl")
    assert "format 99" in refused("--headless", "--seconds", 1, "--resume", tmp_path / "new.jsonl")


def test_a_log_or_film_that_is_there_is_not_replaced(tmp_path, refused):
    for option, name in (("--session", "log.jsonl"), ("--record", "film.mkv")):
        kept = tmp_path / name
        kept.write_text("dear to somebody")
        assert "there already" in refused("--headless", "--seconds", 1, option, kept)
        assert kept.read_text() == "dear to somebody"


def test_a_picture_is_a_png(tmp_path, refused):
    assert "must end in .png" in refused("render", SKETCH, "-o", tmp_path / "o.jpg")


@pytest.mark.slow
def test_a_model_that_fails_without_a_window_is_told(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"not weights at all" * 100)
    bad("--headless", "--seconds", 12, "--model", tmp_path / "w.safetensors", says="w.safetensors")


def test_folders_that_cannot_be_written(tmp_path, refused):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "x"
    assert "cannot be written" in refused("render", SKETCH, "-o", f"{place}.png")
    assert "cannot be written" in refused("--headless", "--seconds", 1, "--session", f"{place}.jsonl")
    assert "cannot be written" in refused("--headless", "--seconds", 1, "--save-last", f"{place}.png")


def test_a_prompt_of_ten_thousand_characters(tmp_path, refused):
    assert "10000 characters" in refused("--headless", "--prompt", "x" * 10_000)
    assert "10000 characters" in refused("render", SKETCH, "-o", tmp_path / "o.png", "--prompt", "x" * 10_000)


def test_a_device_that_nobody_has(tmp_path, refused):
    assert "choose cpu or cuda" in refused("render", SKETCH, "-o", tmp_path / "o.png", "--device", "tpu")


def test_a_device_that_is_not_there(tmp_path, refused):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert "cuda" in refused("render", SKETCH, "-o", tmp_path / "o.png", "--device", "cuda")


@pytest.mark.parametrize(
    "words", [["monet"], ["--colour", "3"], ["--steps", "0"], ["--strength", "2"], ["bench", "--frames", "x"]]
)
def test_wrong_usage_has_exit_code_2(words, program):
    done = program(*words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("flowbrush: error: ") and line.endswith("--help"), line


def test_every_command_has_help(program):
    listed = program("--help").stdout
    for command in ("paint", "render", "bench", "models", "doctor", "train", "replay", "sessions"):
        done = program(command, "--help")
        assert done.returncode == 0 and f"Usage: flowbrush {command}" in done.stdout and command in listed


# Reports of the commands


@pytest.mark.slow
def test_a_headless_demo_reports_every_figure(tmp_path, painter_file):
    shot = tmp_path / "last.png"
    done = flowbrush(
        "paint", "--headless", "--demo", "--seconds", 12, "--json", "--model", painter_file, "--size", 256,
        "--save-last", shot, "--session", tmp_path / "log.jsonl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["input_to_frame_ms"]) == set(found["tick_ms"]) == PERCENTILES
    assert set(found["stage_ms"]) == {"upload", "start", "denoise", "decode", "download"}
    assert 0 < found["window_s"] < found["first_frame_s"]
    assert found["model_calls"] > 20 and found["model_fps"] > 0 and found["shown_fps"] > 10
    assert found["errors"] == 0 and found["idle_model_calls"] == 0
    assert found["input_to_frame_ms"]["p50"] > 0 and found["rss_mb"] > 50
    assert (found["device"], found["size"], found["steps"]) == ("cpu", 256, 1)
    assert {"stale", "dtype", "model"} <= set(found)
    assert cv2.imread(str(shot)).shape == (720, 1280, 3)
    assert (tmp_path / "log.jsonl").read_bytes().count(b"\n") > 50


@pytest.mark.slow
def test_bench_reports_every_figure(painter_file):
    done = flowbrush("bench", "--model", painter_file, "--size", 256, "--frames", 12, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["frame_ms"]) == PERCENTILES
    assert (found["size"], found["steps"], found["frames"]) == (256, 1, 12)
    assert found["gflop_per_frame"] > 0.1
    assert 0 < found["roofline"] < 1.2
    rounded = 0.05 * (1 + found["roofline"]) + 0.0005 * found["peak_gflops"]  # to 0.1, 0.1 and 0.001
    assert found["achieved_gflops"] == pytest.approx(
        found["roofline"] * found["peak_gflops"], abs=1.01 * rounded
    )
    assert {"model", "device", "dtype", "model_fps", "stage_ms", "torch", "machine"} <= set(found)


def test_models_and_doctor_print_one_json_object(program):
    rows = json.loads(flowbrush("models", "--json").stdout)["models"]
    assert "painter" in [row["name"] for row in rows]
    assert all({"name", "family", "licence", "steps", "download_mb"} <= set(row) for row in rows)
    table = program("models").stdout  # no name is truncated
    assert all(row["name"] in table and row["licence"] in table for row in rows) and "…" not in table
    found = json.loads(flowbrush("doctor", "--json").stdout)
    assert {"versions", "path", "why_not_faster", "threads", "cuda"} <= set(found)
    assert found["frames"]["eager"].startswith("made in ")
    assert (found["why_no_cuda"] == "") == (found["cuda"] is not None)
    for path in ("triton", "cuda_graph", "fp16_accumulation"):  # on, or off with a reason
        assert found[path].startswith("off: ") == (found["cuda"] is None), found[path]


# Reproducible pictures


def test_a_saved_paper_renders_to_the_saved_picture_bit_for_bit(make_loop, painter, painter_file, tmp_path):
    one = make_loop(lambda: painter)
    one.app.save_folder = tmp_path
    one.do(Change("seed", 12345), Change("prompt", "foggy autumn"), Change("mood.clouds", 0.9))
    one.stroke((20, 60), (230, 70), brush=Brush((118, 169, 222), 70, 0.5, 0.8))
    one.stroke((20, 200), (230, 190), brush=Brush((44, 98, 138), 60))
    one.ready()
    commands.save(one.app)
    one.until(lambda: any(line.startswith("saved ") for line in one.messages))
    saved = next(path for path in tmp_path.glob("*.png") if "paper" not in path.name)
    paper = next(tmp_path.glob("*-paper.png"))
    again = tmp_path / "again.png"
    done = flowbrush("render", paper, "-o", again, "--model", painter_file)
    assert done.returncode == 0, done.stderr
    assert (cv2.imread(str(again)) == cv2.imread(str(saved))).all()
    other = tmp_path / "other.png"
    flowbrush("render", paper, "-o", other, "--model", painter_file, "--seed", 1)
    assert (cv2.imread(str(other)) != cv2.imread(str(saved))).any()


def test_any_picture_is_a_sketch(tmp_path, painter_file):
    """A photograph of any shape without alpha becomes fully painted paper."""
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.full((301, 433, 3), 90, np.uint8))
    done = flowbrush(
        "render", tmp_path / "photo.jpg", "-o", tmp_path / "o.png", "--size", 256, "--model", painter_file
    )
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / "o.png")).shape == (256, 256, 3)


def test_saving_before_the_first_picture_is_a_message(make_loop, tmp_path):
    from renderer.actions import Command

    one = make_loop(SlowModel())
    one.app.save_folder = tmp_path
    one.do(Command("save"))
    one.app.step()
    assert any("nothing to save" in line for line in one.messages)
    assert not list(tmp_path.iterdir())


# Process setup


def test_waiting_threads_do_not_spin():
    """OpenMP reads the setting when torch loads, so it is set before that; a user's own setting is kept."""
    code = "import main, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    for given, found in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment | given, capture_output=True, text=True
        )
        assert done.stdout.split() == [found], done


def test_the_running_program_waits_passively(tmp_path, painter_file):
    """Check the settings that OpenMP reports in the real process, with torch loaded and a frame shown."""
    words = ("--headless", "--seconds", 20, "--demo", "--size", 256, "--model", painter_file, "--json")
    environment = {
        key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", *NO_SCREEN)
    }
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *map(str, words)],
        env=environment | {"OMP_DISPLAY_ENV": "TRUE"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if "OMP_WAIT_POLICY" in line:
                assert "PASSIVE" in line.upper()
                return
    finally:
        process.kill()
        process.wait()
    pytest.skip("this OpenMP does not print its settings")


def test_nan_is_not_a_number_of_seconds(program):
    done = program("--headless", "--seconds", "nan")
    assert (done.returncode, done.stdout) == (2, "") and "--seconds: nan" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1, 60])
def test_a_pretrained_model_that_is_not_here_offline_is_an_error(tmp_path, seconds):
    """The error is reported whether the run ends before the load fails or because of it."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    began_s = time.perf_counter()
    done = flowbrush("--headless", "--model", "sd-turbo", "--seconds", seconds, **offline)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.count("\n") == 1
    assert "sd-turbo" in done.stderr and time.perf_counter() - began_s < 55


def test_a_lab_that_is_not_installed_is_one_line(refused, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert 'needs numba and matplotlib: pip install "flowbrush[lab]"' in refused(
        "compare", "--quick", "--json"
    )
