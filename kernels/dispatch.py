"""Import of Triton, kernel launches, and registration of ops with torch.

Triton loads an LLVM library that can conflict with the one of a display driver. Therefore it is imported only
if there is a CUDA device, or if TRITON_INTERPRET is set (1: run the interpreter; 0: compile ahead of time).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import triton
    import triton.language as tl
else:
    triton = tl = None
MISSING = "triton is not loaded: no CUDA device (TRITON_INTERPRET=1 runs its kernels on a CPU, slowly)"
if not TYPE_CHECKING and (torch.cuda.is_available() or "TRITON_INTERPRET" in os.environ):
    try:
        import triton
    except Exception as error:  # unsupported platform, not installed, or one of its libraries is missing
        MISSING = f"triton cannot be imported: {error}"
    else:
        tl, MISSING = triton.language, ""

LIBRARY = torch.library.Library("flowbrush", "DEF")


def jit(function: Callable) -> Any:
    """Apply triton.jit if Triton is loaded; else return the plain function, which is never called."""
    return function if triton is None else triton.jit(function)


@dataclass(frozen=True)
class Launch:
    """One kernel launch: `run` starts it on a GPU, `compile_targets` compiles it without one.

    args: tensors, ints and floats in the order of the kernel's parameters. constants: constexprs by name.
    """

    kernel: Any
    grid: tuple[int, ...]
    args: tuple[Tensor | int | float, ...]
    constants: dict = field(default_factory=dict)
    warps: int = 4
    stages: int = 2

    @property
    def options(self) -> dict:
        """Compiler options; multiply-add fusion is set explicitly, whatever triton's default is."""
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}

    def run(self) -> None:
        if 0 not in self.grid:
            with current(next(arg for arg in self.args if isinstance(arg, Tensor))):
                self.kernel[self.grid](*self.args, **self.constants, **self.options)


def current(tensor: Tensor) -> AbstractContextManager:
    """Context that makes the tensor's CUDA device current: triton launches on its stream."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


@jit
def probe_kernel(out):
    """A product of two 16x16 matrices of ones: 16 everywhere."""
    i = tl.arange(0, 16)
    ones = tl.full((16, 16), 1.0, tl.float16)
    tl.store(out + i[:, None] * 16 + i[None, :], tl.dot(ones, ones))


@functools.cache
def why_no_launch(device: torch.device) -> str:
    """Reason why kernels cannot be launched on a CUDA device, from a small trial; empty if they can.

    Triton compiles C at its first launch, which takes a compiler and the headers of Python and CUDA. The
    trial is a matrix product because triton 3.3.0, which torch 2.7.0 pins, compiles none for sm_120.
    """
    try:
        out = torch.zeros(256, dtype=torch.float32, device=device)
        Launch(probe_kernel, (1,), (out,)).run()
        wrong = "" if bool((out == 16).all()) else "its result is wrong"
    except Exception as error:  # from triton, the compiler or the driver
        wrong = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"a trial launch failed: {wrong}" if wrong else ""


def register(schema: str, plan: Callable, fake: Callable) -> Callable:
    """Register the op `flowbrush::<schema>` for CPU, CUDA and meta tensors; returns the callable op.

    plan: maps the op's arguments to the launches and the result that they fill. fake: returns the result
    without values. `torch.compile`, CUDA graphs and meta tensors then see one op. It has no backward: see
    kernels.active.
    """
    name = schema.split("(")[0]
    silent = schema.endswith("-> ()")

    def run(*args):
        launches, out = plan(*args)
        for launch in launches:
            launch.run()
        return None if silent else out

    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    for key in ("CPU", "CUDA"):
        LIBRARY.impl(name, run, key)
    torch.library.register_fake(f"flowbrush::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.flowbrush, name).default


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def power_of_two(n: int) -> int:
    """Smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
