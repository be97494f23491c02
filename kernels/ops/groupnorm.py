"""Fused GroupNorm + SiLU on channels-last pictures, with statistics split over many programs.

At batch 1, one program per group would leave most of a GPU idle. Here each program sums a slice of the pixels
for a block of whole groups; a second kernel merges the slices (Chan et al. 1983) and writes the result.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, power_of_two, register, tl

MAX_SPLITS = 256
LANES = 128  # adjacent channels per program, rounded down to whole groups
TILE = 4096  # values that a program holds at once


def group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-5, silu: bool = True
) -> Tensor:
    """Compute silu(group_norm(x)), or without the SiLU (Wu and He 2018; Elfwing et al. 2017).

    x: (N, C, H, W), best channels-last; the result is channels-last. weight, bias: (C,). Raises ValueError
    if the number of channels is not divisible by `groups`.
    """
    if x.shape[1] % groups:
        raise ValueError(f"{groups} groups do not divide {x.shape[1]} channels")
    chosen = reference.group_norm_silu if kernels.active(x, weight, bias) == "reference" else OP
    return chosen(x, groups, weight, bias, eps, silu)


def cost(shape: tuple[int, int, int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: (N, C, H, W). x is read twice and written once."""
    values = math.prod(shape)
    return 12 * values, 3 * values * dtype.itemsize + 2 * shape[1] * dtype.itemsize


@jit
def partials_kernel(
    x,
    partials,
    pixels,
    channels,
    groups,
    per_split,
    WIDTH: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_G: tl.constexpr,
):
    """One program: mean and squared deviations of GROUPS groups of WIDTH channels over per_split pixels."""
    split, block, picture = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    lane = tl.arange(0, BLOCK_C)
    channel = block * (GROUPS * WIDTH) + lane
    valid = (lane < GROUPS * WIDTH) & (channel < channels)
    base = x + picture.to(tl.int64) * pixels * channels + channel
    first = split * per_split
    count = tl.minimum(per_split, pixels - first)
    # sums of what is left after the slice's first pixel: large means would cancel in the squares
    shift = tl.load(base + first.to(tl.int64) * channels, valid, other=0).to(tl.float32)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    squares = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for offset in range(0, per_split, BLOCK_P):
        row = offset + tl.arange(0, BLOCK_P)
        inside = (row < count)[:, None] & valid[None, :]
        at = base[None, :] + (first + row).to(tl.int64)[:, None] * channels
        value = tl.load(at, inside, other=0).to(tl.float32)
        value = tl.where(inside, value - shift[None, :], 0.0)
        total += value
        squares += value * value
    size = count.to(tl.float32)
    part = tl.sum(total, 0) / size
    deviation = tl.maximum(tl.sum(squares, 0) - part * part * size, 0.0)
    mean = shift + part
    group = tl.arange(0, BLOCK_G)
    member = ((lane // WIDTH)[:, None] == group[None, :]) & valid[:, None]
    group_mean = tl.sum(tl.where(member, mean[:, None], 0.0), 0) / WIDTH
    off = mean - tl.sum(tl.where(member, group_mean[None, :], 0.0), 1)
    group_deviation = tl.sum(tl.where(member, (deviation + size * off * off)[:, None], 0.0), 0)
    target = block * GROUPS + group
    keep = (group < GROUPS) & (target < groups)
    out = partials + (picture * tl.num_programs(0) + split) * 2 * groups + target
    tl.store(out, group_mean, keep)
    tl.store(out + groups, group_deviation, keep)


@jit
def apply_kernel(
    x,
    out,
    partials,
    weight,
    bias,
    pixels,
    channels,
    groups,
    eps,
    per_split,
    SPLITS: tl.constexpr,
    WIDTH: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_G: tl.constexpr,
    SILU: tl.constexpr,
):
    """One program: the statistics of GROUPS groups from all slices, then per_split pixels normalised."""
    split, block, picture = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    slices = tl.arange(0, SPLITS)
    group = tl.arange(0, BLOCK_G)
    target = block * GROUPS + group
    known = (slices < tl.num_programs(0))[:, None] & ((group < GROUPS) & (target < groups))[None, :]
    of = partials + (picture * tl.num_programs(0) + slices)[:, None] * 2 * groups + target[None, :]
    means = tl.load(of, known, other=0)
    deviations = tl.load(of + groups, known, other=0)
    sizes = tl.maximum(tl.minimum(per_split, pixels - slices * per_split), 0).to(tl.float32)[:, None]
    mean = tl.sum(means * sizes, 0) / pixels
    off = tl.where(known, means - mean[None, :], 0.0)
    variance = tl.sum(deviations + sizes * WIDTH * off * off, 0) / (pixels * WIDTH)
    scale = 1.0 / tl.sqrt_rn(variance + eps)

    lane = tl.arange(0, BLOCK_C)
    channel = block * (GROUPS * WIDTH) + lane
    valid = (lane < GROUPS * WIDTH) & (channel < channels)
    member = ((lane // WIDTH)[:, None] == group[None, :]) & valid[:, None]
    center = tl.sum(tl.where(member, mean[None, :], 0.0), 1)
    gain = tl.sum(tl.where(member, scale[None, :], 0.0), 1)
    gain = gain * tl.load(weight + channel, valid, other=0).to(tl.float32)
    offset = tl.load(bias + channel, valid, other=0).to(tl.float32)
    start = picture.to(tl.int64) * pixels * channels + channel
    first = split * per_split
    for step in range(0, per_split, BLOCK_P):
        row = first + step + tl.arange(0, BLOCK_P)
        inside = ((row < first + per_split) & (row < pixels))[:, None] & valid[None, :]
        at = start[None, :] + row.to(tl.int64)[:, None] * channels
        centered = tl.load(x + at, inside, other=0).to(tl.float32)
        centered -= center[None, :]  # pyright: ignore[reportArgumentType]  # Triton, not Python
        y = centered * gain[None, :] + offset[None, :]
        if SILU:
            y = y * tl.sigmoid(y)
        tl.store(out + at, y, inside)


def lanes(width: int, groups: int) -> tuple[int, int]:
    """(groups of `width` channels per program, their lanes), chosen so that blocks are 16-byte aligned."""
    count = max(1, LANES // width)
    while count > 1 and (count * width) % 8:
        count -= 1
    if count * width < LANES // 2:  # for an odd number of channels, full lanes gain more than alignment
        count = max(1, LANES // width)
    count = min(count, groups)
    return count, power_of_two(count * width)


def empty(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def plan(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool
) -> tuple[list[Launch], Tensor]:
    """Return the two launches and the result that they fill."""
    x = x.contiguous(memory_format=torch.channels_last)
    out = empty(x)
    count, channels, height, width = x.shape
    pixels = height * width
    together, block_c = lanes(channels // groups, groups)
    block_p = TILE // block_c
    per_split = max(block_p, ceil_div(pixels, min(MAX_SPLITS, power_of_two(math.isqrt(pixels)))))
    splits = ceil_div(pixels, per_split)
    grid = (splits, ceil_div(groups, together), count)
    partials = torch.empty((count, splits, 2, groups), dtype=torch.float32, device=x.device)
    shared = {"WIDTH": channels // groups, "GROUPS": together, "BLOCK_P": block_p, "BLOCK_C": block_c}
    shared["BLOCK_G"] = power_of_two(together)
    # only two slice counts, so that most sizes of a model share compiled kernels
    applied = {**shared, "SPLITS": 64 if splits <= 64 else MAX_SPLITS, "SILU": silu}
    weights = weight.contiguous(), bias.contiguous()
    return [
        Launch(partials_kernel, grid, (x, partials, pixels, channels, groups, per_split), shared),
        Launch(
            apply_kernel,
            grid,
            (x, out, partials, *weights, pixels, channels, groups, eps, per_split),
            applied,
        ),
    ], out


OP = register(
    "group_norm_silu(Tensor x, int groups, Tensor weight, Tensor bias, float eps, bool silu) -> Tensor",
    plan,
    lambda x, groups, weight, bias, eps, silu: empty(x),
)
