"""CUDA availability: the default device, and the reason why CUDA cannot be used."""

from __future__ import annotations

import torch

from models.api import ModelError


def usual_device() -> str:
    """Return "cuda" where CUDA can be used, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def why_no_cuda() -> str:
    """Return in one line why torch finds no CUDA device; empty where it finds one."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return "this build of torch is without CUDA: install one with it"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the driver is missing or too old for this build
        return f"{str(error).strip().splitlines()[0]} (torch is built for CUDA {torch.version.cuda})"
    return "torch finds no device: is an NVIDIA card in this machine, and visible to this process?"


def check_device(device: str) -> None:
    """Raise ModelError for a device that is not available, with one line that says what to do.

    device: "cpu", "cuda", or "cuda:N".
    """
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in ("cpu", "cuda"):
        raise ModelError(f"no device is named {device!r}; choose cpu, cuda or cuda:N")
    if wanted.type == "cpu":
        return
    if reason := why_no_cuda():
        raise ModelError(f"device {device} was asked for, but {reason}; use cpu, or leave --device out")
    count = torch.cuda.device_count()
    if (wanted.index or 0) >= count:
        there = "cuda:0 alone" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ModelError(f"there is no {device} here, there is {there}")
