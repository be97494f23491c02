"""Convert a model's float output to uint8 pixels, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, register, tl

BLOCK = 1024


def picture_out(picture: Tensor) -> Tensor:
    """Convert (1, 3, H, W) floats in [-1, 1] to (H, W, 3) uint8; halves round up, values are clamped."""
    return reference.picture_out(picture) if kernels.active(picture) == "reference" else OP(picture)


def cost(shape: tuple[int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: (H, W)."""
    values = 3 * shape[0] * shape[1]
    return 4 * values, values * (dtype.itemsize + 1)


@jit
def picture_kernel(picture, out, plane, inner, count, BLOCK: tl.constexpr):
    """One program: BLOCK values of plane program_id(1), whose values lie `inner` bytes apart in `out`."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.program_id(1)
    x = tl.load(picture + channel.to(tl.int64) * plane + i, i < count, other=0).to(tl.float32)
    level = tl.minimum(tl.maximum(x * 127.5 + 128.0, 0.0), 255.0)
    tl.store(out + i * inner + channel, level.to(tl.uint8), i < count)


def empty(picture: Tensor) -> Tensor:
    return picture.new_empty((*picture.shape[2:], 3), dtype=torch.uint8)


def plan(picture: Tensor) -> tuple[list[Launch], Tensor]:
    """Return the launch and the bytes that it fills: one long row if channels-last, else three planes."""
    out = empty(picture)
    pixels = out.shape[0] * out.shape[1]
    if picture.is_contiguous(memory_format=torch.channels_last):
        planes, args = 1, (picture, out, 0, 1, 3 * pixels)
    else:
        planes, args = 3, (picture.contiguous(), out, pixels, 3, pixels)
    return [Launch(picture_kernel, (ceil_div(args[-1], BLOCK), planes), args, {"BLOCK": BLOCK})], out


OP = register("picture_out(Tensor picture) -> Tensor", plan, empty)
