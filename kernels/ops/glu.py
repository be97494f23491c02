"""Gated linear units on the output of one matrix product: GEGLU and SwiGLU (Shazeer 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, register, tl

ROWS, COLUMNS = 8, 256


def glu(x: Tensor, activation: str, *, gate_first: bool = False) -> Tensor:
    """Compute value * activation(gate) from the two halves of the last axis of x: (..., 2 D) -> (..., D).

    activation: "gelu" (exact, GEGLU) or "silu" (SwiGLU). gate_first: the gate is the first half (FLUX.2,
    Z-Image) and not the second (SD-Turbo). Raises ValueError for another activation or an odd last axis.
    """
    check(activation, x.shape[-1])
    return (reference.glu if kernels.active(x) == "reference" else OP)(x, activation, gate_first)


def check(activation: str, width: int) -> None:
    if activation not in ("gelu", "silu"):
        raise ValueError(f"a gate is activated by gelu or silu, not {activation!r}")
    if width % 2:
        raise ValueError(f"the gated axis must have two equal halves, not {width}")


def cost(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: the shape of x, (..., 2 D)."""
    values = math.prod(shape) // 2
    return 8 * values, 3 * values * dtype.itemsize


@jit
def gate(x, GELU: tl.constexpr):
    """The activation of the gate, in float32."""
    if GELU:
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    else:
        return x * tl.sigmoid(x)


@jit
def glu_kernel(
    x,
    out,
    rows,
    width,
    stride,
    GELU: tl.constexpr,
    GATE_FIRST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One program: ROWS x COLUMNS values."""
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    at = x + row.to(tl.int64)[:, None] * stride + column[None, :]
    first = tl.load(at, inside, other=0).to(tl.float32)
    second = tl.load(at + width, inside, other=0).to(tl.float32)
    y = second * gate(first, GELU) if GATE_FIRST else first * gate(second, GELU)
    tl.store(out + row.to(tl.int64)[:, None] * width + column[None, :], y, inside)


def empty(x: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], x.shape[-1] // 2))


def plan(x: Tensor, activation: str, gate_first: bool) -> tuple[list[Launch], Tensor]:
    """Return the launch and the result that it fills."""
    out = empty(x)
    flat = x.reshape(-1, x.shape[-1])
    flat = flat if flat.stride(1) == 1 else flat.contiguous()
    rows, width = flat.shape[0], out.shape[-1]
    constants = {"GELU": activation == "gelu", "GATE_FIRST": gate_first, "ROWS": ROWS, "COLUMNS": COLUMNS}
    grid = (ceil_div(width, COLUMNS), ceil_div(rows, ROWS))
    return [Launch(glu_kernel, grid, (flat, out, rows, width, flat.stride(0)), constants)], out


OP = register(
    "glu(Tensor x, str activation, bool gate_first) -> Tensor",
    plan,
    lambda x, activation, gate_first: empty(x),
)
