"""One Euler step along the flow: x + dt v."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, register, tl

BLOCK = 2048


def flow_step(x: Tensor, velocity: Tensor, dt: float | Tensor) -> Tensor:
    """x + dt velocity, in float32, rounded once to x's dtype; any one shape.

    dt: a number, or a tensor of one, so that a captured graph can be given another.
    """
    if kernels.active(x, velocity) == "reference":
        return reference.flow_step(x, velocity, dt)
    return OP(x, velocity, 0.0, dt) if isinstance(dt, Tensor) else OP(x, velocity, dt, None)


def cost(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: that of x."""
    values = math.prod(shape)
    return 2 * values, 3 * values * dtype.itemsize


@jit
def flowstep_kernel(x, velocity, value, dt, out, count, GIVEN: tl.constexpr, BLOCK: tl.constexpr):
    """One program: BLOCK values."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    step = tl.load(dt).to(tl.float32) if GIVEN else value
    v = tl.load(velocity + i, i < count, other=0).to(tl.float32)
    tl.store(out + i, tl.load(x + i, i < count, other=0).to(tl.float32) + v * step, i < count)


def dense(x: Tensor) -> Tensor:
    """x if its values fill one stretch of memory, in whatever order; else a copy that does."""
    order = sorted(range(x.dim()), key=lambda axis: (x.stride(axis), -axis), reverse=True)
    return x if x.permute(order).is_contiguous() else x.contiguous()


def plan(x: Tensor, velocity: Tensor, value: float, dt: Tensor | None) -> tuple[list[Launch], Tensor]:
    """The launch, and the result that it fills."""
    x = dense(x)
    out = torch.empty_like(x)
    if velocity.stride() != x.stride():
        velocity = torch.empty_like(x, dtype=velocity.dtype).copy_(velocity)
    args = (x, velocity, value, x if dt is None else dt, out, x.numel())
    constants = {"GIVEN": dt is not None, "BLOCK": BLOCK}
    return [Launch(flowstep_kernel, (ceil_div(x.numel(), BLOCK),), args, constants)], out


OP = register(
    "flow_step(Tensor x, Tensor velocity, float value, Tensor? dt) -> Tensor",
    plan,
    lambda x, velocity, value, dt: torch.empty_like(dense(x)),
)
