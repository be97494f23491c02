"""What this machine has: processor, memory, devices, versions, and which path the painter takes on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from models import registry
from models.api import ModelError

MEMORY = Path("/proc/meminfo")  # of Linux
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
    """The fields of `doctor`. why_not_faster: why no faster path than `path` is active."""
    import torch

    card, problem = None, ""
    try:
        card = registry.loader("painter")().card
    except ModelError as error:
        problem = str(error)
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "memory_free_mb": free_memory_mb(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {package: version(package) for package in PACKAGES},
        "triton": triton(),
        "cuda_graph": "painter: captured behind its first frames"
        if torch.cuda.is_available()
        else "off: no CUDA device",
        "fp16_accumulation": fp16_accumulation(),
        "path": card.path if card else None,
        "dtype": card.dtype if card else None,
        "weights_hash": card.weights_hash if card else None,
        "why_not_faster": card.why_not_faster if card else problem,
    }


def triton() -> str:
    """Which Triton runs the kernels and how, or why none does."""
    import torch

    import kernels

    found = kernels.describe()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if reason := kernels.why_not_triton(device):
        return f"off: {reason}"
    return f"{found['triton']}, {'interpreted' if found['interpreted'] else 'native'}"


def fp16_accumulation() -> str:
    """Whether products of half precision are summed in it, twice as fast on some GPUs."""
    import torch

    if not torch.cuda.is_available():
        return "off: no CUDA device"
    return "on" if getattr(torch.backends.cuda.matmul, "allow_fp16_accumulation", False) else "off"


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def free_memory_mb() -> int | None:
    """Memory that programs may still take, caches that would make room counted in; None where the system does
    not tell."""
    try:
        lines = MEMORY.read_text(encoding="ascii").splitlines()
        kb = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        return kb * 1024 // 1_000_000
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
    except (AttributeError, OSError, ValueError):
        return None


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
