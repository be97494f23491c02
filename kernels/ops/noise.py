"""Counter-based Gaussian noise anchored to the canvas: a function of (seed, position, channel) only.

Philox4x32-10 has the seed as key and the counter (x, y, channel // 4, 0); Box-Muller converts its four words
to the normal values of four channels. Therefore a crop equals the crop of the whole, and all canvases and
devices have the same noise at the same position.
"""

from __future__ import annotations

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, register, tl

MAX_POSITION = 1 << 20
BLOCK = 512


def anchor(seed: int, *, x0: int = 0, y0: int = 0, device: torch.device | str = "cpu") -> Tensor:
    """Tensor (3,) int64 of (seed, x0, y0), the kernels' input, so that a captured graph can update it.

    seed: any integer, taken modulo 2^64. Raises ValueError for a position outside 0..2^20.
    """
    if not (0 <= x0 <= MAX_POSITION and 0 <= y0 <= MAX_POSITION):
        raise ValueError(f"noise is anchored at canvas positions 0..{MAX_POSITION}, not at {x0},{y0}")
    seed &= (1 << 64) - 1
    return torch.tensor([seed - (1 << 64) if seed >> 63 else seed, x0, y0], dtype=torch.int64, device=device)


def normal(
    seed: int,
    *,
    height: int,
    width: int,
    channels: int = 3,
    y0: int = 0,
    x0: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal values (channels, height, width) at canvas rows y0.. and columns x0.., in pixels.

    seed: any integer, taken modulo 2^64. Raises ValueError for positions outside 0..2^20.
    """
    if max(x0 + width, y0 + height) > MAX_POSITION:
        raise ValueError(
            f"noise ends at canvas position {MAX_POSITION}: {x0},{y0} +{width}x{height} is past it"
        )
    out = torch.empty((channels, height, width), dtype=dtype, device=device)
    return normal_(out, anchor(seed, x0=x0, y0=y0, device=device))


def normal_(out: Tensor, anchor: Tensor) -> Tensor:
    """Fill `out`, (channels, height, width) of any strides, with the noise of `anchor`; returns it."""
    if kernels.active(out) == "reference":
        return reference.normal_(out, anchor)
    OP(out, anchor)
    return out


def cost(shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: (channels, height, width). Integer operations count as FLOPs."""
    channels, height, width = shape
    rounds = ceil_div(channels, 4) * height * width
    return rounds * (reference.PHILOX_ROUNDS * 10 + 80), channels * height * width * dtype.itemsize


@jit
def philox(seed, x, y, block):
    """The four words (uint32) of the counter (x, y, block, 0) under a 64-bit key; see reference.philox."""
    k0 = seed.to(tl.uint32, bitcast=False)
    k1 = (seed >> 32).to(tl.uint32, bitcast=False)
    c0 = x.to(tl.uint32)
    c1 = y.to(tl.uint32)
    c2 = tl.zeros_like(c0) + block.to(tl.uint32)
    c3 = tl.zeros_like(c0)
    for _ in tl.static_range(10):  # pyright: ignore[reportGeneralTypeIssues]  # Triton, not Python
        high0 = tl.umulhi(c0, 0xD2511F53)
        high1 = tl.umulhi(c2, 0xCD9E8D57)
        low0 = c0 * 0xD2511F53
        low1 = c2 * 0xCD9E8D57
        c0 = high1 ^ c1 ^ k0
        c2 = high0 ^ c3 ^ k1
        c1 = low1
        c3 = low0
        k0 = k0 + 0x9E3779B9
        k1 = k1 + 0xBB67AE85
    return c0, c1, c2, c3


@jit
def box_muller(first, second):
    """Two words -> two normal values in float32.

    The angle is cut into the nearest quarter turn and a rest within an eighth, where short series reach the
    last bit of float32 (minimax coefficients as in Cephes sinf and cosf); the library's cosine keeps a slow
    path for huge angles, which costs registers.
    """
    radius = tl.sqrt_rn(-2.0 * tl.log(((first >> 8) + 1).to(tl.float32) * 5.9604644775390625e-08))
    turn = second >> 8
    quarter = (turn + 0x200000) >> 22
    rest = (turn.to(tl.int32) - (quarter << 22).to(tl.int32)).to(tl.float32) * 3.7450702e-07
    square = rest * rest
    sine = rest + rest * square * (-1.6666654611e-1 + square * (8.3321608736e-3 - square * 1.9515295891e-4))
    series = 4.166664568298827e-2 + square * (-1.388731625493765e-3 + square * 2.443315711809948e-5)
    cosine = 1.0 - 0.5 * square + square * square * series
    swapped = (quarter & 1) != 0
    x = tl.where(swapped, -sine, cosine)
    y = tl.where(swapped, cosine, sine)
    sign = tl.where((quarter & 2) != 0, -radius, radius)
    return sign * x, sign * y


@jit
def normal_kernel(
    out, anchor, channels, height, width, channel_stride, row_stride, column_stride, BLOCK: tl.constexpr
):
    """One program: BLOCK positions of four channels."""
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    block = tl.program_id(1)
    column, row = position % width, position // width
    seed, x0, y0 = tl.load(anchor), tl.load(anchor + 1), tl.load(anchor + 2)
    w0, w1, w2, w3 = philox(seed, column + x0, row + y0, block)
    n0, n1 = box_muller(w0, w1)
    n2, n3 = box_muller(w2, w3)
    start = out + row.to(tl.int64) * row_stride + column * column_stride + 4 * block * channel_stride
    inside, left = height * width, channels - 4 * block
    tl.store(start, n0, position < inside)
    tl.store(start + channel_stride, n1, position < tl.where(left > 1, inside, 0))
    tl.store(start + 2 * channel_stride, n2, position < tl.where(left > 2, inside, 0))
    tl.store(start + 3 * channel_stride, n3, position < tl.where(left > 3, inside, 0))


def plan(out: Tensor, anchor: Tensor) -> tuple[list[Launch], Tensor]:
    """Return the launches that fill `out`, and `out`."""
    channels, height, width = out.shape
    grid = (ceil_div(height * width, BLOCK), ceil_div(channels, 4))
    args = (out, anchor, channels, height, width, *out.stride())
    return [Launch(normal_kernel, grid, args, {"BLOCK": BLOCK})], out


OP = register("normal_(Tensor(a!) out, Tensor anchor) -> ()", plan, lambda out, anchor: None)
