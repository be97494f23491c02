"""Report of `doctor`: machine, versions, and a trial frame of each rendering path."""

from __future__ import annotations

import importlib.metadata
import platform
import time

from models import registry
from models.api import Img2Img, ModelError, Request
from models.device.system_info import free_memory_mb, processor

SIDE_PX = 256  # side of the trial frames
PACKAGES = (
    "torch",
    "triton",
    "diffusers",
    "numpy",
    "pygame-ce",
    "pygame_gui",
    "av",
    "opencv-python-headless",
)


def describe() -> dict:
    """Return the fields of `doctor`.

    frames: for each path, the milliseconds of a frame, or the error. why_not_faster: why no faster path than
    `path` is active.
    """
    import torch

    from models.device.cuda import why_no_cuda

    model, problem, frames = None, "", {}
    try:
        model = registry.loader("painter")()
        frames = tried(model)
    except ModelError as error:
        problem = str(error)
    card = model.card if model is not None else None
    no_cuda = why_no_cuda()
    found = {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "memory_free_mb": free_memory_mb(),
        "cuda": None if no_cuda else torch.cuda.get_device_name(),
        "why_no_cuda": no_cuda,
        "versions": {package: version(package) for package in PACKAGES},
        "triton": triton(),
        "cuda_graph": f"off: {no_cuda}" if no_cuda else frames.get("cuda_graph", "off: no frame was made"),
        "fp16_accumulation": fp16_accumulation(),
        "frames": frames,
        "path": card.path if card else None,
        "dtype": card.dtype if card else None,
        "weights_hash": card.weights_hash if card else None,
        "why_not_faster": card.why_not_faster if card else problem,
    }
    if model is not None:
        model.close()
    return found


def tried(model: Img2Img) -> dict[str, str]:
    """Render one frame by each path that the painter has here: "eager", and on a GPU "cuda_graph"."""
    import numpy as np

    request = Request(np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8))
    found = {"eager": made(model, request)}
    if model.card.device != "cpu":
        while model.rest():
            pass
        found["cuda_graph"] = made(model, Request(request.paper, seed=1))
        if reason := model.card.why_not_faster:
            found["cuda_graph"] = f"off: {reason}"
    return found


def made(model: Img2Img, request: Request) -> str:
    """Render a frame; return its milliseconds, or the error in one line."""
    begin_s = time.perf_counter()
    try:
        model.render(request)
    except Exception as error:  # doctor reports any error of a driver or library
        lines = str(error).strip().splitlines()
        return f"failed: {lines[0] if lines else type(error).__name__}"
    return f"made in {(time.perf_counter() - begin_s) * 1e3:.0f} ms"


def triton() -> str:
    """Return which Triton runs the kernels and how, or why none does."""
    import torch

    import kernels
    from models.device.cuda import usual_device

    found = kernels.describe()
    if reason := kernels.why_not_triton(torch.device(usual_device())):
        return f"off: {reason}"
    return f"{found['triton']}, {'interpreted' if found['interpreted'] else 'native'}"


def fp16_accumulation() -> str:
    """Whether half-precision products are accumulated in half precision, twice as fast on some GPUs."""
    import torch

    if not torch.cuda.is_available():
        return "off: no CUDA device"
    return "on" if getattr(torch.backends.cuda.matmul, "allow_fp16_accumulation", False) else "off"


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
