"""Fused gated residual sum + norm + modulation, as between two products of a transformer block."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, jit, power_of_two, register, tl

NORMS = ("layer", "rms")


def gate_norm_modulate(
    x: Tensor,
    y: Tensor,
    gate: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    *,
    norm: str = "layer",
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Adaptive norm after a gated sum: s = x + gate y, and norm(s) (1 + scale) + shift, both (B, T, D).

    See Peebles and Xie 2023. x, y: (B, T, D), rows of any stride; gate, scale, shift: (B, D), such as the
    parts of one modulation vector. norm: "layer" or "rms", without weights. Raises ValueError for others.
    """
    if norm not in NORMS:
        raise ValueError(f"the norm is one of {', '.join(NORMS)}, not {norm!r}")
    chosen = reference.gate_norm_modulate if kernels.active(x, y, gate, scale, shift) == "reference" else OP
    return chosen(x, y, gate, scale, shift, norm, eps)


def cost(shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: (B, T, D)."""
    values = math.prod(shape)
    return 11 * values, (4 * values + 3 * shape[0] * shape[2]) * dtype.itemsize


@jit
def modulate_kernel(
    x,
    y,
    gate,
    scale,
    shift,
    total,
    out,
    tokens,
    width,
    x_batch,
    x_row,
    y_batch,
    y_row,
    gate_batch,
    scale_batch,
    shift_batch,
    eps,
    RESIDUAL: tl.constexpr,
    LAYER: tl.constexpr,
    SHIFTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program: one token, its whole width in registers."""
    token, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < width
    at_x = x + batch * x_batch + token.to(tl.int64) * x_row + i
    h = tl.load(at_x, inside, other=0).to(tl.float32)
    at = (batch * tokens + token) * width + i
    if RESIDUAL:
        at_y = y + batch * y_batch + token.to(tl.int64) * y_row + i
        g = tl.load(gate + batch * gate_batch + i, inside, other=0).to(tl.float32)
        h += g * tl.load(at_y, inside, other=0).to(tl.float32)
        tl.store(total + at, h, inside)
    if LAYER:
        h = tl.where(inside, h - tl.sum(h, 0) / width, 0.0)
    h = h / tl.sqrt_rn(tl.sum(h * h, 0) / width + eps)
    h = h * (1.0 + tl.load(scale + batch * scale_batch + i, inside, other=0).to(tl.float32))
    if SHIFTED:
        h += tl.load(shift + batch * shift_batch + i, inside, other=0).to(tl.float32)
    tl.store(out + at, h, inside)


def empty(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def plan(
    x: Tensor, y: Tensor, gate: Tensor, scale: Tensor, shift: Tensor | None, norm: str, eps: float
) -> tuple[list[Launch], tuple[Tensor, Tensor]]:
    """Return the launch, and the sum and the modulated norm that it fills."""
    x, y, gate, scale = (t if t.stride(-1) == 1 else t.contiguous() for t in (x, y, gate, scale))
    given = scale if shift is None else shift if shift.stride(-1) == 1 else shift.contiguous()
    total, out = empty(x)
    batch, tokens, width = x.shape
    strides = (*x.stride()[:2], *y.stride()[:2], gate.stride(0), scale.stride(0), given.stride(0))
    args = (x, y, gate, scale, given, total, out, tokens, width, *strides, eps)
    block = block_of(width)
    constants = {"RESIDUAL": True, "LAYER": norm == "layer", "SHIFTED": shift is not None, "BLOCK": block}
    return [Launch(modulate_kernel, (tokens, batch), args, constants, warps(block))], (total, out)


def block_of(width: int) -> int:
    """Block size with at least eight values per thread: loads stay wide; on narrow rows threads idle."""
    return max(256, power_of_two(width))


def warps(block: int) -> int:
    """Number of warps for eight values per thread: one 128-bit load in half precision."""
    return min(8, max(1, block // 256))


OP = register(
    "gate_norm_modulate(Tensor x, Tensor y, Tensor gate, Tensor scale, Tensor? shift, str norm, float eps) "
    "-> (Tensor, Tensor)",
    plan,
    lambda x, y, gate, scale, shift, norm, eps: empty(x),
)
