"""Fused 3x3 convolution + bias + skip + activation, channels-last, for tiny autoencoders and the painter."""

from __future__ import annotations

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, power_of_two, register, tl

ACTIVATIONS = ("none", "relu", "silu")
BLOCK_M, BLOCK_N = 128, 64


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    skip: Tensor | None = None,
    activation: str = "none",
    stride: int = 1,
) -> Tensor:
    """Compute activation(conv(x) + bias + skip) for a 3x3 convolution with zero padding of 1.

    x: (N, C, H, W), best channels-last; weight: (O, C, 3, 3), best channels-last; bias: (O,); skip: the
    shape of the result, (N, O, ceil(H / stride), ceil(W / stride)), which is channels-last. activation:
    none, relu or silu. Raises ValueError for another activation, a stride other than 1 and 2, or a kernel
    size other than 3x3.
    """
    if activation not in ACTIVATIONS or stride not in (1, 2) or weight.shape[2:] != (3, 3):
        raise ValueError(
            f"conv3x3 takes a 3x3 window, stride 1 or 2 and one of {', '.join(ACTIVATIONS)}, "
            f"not {tuple(weight.shape[2:])}, {stride}, {activation!r}"
        )
    chosen = reference.conv3x3 if kernels.active(x, weight, bias, skip) == "reference" else OP
    return chosen(x, weight, bias, skip, activation, stride)


def cost(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, *, skipped: bool = True, stride: int = 1
) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: (N, C, H, W, O)."""
    count, inputs, height, width, outputs = shape
    pixels = count * ceil_div(height, stride) * ceil_div(width, stride)
    values = count * height * width * inputs + pixels * outputs * (1 + skipped) + outputs * (9 * inputs + 1)
    return 18 * pixels * inputs * outputs + (2 + skipped) * pixels * outputs, values * dtype.itemsize


@jit
def conv_kernel(
    x,
    weight,
    bias,
    skip,
    out,
    pixels,
    height,
    width,
    out_height,
    out_width,
    outputs,
    INPUTS: tl.constexpr,
    STRIDE: tl.constexpr,
    BIASED: tl.constexpr,
    SKIPPED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One program: BLOCK_M pixels of BLOCK_N channels, as nine products, one for each place of the window."""
    pixel = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    channel = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    column = pixel % out_width
    row = (pixel // out_width) % out_height
    picture = pixel // (out_width * out_height)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    SLICES: tl.constexpr = (INPUTS + BLOCK_K - 1) // BLOCK_K
    for step in range(9 * SLICES):  # pyright: ignore[reportArgumentType]  # Triton, not Python
        place = step // SLICES
        start = (step % SLICES) * BLOCK_K  # pyright: ignore[reportOperatorIssue]  # Triton, not Python
        y = row * STRIDE + place // 3 - 1
        z = column * STRIDE + place % 3 - 1
        inside = (pixel < pixels) & (y >= 0) & (y < height) & (z >= 0) & (z < width)
        known = (start + k < INPUTS)[None, :]
        at = ((picture * height + y).to(tl.int64) * width + z) * INPUTS + start
        a = tl.load(x + at[:, None] + k[None, :], inside[:, None] & known, other=0)
        of = (channel * 9 + place) * INPUTS + start
        b = tl.load(weight + of[:, None] + k[None, :], (channel < outputs)[:, None] & known, other=0)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, tl.trans(b), total, input_precision="ieee")
    if BIASED:
        total += tl.load(bias + channel, channel < outputs, other=0).to(tl.float32)[None, :]
    target = pixel.to(tl.int64)[:, None] * outputs + channel[None, :]
    keep = (pixel < pixels)[:, None] & (channel < outputs)[None, :]
    if SKIPPED:
        total += tl.load(skip + target, keep, other=0).to(tl.float32)
    if ACTIVATION == "relu":
        total = tl.maximum(total, 0.0)
    if ACTIVATION == "silu":
        total = total * tl.sigmoid(total)
    tl.store(out + target, total, keep)


def empty(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    shape = (x.shape[0], weight.shape[0], ceil_div(x.shape[2], stride), ceil_div(x.shape[3], stride))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def plan(
    x: Tensor, weight: Tensor, bias: Tensor | None, skip: Tensor | None, activation: str, stride: int
) -> tuple[list[Launch], Tensor]:
    """Return the launch and the result that it fills."""
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    out = empty(x, weight, stride)
    if skip is not None:
        skip = skip.contiguous(memory_format=torch.channels_last)
    count, outputs, out_height, out_width = out.shape
    pixels, inputs = count * out_height * out_width, x.shape[1]
    full = x.dtype == torch.float32
    constants = {
        "INPUTS": inputs,
        "STRIDE": stride,
        "BIASED": bias is not None,
        "SKIPPED": skip is not None,
        "ACTIVATION": activation,
        "WIDEN": kernels.interpreted(),  # the interpreter lacks bfloat16 products
        "BLOCK_M": BLOCK_M // 2 if full else BLOCK_M,
        "BLOCK_N": min(BLOCK_N, max(16, power_of_two(outputs))),
        "BLOCK_K": min(32 if full else 64, max(16, power_of_two(inputs))),
    }
    sizes = (pixels, x.shape[2], x.shape[3], out_height, out_width, outputs)
    args = (x, weight, x if bias is None else bias, x if skip is None else skip, out, *sizes)
    grid = (ceil_div(outputs, constants["BLOCK_N"]), ceil_div(pixels, constants["BLOCK_M"]))
    return [Launch(conv_kernel, grid, args, constants, stages=3)], out


OP = register(
    "conv3x3(Tensor x, Tensor weight, Tensor? bias, Tensor? skip, str activation, int stride) -> Tensor",
    plan,
    lambda x, weight, bias, skip, activation, stride: empty(x, weight, stride),
)
