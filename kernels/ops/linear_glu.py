"""Matrix product with a fused gated linear unit: the product itself is not written to memory."""

from __future__ import annotations

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, power_of_two, register, tl
from kernels.ops.glu import check, gate

BLOCK_M, BLOCK_N, STAGES = 64, 64, 3


def linear_glu(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, *, gate_first: bool = False
) -> Tensor:
    """Compute glu(x weight^T + bias): x (..., K), weight (2 D, K), bias (2 D,) -> (..., D).

    Kernel and reference keep the product in float32 until it is gated. See kernels.ops.glu.glu.
    """
    check(activation, weight.shape[0])
    chosen = reference.linear_glu if kernels.active(x, weight, bias) == "reference" else OP
    return chosen(x, weight, bias, activation, gate_first)


def cost(shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: (rows, K, D)."""
    rows, inner, width = shape
    values = rows * inner + 2 * width * inner + 2 * width + rows * width
    return 4 * rows * inner * width + 8 * rows * width, values * dtype.itemsize


@jit
def linear_glu_kernel(
    x,
    weight,
    bias,
    out,
    rows,
    inner,
    width,
    stride,
    BIASED: tl.constexpr,
    GELU: tl.constexpr,
    GATE_FIRST: tl.constexpr,
    WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One program: BLOCK_M rows of BLOCK_N gated columns. Neighbouring programs share the rows' values."""
    row = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    left = x + row.to(tl.int64)[:, None] * stride + k[None, :]
    right = weight + column.to(tl.int64)[:, None] * inner + k[None, :]
    half = width.to(tl.int64) * inner
    first = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    second = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, inner, BLOCK_K):
        known = (start + k < inner)[None, :]
        a = tl.load(left + start, (row < rows)[:, None] & known, other=0)
        b = tl.load(right + start, (column < width)[:, None] & known, other=0)
        c = tl.load(right + half + start, (column < width)[:, None] & known, other=0)
        if WIDEN:
            a, b, c = a.to(tl.float32), b.to(tl.float32), c.to(tl.float32)
        first = tl.dot(a, tl.trans(b), first, input_precision="ieee")
        second = tl.dot(a, tl.trans(c), second, input_precision="ieee")
    if BIASED:
        first += tl.load(bias + column, column < width, other=0).to(tl.float32)[None, :]
        second += tl.load(bias + width + column, column < width, other=0).to(tl.float32)[None, :]
    y = second * gate(first, GELU) if GATE_FIRST else first * gate(second, GELU)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    tl.store(out + row.to(tl.int64)[:, None] * width + column[None, :], y, inside)


def empty(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0] // 2))


def plan(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, gate_first: bool
) -> tuple[list[Launch], Tensor]:
    """Return the launch and the result that it fills."""
    out = empty(x, weight)
    inner, width = x.shape[-1], out.shape[-1]
    flat = x.reshape(-1, inner)
    flat = flat if flat.stride(1) == 1 else flat.contiguous()
    rows = flat.shape[0]
    full = x.dtype == torch.float32
    constants = {
        "BIASED": bias is not None,
        "GELU": activation == "gelu",
        "GATE_FIRST": gate_first,
        "WIDEN": kernels.interpreted(),  # the interpreter lacks bfloat16 products
        "BLOCK_M": min(BLOCK_M, max(16, power_of_two(rows))),
        "BLOCK_N": BLOCK_N // 2 if full else BLOCK_N,
        "BLOCK_K": min(32 if full else 64, max(16, power_of_two(inner))),
    }
    weight = weight.contiguous()
    args = (
        flat,
        weight,
        flat if bias is None else bias.contiguous(),
        out,
        rows,
        inner,
        width,
        flat.stride(0),
    )
    grid = (ceil_div(width, constants["BLOCK_N"]), ceil_div(rows, constants["BLOCK_M"]))
    return [Launch(linear_glu_kernel, grid, args, constants, stages=STAGES)], out


OP = register(
    "linear_glu(Tensor x, Tensor weight, Tensor? bias, str activation, bool gate_first) -> Tensor",
    plan,
    lambda x, weight, bias, activation, gate_first: empty(x, weight),
)
