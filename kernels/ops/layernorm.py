"""Fused residual add + LayerNorm: the sum and its norm in one pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, power_of_two, register, tl

TILE = 4096  # most values per program, unless one row is longer


def add_layer_norm(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Compute s = x + residual and layer_norm(s) (Ba et al. 2016), both of x's shape (..., D).

    x, residual: (..., D), evenly spaced rows of any stride; weight, bias: (D,).
    """
    chosen = reference.add_layer_norm if kernels.active(x, residual, weight, bias) == "reference" else OP
    return chosen(x, residual, weight, bias, eps)


def cost(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: the shape of x."""
    values = math.prod(shape)
    return 9 * values, (4 * values + 2 * shape[-1]) * dtype.itemsize


@jit
def layernorm_kernel(
    x,
    residual,
    weight,
    bias,
    total,
    out,
    rows,
    width,
    x_row,
    residual_row,
    eps,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program: ROWS rows, whole."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    i = tl.arange(0, BLOCK)
    inside = (row < rows) & (i < width)[None, :]
    s = tl.load(x + row * x_row + i[None, :], inside, other=0).to(tl.float32)
    s += tl.load(residual + row * residual_row + i[None, :], inside, other=0).to(tl.float32)
    tl.store(total + row * width + i[None, :], s, inside)
    s = tl.where(inside, s - (tl.sum(s, 1) / width)[:, None], 0.0)
    s = s / tl.sqrt_rn(tl.sum(s * s, 1) / width + eps)[:, None]
    gain = tl.load(weight + i, i < width, other=0).to(tl.float32)[None, :]
    offset = tl.load(bias + i, i < width, other=0).to(tl.float32)[None, :]
    tl.store(out + row * width + i[None, :], s * gain + offset, inside)


def empty(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def plan(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[list[Launch], tuple[Tensor, Tensor]]:
    """Return the launch, and the sum and the norm that it fills."""
    total, out = empty(x)
    width = x.shape[-1]
    x, residual = (t.reshape(-1, width) for t in (x, residual))
    x, residual = (t if t.stride(1) == 1 else t.contiguous() for t in (x, residual))
    block = power_of_two(width)
    rows = max(1, min(TILE // block, 4))
    strides = x.stride(0), residual.stride(0)
    args = (x, residual, weight.contiguous(), bias.contiguous(), total, out, x.shape[0], width, *strides, eps)
    constants = {"ROWS": rows, "BLOCK": block}
    warps = min(8, max(1, rows * block // 512))
    return [Launch(layernorm_kernel, (ceil_div(x.shape[0], rows),), args, constants, warps)], (total, out)


OP = register(
    "add_layer_norm(Tensor x, Tensor residual, Tensor weight, Tensor bias, float eps) -> (Tensor, Tensor)",
    plan,
    lambda x, residual, weight, bias, eps: empty(x),
)
