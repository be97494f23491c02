"""Fused norm + modulation without a residual sum, as at the start of a transformer block."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, register
from kernels.ops.modulate import NORMS, block_of, modulate_kernel, warps


def norm_modulate(
    x: Tensor, scale: Tensor, shift: Tensor | None = None, *, norm: str = "layer", eps: float = 1e-6
) -> Tensor:
    """Adaptive norm (Peebles and Xie 2023): norm(x) (1 + scale) + shift, (B, T, D).

    x: (B, T, D), rows of any stride; scale, shift: (B, D). norm: "layer" or "rms", without weights. Raises
    ValueError for another norm. See kernels.ops.modulate for the same after a gated sum.
    """
    if norm not in NORMS:
        raise ValueError(f"the norm is one of {', '.join(NORMS)}, not {norm!r}")
    chosen = reference.norm_modulate if kernels.active(x, scale, shift) == "reference" else OP
    return chosen(x, scale, shift, norm, eps)


def cost(shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: (B, T, D)."""
    values = math.prod(shape)
    return 9 * values, (2 * values + 2 * shape[0] * shape[2]) * dtype.itemsize


def plan(
    x: Tensor, scale: Tensor, shift: Tensor | None, norm: str, eps: float
) -> tuple[list[Launch], Tensor]:
    """Return the launch and the modulated norm that it fills."""
    x, scale = (t if t.stride(-1) == 1 else t.contiguous() for t in (x, scale))
    given = scale if shift is None else shift if shift.stride(-1) == 1 else shift.contiguous()
    out = x.new_empty(x.shape)
    batch, tokens, width = x.shape
    strides = (*x.stride()[:2], 0, 0, 0, scale.stride(0), given.stride(0))
    args = (x, x, scale, scale, given, out, out, tokens, width, *strides, eps)
    block = block_of(width)
    constants = {"RESIDUAL": False, "LAYER": norm == "layer", "SHIFTED": shift is not None, "BLOCK": block}
    return [Launch(modulate_kernel, (tokens, batch), args, constants, warps(block))], out


OP = register(
    "norm_modulate(Tensor x, Tensor scale, Tensor? shift, str norm, float eps) -> Tensor",
    plan,
    lambda x, scale, shift, norm, eps: x.new_empty(x.shape),
)
