"""Fused operations, one signature each: Triton on CUDA tensors, plain torch everywhere else.

Each op has its own file with kernel, launcher, cost and one dispatching function; `reference` holds every op
in plain torch. Importing this package imports only torch; an op's file imports triton if it is available.
`transformers` looks for another package of the same import name by its version; this package has no
version.
"""

from __future__ import annotations

import os
from importlib import metadata

import torch
from torch import Tensor

CHOICES = ("auto", "reference", "triton")
_choice = "auto"


def use(choice: str) -> str:
    """Set the implementation of the ops for this process; returns the previous choice.

    "auto": Triton for CUDA tensors where it can run, else the reference. "reference": plain torch always.
    "triton": Triton always; raises RuntimeError, here or at the op, with the reason if it cannot run.
    Raises ValueError for any other word.
    """
    global _choice
    if choice not in CHOICES:
        raise ValueError(f"kernels.use takes one of {', '.join(CHOICES)}, not {choice!r}")
    if choice == "triton":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if reason := why_not_triton(torch.device(device)):
            raise RuntimeError(f"triton kernels cannot run: {reason}")
    before, _choice = _choice, choice
    return before


def active(tensor: Tensor, *others: Tensor | None) -> str:
    """Implementation that an op uses for these tensors: "reference" or "triton".

    Meta tensors use "triton", so that a shape-only run of the CUDA path counts what CUDA would launch.
    Under autograd the reference runs: the kernels have no backward. Raises RuntimeError if the choice is
    "triton" and it cannot run on this tensor's device.
    """
    if _choice == "reference":
        return "reference"
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (tensor, *others)):
        return "reference"
    if tensor.device.type == "meta":
        return "triton"
    if _choice == "auto":
        return "triton" if tensor.is_cuda and not why_not_triton(tensor.device) else "reference"
    if reason := why_not_triton(tensor.device):
        raise RuntimeError(f"triton kernels cannot run: {reason}")
    return "triton"


def interpreted() -> bool:
    """Whether Triton runs in its interpreter, on CPU tensors; fixed before its kernels are imported."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


def why_not_triton(device: torch.device) -> str:
    """Reason in one line why Triton kernels cannot run on a device; empty if they can."""
    from kernels.dispatch import MISSING, why_no_launch

    if MISSING:
        return MISSING
    if interpreted():
        return ""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return why_no_launch(torch.device("cuda", index))
    return (
        f"they need a CUDA tensor, this one is on {device.type} (TRITON_INTERPRET=1 runs them there, slowly)"
    )


def describe() -> dict[str, str | bool]:
    """State of Triton for `doctor`: choice, installed version, why it does not run, interpreter or native."""
    from kernels import dispatch

    try:
        version = metadata.version("triton")
    except metadata.PackageNotFoundError:
        version = ""
    return {"choice": _choice, "triton": version, "missing": dispatch.MISSING, "interpreted": interpreted()}
