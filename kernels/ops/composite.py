"""Lay a freshly made Rect into a picture, its edges feathered."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, register, tl

ROWS, COLUMNS = 4, 512


def composite_(base: Tensor, patch: Tensor, *, x0: int, y0: int, feather_px: int) -> Tensor:
    """Lay `patch` (h, w, C) into `base` (H, W, C) at column x0, row y0; changes and returns `base`.

    The patch's weight rises in a straight line from 1 / (feather_px + 1) to 1 over feather_px pixels, at
    the edges that lie inside the base; where it is 1 the patch arrives bit for bit. Both are of one dtype,
    uint8 (halves round up) or float; pixels of a row follow one another. Raises ValueError for a patch that
    does not lie in the base, another dtype, or pixels apart.
    """
    height, width, channels = patch.shape
    if base.dtype != patch.dtype or base.shape[2] != channels:
        raise ValueError(f"a patch of {patch.dtype} x {channels} does not fit {base.dtype} x {base.shape[2]}")
    if not (0 <= x0 <= base.shape[1] - width and 0 <= y0 <= base.shape[0] - height and feather_px >= 0):
        raise ValueError(f"a patch of {width}x{height} at {x0},{y0} does not lie in {tuple(base.shape)}")
    if kernels.active(base) == "reference":
        return reference.composite_(base, patch, x0, y0, feather_px)
    if base.stride()[1:] != (channels, 1):
        raise ValueError(f"the base's pixels must follow one another, its strides are {base.stride()}")
    OP(base, patch, x0, y0, feather_px)
    return base


def cost(shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: that of the patch, (h, w, C)."""
    values = math.prod(shape)
    return 6 * values, 3 * values * dtype.itemsize


@jit
def composite_kernel(
    base,
    patch,
    height,
    width,
    base_row,
    patch_row,
    left,
    right,
    top,
    bottom,
    feather,
    CHANNELS: tl.constexpr,
    BYTES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One program: ROWS rows of COLUMNS values. left, right, top, bottom: feather where that edge is hard."""
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    x = column // CHANNELS
    inside = (row < height)[:, None] & (column < width * CHANNELS)[None, :]
    across = tl.minimum(tl.minimum(x + 1 + left, width - x + right), feather + 1).to(tl.float32)
    down = tl.minimum(tl.minimum(row + 1 + top, height - row + bottom), feather + 1).to(tl.float32)
    weight = (down / (feather + 1))[:, None] * (across / (feather + 1))[None, :]
    at = base + row.to(tl.int64)[:, None] * base_row + column[None, :]
    old = tl.load(at, inside, other=0).to(tl.float32)
    new = tl.load(patch + row.to(tl.int64)[:, None] * patch_row + column[None, :], inside, other=0)
    mixed = old * (1.0 - weight) + new.to(tl.float32) * weight
    if BYTES:
        tl.store(at, (mixed + 0.5).to(tl.uint8), inside)
    else:
        tl.store(at, mixed, inside)


def plan(base: Tensor, patch: Tensor, x0: int, y0: int, feather_px: int) -> tuple[list[Launch], Tensor]:
    """The launch, and the base that it changes."""
    height, width, channels = patch.shape
    if patch.stride()[1:] != (channels, 1):
        patch = patch.contiguous()
    target = base[y0 : y0 + height, x0 : x0 + width]
    hard = (x0 == 0, x0 + width == base.shape[1], y0 == 0, y0 + height == base.shape[0])
    edges = (feather_px * edge for edge in hard)
    args = (target, patch, height, width, base.stride(0), patch.stride(0), *edges, feather_px)
    constants = {"CHANNELS": channels, "BYTES": base.dtype == torch.uint8, "ROWS": ROWS, "COLUMNS": COLUMNS}
    grid = (ceil_div(width * channels, COLUMNS), ceil_div(height, ROWS))
    return [Launch(composite_kernel, grid, args, constants)], base


OP = register(
    "composite_(Tensor(a!) base, Tensor patch, int x0, int y0, int feather_px) -> ()",
    plan,
    lambda base, patch, x0, y0, feather_px: None,
)
