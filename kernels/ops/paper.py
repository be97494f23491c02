"""Convert the RGBA paper to the start of a flow and the input planes of the painter, in one pass.

Blank paper starts from pure noise; paint starts from its colour mixed with noise at the given strength.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, register, tl
from kernels.ops import noise as anchored

BLOCK = 512


class Start(NamedTuple):
    """Result of `paper_in`: start, sketch (1, 3, H, W), colour in [-1, 1] times alpha; alpha (1, 1, H, W)."""

    start: Tensor
    sketch: Tensor
    alpha: Tensor


def paper_in(
    paper: Tensor,
    strength: float | Tensor,
    *,
    noise: Tensor | None = None,
    anchor: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last,
) -> Start:
    """Convert a paper to the painter's input planes.

    start = sketch (1 - strength) + (1 - alpha (1 - strength)) noise. paper: (H, W, 4) uint8, straight alpha.
    strength: 0..1, a number, or a one-element tensor that a captured graph can update. noise: (1, 3, H, W) on
    the paper's device; or anchor: result of `noise.anchor`, from which the kernel generates the noise. Raises
    ValueError unless exactly one of the two is given.
    """
    if (noise is None) == (anchor is None):
        raise ValueError("paper_in takes either noise or an anchor to make it from")
    if kernels.active(paper) == "reference":
        if noise is None:
            assert anchor is not None
            empty = paper.new_empty((3, *paper.shape[:2]), dtype=torch.float32)
            noise = reference.normal_(empty, anchor)[None]
        return Start(*reference.paper_in(paper, strength, noise, dtype, memory_format))
    planar = memory_format == torch.contiguous_format
    if isinstance(strength, Tensor):
        return Start(*OP(paper, 0.0, strength, noise, anchor, dtype, planar))
    return Start(*OP(paper, strength, None, noise, anchor, dtype, planar))


def cost(shape: tuple[int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call with an anchor; shape: (H, W)."""
    pixels = shape[0] * shape[1]
    return anchored.cost((3, *shape), dtype)[0] + 20 * pixels, pixels * (4 + 7 * dtype.itemsize)


@jit
def paper_kernel(
    paper,
    value,
    strength,
    noise,
    anchor,
    start,
    sketch,
    alpha,
    pixels,
    width,
    noise_pixel,
    noise_channel,
    out_pixel,
    out_channel,
    ANCHORED: tl.constexpr,
    GIVEN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program: BLOCK pixels, each a little-endian word of four bytes."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < pixels
    word = tl.load(paper + i, inside, other=0)
    a = ((word >> 24) & 255).to(tl.float32) * (1 / 255)
    keep = 1.0 - (tl.load(strength).to(tl.float32) if GIVEN else value)
    share = 1.0 - a * keep
    if ANCHORED:
        column, row = i % width, i // width
        w0, w1, w2, w3 = anchored.philox(
            tl.load(anchor), column + tl.load(anchor + 1), row + tl.load(anchor + 2), tl.program_id(1)
        )
        n0, n1 = anchored.box_muller(w0, w1)
        n2, _ = anchored.box_muller(w2, w3)
    else:
        n0 = tl.load(noise + i * noise_pixel, inside, other=0).to(tl.float32)
        n1 = tl.load(noise + i * noise_pixel + noise_channel, inside, other=0).to(tl.float32)
        n2 = tl.load(noise + i * noise_pixel + 2 * noise_channel, inside, other=0).to(tl.float32)
    c0 = ((word & 255).to(tl.float32) * (1 / 127.5) - 1.0) * a
    c1 = (((word >> 8) & 255).to(tl.float32) * (1 / 127.5) - 1.0) * a
    c2 = (((word >> 16) & 255).to(tl.float32) * (1 / 127.5) - 1.0) * a
    at = i * out_pixel
    tl.store(alpha + i, a, inside)
    tl.store(sketch + at, c0, inside)
    tl.store(sketch + at + out_channel, c1, inside)
    tl.store(sketch + at + 2 * out_channel, c2, inside)
    tl.store(start + at, c0 * keep + share * n0, inside)
    tl.store(start + at + out_channel, c1 * keep + share * n1, inside)
    tl.store(start + at + 2 * out_channel, c2 * keep + share * n2, inside)


def empty(paper: Tensor, dtype: torch.dtype, planar: bool) -> tuple[Tensor, Tensor, Tensor]:
    height, width = paper.shape[:2]
    layout = torch.contiguous_format if planar else torch.channels_last
    start = torch.empty((1, 3, height, width), dtype=dtype, device=paper.device, memory_format=layout)
    return start, torch.empty_like(start), paper.new_empty((1, 1, height, width), dtype=dtype)


def plan(
    paper: Tensor,
    value: float,
    strength: Tensor | None,
    noise: Tensor | None,
    anchor: Tensor | None,
    dtype: torch.dtype,
    planar: bool,
) -> tuple[list[Launch], tuple[Tensor, Tensor, Tensor]]:
    """Return the launch and (start, sketch, alpha) that it fills."""
    start, sketch, alpha = empty(paper, dtype, planar)
    height, width = paper.shape[:2]
    words = paper.contiguous().view(torch.int32)
    if noise is not None and noise.stride(2) != width * noise.stride(3):
        noise = noise.contiguous()
    strides = (1, 1) if noise is None else (noise.stride(3), noise.stride(1))
    args = (
        words,
        value,
        *(words if t is None else t for t in (strength, noise, anchor)),
        start,
        sketch,
        alpha,
    )
    args += (height * width, width, *strides, start.stride(3), start.stride(1))
    constants = {"ANCHORED": anchor is not None, "GIVEN": strength is not None, "BLOCK": BLOCK}
    return [Launch(paper_kernel, (ceil_div(height * width, BLOCK), 1), args, constants)], (
        start,
        sketch,
        alpha,
    )


OP = register(
    "paper_in(Tensor paper, float value, Tensor? strength, Tensor? noise, Tensor? anchor, ScalarType dtype, "
    "bool planar) -> (Tensor, Tensor, Tensor)",
    plan,
    lambda paper, value, strength, noise, anchor, dtype, planar: empty(paper, dtype, planar),
)
