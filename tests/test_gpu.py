"""Tests that need a CUDA device, run by tests/gpu.sh; skipped on machines without one."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from loop_harness import ROOT

from models.api import Request
from models.painter import painter

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
WEIGHTS = ROOT / "assets" / "painter.safetensors"
BOUNDS = {"float32": 1, "float16": 3, "bfloat16": 8}  # levels per step, to float32 on the CPU


def settled(model, request: Request) -> np.ndarray:
    """Capture all CUDA graphs, then return a picture made by a graph."""
    model.render(request)
    while model.rest():
        pass
    model.forget()
    frame = model.render(request)
    assert "graph" not in (frame.why_not_faster or ""), frame.why_not_faster
    return frame.picture


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("dtype", BOUNDS)
def test_the_painter_is_the_cpus(paper, dtype, steps):
    """Eager and graph frames are identical bytes and match the CPU within rounding."""
    request = Request(paper, steps=steps, prompt="misty", seed=4)
    wanted = painter.load(WEIGHTS, device="cpu", dtype="float32").render(request).picture.astype(int)
    model = painter.load(WEIGHTS, device="cuda", dtype=dtype)
    eager = model.render(request).picture
    np.testing.assert_array_equal(settled(model, request), eager)
    assert np.abs(eager - wanted).max() <= BOUNDS[dtype] * steps
    model.close()


def test_strokes_by_tiles_are_whole_frames():
    model, other = (painter.load(WEIGHTS, device="cuda") for _ in range(2))
    paper = np.full((1024, 1024, 4), 120, np.uint8)
    for number in range(6):
        paper = paper.copy()
        paper[100 * number : 100 * number + 40, 50:90] = 255 - 9 * number
        made = model.render(Request(paper)).picture
        while model.rest():
            pass
        other.forget()
        np.testing.assert_array_equal(made, other.render(Request(paper)).picture)
    assert model.tiled.why_off == "" and model.tiled.share < 0.5


def test_strength_that_changes_while_graphs_are_captured(paper):
    """Every frame belongs to its own request, whether it ran eagerly or by a graph."""
    model, plain = painter.load(WEIGHTS, device="cuda"), painter.load(WEIGHTS, device="cuda")
    for number in range(60):
        request = Request(paper, strength=0.2 + 0.01 * number, steps=1 + number % 3)
        made = model.render(request).picture
        if number % 7 == 0:
            model.rest()
        np.testing.assert_array_equal(made, plain.render(request).picture)


def test_three_models_leave_no_memory(paper):
    def used() -> int:
        gc.collect()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    settled(painter.load(WEIGHTS, device="cuda"), Request(paper))  # allocates the libraries' workspaces
    before = used()
    for dtype in BOUNDS:
        model = painter.load(WEIGHTS, device="cuda", dtype=dtype)
        settled(model, Request(paper))
        model.close()
        del model
    assert used() <= before + (1 << 20)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_second_card(paper):
    request = Request(paper, steps=2)
    first, second = (painter.load(WEIGHTS, device=f"cuda:{index}") for index in range(2))
    np.testing.assert_array_equal(settled(second, request), settled(first, request))
    assert torch.cuda.current_device() == 0


def test_without_a_c_compiler_the_reference_paints(tmp_path):
    """If Triton's driver cannot be built, doctor reports it and frames are still made."""
    environment = os.environ | {"PATH": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("CC", None)
    command = [sys.executable, "main.py", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    assert found["triton"].startswith("off: a trial launch failed: ") and "compiler" in found["triton"]
    assert found["frames"]["eager"].startswith("made in ")
    assert found["frames"]["cuda_graph"].startswith("made in ")
    assert "triton" in found["why_not_faster"].lower()
