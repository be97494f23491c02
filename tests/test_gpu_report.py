"""Tests of the GPU script as a dry run on a CPU, and of the table of its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from loop_harness import ROOT

from models.benchmarks import gpu_report, real_models, results_table


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a script for sh")
def test_the_script_runs_dry_and_leaves_one_result_file(tmp_path):
    environment = os.environ | {"GPU_SH_DEVICE": "cpu", "PYTHON": sys.executable}
    command = ["sh", "tests/gpu.sh", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results_table.read(tmp_path / "out" / "result.json")
    assert set(found["exit_codes"].values()) == {0}
    assert {"doctor", "frames", "kernels"} <= set(found["reports"])
    rows = found["reports"]["frames"]["frames"]
    assert {row["model"] for row in rows} == {"painter", "painter, a stroke"}
    assert all(row["ms"]["p50"] > 0 for row in rows)


def test_no_cuda_device_is_said(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    environment = os.environ | {"PYTHON": sys.executable}
    command = ["sh", "tests/gpu.sh", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("no CUDA device: ")


XML = """<testsuites><testsuite name="pytest" tests="3" failures="1" errors="0" skipped="1">
<testcase classname="tests.test_gpu" name="test_a"><failure message="assert 1 == 2&#10;more"/></testcase>
<testcase classname="tests.test_gpu" name="test_b"/></testsuite></testsuites>"""


def result(folder, card: str, ms: float):
    """A result file as the script collects it."""
    folder.mkdir()
    (folder / "tests.xml").write_text(XML)
    (folder / "doctor.json").write_text("cut sh")
    (folder / "tests.code").write_text("1\n")
    quantiles = {"p50": ms, "p95": 2 * ms, "p99": 3 * ms}
    row = {"model": "painter", "size": 512, "steps": 1, "way": "graphs", "ms": quantiles}
    frames = {"machine": {"device": card, "torch": "2.9", "cuda": "12.8"}, "frames": [row]}
    frames["frames"].append({"model": "flux-schnell", "error": "CUDA out of memory."})
    (folder / "frames.json").write_text(json.dumps(frames))
    (folder / "paint.json").write_text(json.dumps({"input_to_frame_ms": quantiles}))
    found = gpu_report.collect(folder)
    path = folder / "result.json"
    path.write_text(json.dumps(found))
    return path


def test_results_stand_side_by_side(tmp_path, program):
    paths = [result(tmp_path / card, card, ms) for card, ms in (("RTX 4090", 2.0), ("H100", 1.0))]
    found = gpu_report.collect(tmp_path / "H100")
    assert found["tests"]["tests"]["failed"] == ["tests.test_gpu::test_a: ['assert 1 == 2']"]
    assert found["exit_codes"] == {"tests": 1} and "error" in found["reports"]["doctor"]
    words = [word for path in paths for word in ("--results", path)]
    done = program("bench", *words, "--json")
    table = json.loads(done.stdout)
    assert list(table["device"].values()) == ["RTX 4090", "H100"]
    assert list(table["painter 512 px, 1 steps, graphs"].values()) == ["2.00  4.00  6.00", "1.00  2.00  3.00"]
    assert table["tests: tests"][str(paths[0])] == "1 failed of 3"
    assert table["flux-schnell"][str(paths[1])] == "CUDA out of memory."
    shown = program("bench", *words).stdout
    assert "RTX 4090" in shown and "pen to picture" in shown and "2.00  4.00  6.00" in shown


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON file"),
        ('{"format": "x"}', "no result file"),
        ("[]", "no result"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path, refused, content, words):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content)
    assert words in refused("bench", "--results", path)


TINY = {
    "sample_size": 64,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
}


@pytest.mark.slow
def test_pretrained_models_with_random_weights_are_timed_and_what_does_not_fit_is_said(monkeypatch):
    """Only the model configuration is smaller than the real one."""
    real = real_models.REAL["sd-turbo"]
    coder = "AutoencoderTiny", {f"{part}_block_out_channels": (8,) * 4 for part in ("encoder", "decoder")}
    told = {"states": (1, 77, 32)}
    small = replace(real, config=TINY, told=told, coder=coder, dtype=torch.float32)
    monkeypatch.setitem(real_models.REAL, "sd-turbo", small)
    empty = real_models.empty

    def out_of_memory(kind, *rest):
        if kind == "FluxTransformer2DModel":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 24 GiB\nmore")
        return empty(kind, *rest)

    monkeypatch.setattr(real_models, "empty", out_of_memory)
    rows = gpu_report.pretrained_rows(("sd-turbo", "flux-schnell"), "cpu", 2, side_px=256)
    timed, failed = rows[:4], rows[4:]
    assert [(row["model"], row["way"]) for row in timed] == [
        (name, way) for name in ("sd-turbo", "sd-turbo, unmodified") for way in ("eager", "graphs")
    ]
    assert all(0 < row["ms"]["p50"] <= row["ms"]["p99"] for row in timed)
    assert [row["error"] for row in failed] == ["CUDA out of memory. Tried to allocate 24 GiB"] * 2
