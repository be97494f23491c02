"""Measure frame times of a model, and the machine's matrix-product peak, in one interleaved run."""

from __future__ import annotations

import time

import numpy as np
import torch

from models.api import Img2Img, Request
from models.device.system_info import processor

PEAK_SIDE = 2048
PEAK_EVERY = 10  # frames between two measurements of the peak


def measure(
    model: Img2Img,
    paper: np.ndarray,
    *,
    steps: int,
    frames: int,
    strength: float,
    seed: int,
    look: str = "scenic",
    materials: np.ndarray | None = None,
) -> dict:
    """Render `frames` frames and return the fields of `bench --json`.

    roofline: FLOP rate of the denoise stage (counted work over its median time), relative to the best matrix
    product of the same dtype in this run. roofline_frame: the same for the whole frame.
    """
    card = model.card
    dtype = getattr(torch, card.dtype)
    height, width = paper.shape[:2]
    request = Request(paper, steps=steps, strength=strength, seed=seed, look=look, materials=materials)
    forget = getattr(model, "forget", lambda: None)  # drops the previous frame: each frame is computed whole
    for _ in range(5):
        forget()
        model.render(request)
    while rest(model):  # as when idle: captures the model's CUDA graphs
        pass
    for _ in range(2):
        forget()
        model.render(request)
    frame_ms, stages, peaks = [], {}, []
    a = torch.randn(PEAK_SIDE, PEAK_SIDE, device=card.device).to(dtype)
    _ = a @ a
    for index in range(frames):
        if index % PEAK_EVERY == 0:
            peaks.append(matrix_gflops(a))
        forget()
        begin = time.perf_counter()
        frame = model.render(request)
        frame_ms.append((time.perf_counter() - begin) * 1e3)
        for stage, ms in frame.stage_ms.items():
            stages.setdefault(stage, []).append(ms)
    gflop, peak = model.gflop(height, width, steps), max(peaks)
    medians = {stage: float(np.median(ms)) for stage, ms in stages.items()}
    denoised = getattr(model, "denoise_gflop", model.gflop)(height, width, steps)
    achieved = denoised / medians["denoise"] * 1e3
    return {
        "model": card.name,
        "device": card.device,
        "dtype": card.dtype,
        "size": width,
        "height": height,
        "steps": steps,
        "frames": frames,
        "model_fps": round(1e3 / float(np.median(frame_ms)), 2),
        "frame_ms": {f"p{p}": round(float(np.percentile(frame_ms, p)), 3) for p in (50, 95, 99)},
        "stage_ms": {stage: round(ms, 3) for stage, ms in medians.items()},
        "gflop_per_frame": round(gflop, 3),
        "achieved_gflops": round(achieved, 1),
        "peak_gflops": round(peak, 1),
        "roofline": round(achieved / peak, 3),
        "roofline_frame": round(gflop / float(np.median(frame_ms)) * 1e3 / peak, 3),
        "torch": torch.__version__,
        "machine": f"{processor()}, {card.threads} threads",
        "why_not_faster": model.card.why_not_faster,
    }


def rest(model: Img2Img) -> bool:
    """Call Img2Img.rest; a wrapper of a model without that method returns False."""
    return bool(getattr(model, "rest", lambda: False)())


def matrix_gflops(a: torch.Tensor) -> float:
    """Rate of one product of two (PEAK_SIDE, PEAK_SIDE) matrices in GFLOP/s, the best of three."""
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        _ = a @ a
        if a.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return 2 * PEAK_SIDE**3 / best / 1e9
