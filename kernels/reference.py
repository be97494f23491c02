"""Reference implementation of every op in plain torch, used on CPUs and to check the kernels.

Half-precision inputs are computed in float32 and the result is rounded once; float64 stays float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

WORD = 0xFFFFFFFF
PHILOX_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
PHILOX_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
PHILOX_ROUNDS = 10
CACHED_POSITIONS = 1 << 14  # block size of Philox: its words stay in the cache and in one thread
CACHED_PIXELS = 1 << 15  # pixels per band of the paper's planes
BAND_POSITIONS = 1 << 18  # block size of Box-Muller: few parallel regions, each long enough to pay off


def philox(seed: int, counter: Sequence[Tensor]) -> list[Tensor]:
    """Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    seed: the 64-bit key. counter: four int64 tensors of 32-bit words, broadcastable. Returns four such.
    """
    key = [seed & WORD, (seed >> 32) & WORD]
    c0, c1, c2, c3 = counter
    for _ in range(PHILOX_ROUNDS):
        p0, p1 = c0 * PHILOX_MULTIPLIERS[0], c2 * PHILOX_MULTIPLIERS[1]
        # mask the high word of the product, since int64 wraps; c1 and c3 stay unmasked until that point
        c0, c1 = (p1 >> 32).bitwise_xor(c1 ^ key[0]).bitwise_and_(WORD), p1
        c2, c3 = (p0 >> 32).bitwise_xor(c3 ^ key[1]).bitwise_and_(WORD), p0
        key = [(word + step) & WORD for word, step in zip(key, PHILOX_KEY_STEPS, strict=True)]
    return list(torch.broadcast_tensors(c0, c1 & WORD, c2, c3 & WORD))


def box_muller(bits: Tensor) -> list[Tensor]:
    """Convert (4, ...) words to four standard normal values in float64 (Box and Muller 1958).

    Uses 24 bits of each word: float32 holds them exactly, so kernels start from the same numbers.
    """
    bits = bits >> 8
    radius = (bits[::2] + 1).double().mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = bits[1::2].double().mul_(2 * math.pi * 2.0**-24)
    x, y = angle.cos().mul_(radius), angle.sin_().mul_(radius)
    return [x[0], y[0], x[1], y[1]]


def normal_(out: Tensor, anchor: Tensor) -> Tensor:
    """Fill (channels, height, width) with the noise of anchor = (seed, x0, y0), int64."""
    seed, x0, y0 = (int(value) for value in anchor)
    channels, height, width = out.shape
    x = torch.arange(x0, x0 + width, device=out.device)[None, :]
    band, rows = (max(1, count // max(1, width)) for count in (BAND_POSITIONS, CACHED_POSITIONS))
    for block in range((channels + 3) // 4):
        for top in range(0, height, band):
            bits = torch.empty((4, min(band, height - top), width), dtype=torch.int64, device=out.device)
            for chunk in range(0, bits.shape[1], rows):
                words = bits[:, chunk : chunk + rows]
                y = torch.arange(y0 + top + chunk, y0 + top + chunk + words.shape[1], device=out.device)
                counter = (x, y[:, None], torch.full_like(x, block), torch.zeros_like(x))
                for plane, word in zip(words, philox(seed, counter), strict=True):
                    plane.copy_(word)
            for lane, value in enumerate(box_muller(bits)[: channels - 4 * block]):
                out[4 * block + lane, top : top + bits.shape[1]] = value
    return out


def wide(x: Tensor) -> Tensor:
    """Convert to float32, unless the tensor is float64."""
    return x if x.dtype == torch.float64 or (_narrow and x.is_floating_point()) else x.float()


@contextmanager
def narrow() -> Iterator[None]:
    """Context without widening to float32: the ops as in eager models, as a baseline for timings."""
    global _narrow
    _narrow = True
    try:
        yield
    finally:
        _narrow = False


_narrow = False


def paper_in(
    paper: Tensor,
    strength: float | Tensor,
    noise: Tensor,
    dtype: torch.dtype,
    memory_format: torch.memory_format = torch.channels_last,
) -> tuple[Tensor, Tensor, Tensor]:
    """Convert a paper (H, W, 4) uint8 and noise (1, 3, H, W) to start, sketch and alpha.

    See kernels.ops.paper.paper_in.
    """
    work = torch.float64 if dtype == torch.float64 else torch.float32
    height, width = paper.shape[:2]
    planes = torch.empty((1, 4, height, width), dtype=work, device=paper.device)
    start = torch.empty((1, 3, height, width), dtype=work, device=paper.device)
    keep = 1 - strength  # share of an opaque stroke that is kept
    rows = max(1, CACHED_PIXELS // max(1, width))
    for top in range(0, height, rows):
        band, into = planes[:, :, top : top + rows], start[:, :, top : top + rows]
        band[0].copy_(paper[top : top + rows].permute(2, 0, 1))
        sketch, alpha = band[:, :3], band[:, 3:].mul_(1 / 255)
        sketch.mul_(1 / 127.5).sub_(1).mul_(alpha)
        into.copy_(noise[:, :, top : top + rows]).mul_((alpha * keep).neg_().add_(1))
        if isinstance(keep, Tensor):
            into.addcmul_(sketch, keep.to(work))
        else:
            into.add_(sketch, alpha=keep)
    layout = {"dtype": dtype, "memory_format": memory_format}
    return start.to(**layout), planes[:, :3].to(**layout), planes[:, 3:].to(**layout)


def picture_out(picture: Tensor) -> Tensor:
    """Convert (1, 3, H, W) in [-1, 1] to (H, W, 3) uint8; halves round up, values outside are clamped."""
    x = wide(picture[0])
    levels = torch.add(x.new_full((), 128.0), x, alpha=127.5)
    return levels.clamp_(0, 255).byte().permute(1, 2, 0).contiguous()


def group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-5, silu: bool = True
) -> Tensor:
    y = F.group_norm(wide(x), groups, wide(weight), wide(bias), eps)
    return (F.silu(y) if silu else y).to(x.dtype)


def glu(x: Tensor, activation: str, gate_first: bool = False) -> Tensor:
    value, gate = wide(x).chunk(2, dim=-1)
    if gate_first:
        value, gate = gate, value
    return (value * ACTIVATIONS[activation](gate)).to(x.dtype)


def linear_glu(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, gate_first: bool = False
) -> Tensor:
    y = F.linear(wide(x), wide(weight), None if bias is None else wide(bias))
    return glu(y, activation, gate_first).to(x.dtype)


@contextmanager
def exact_convolution() -> Iterator[None]:
    """Context with full-precision float32 convolutions: by default cuDNN rounds inputs to TF32, 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor | None = None,
    activation: str = "none",
    stride: int = 1,
) -> Tensor:
    with exact_convolution():
        y = F.conv2d(wide(x), wide(weight), None if bias is None else wide(bias), stride, padding=1)
    if skip is not None:
        y = y + wide(skip)
    y = ACTIVATIONS[activation](y).to(x.dtype)
    return y.contiguous(memory_format=torch.channels_last)


def gate_norm_modulate(
    x: Tensor, y: Tensor, gate: Tensor, scale: Tensor, shift: Tensor | None, norm: str, eps: float
) -> tuple[Tensor, Tensor]:
    """Gated sum, norm and modulation; see kernels.ops.modulate.gate_norm_modulate.

    x, y (B, T, D); gate, scale, shift (B, D). The norm is computed from the sum before rounding.
    """
    total = wide(x) + wide(gate)[:, None] * wide(y)
    return total.to(x.dtype), norm_modulate(total, scale, shift, norm, eps).to(x.dtype)


def norm_modulate(x: Tensor, scale: Tensor, shift: Tensor | None, norm: str, eps: float) -> Tensor:
    """Norm and modulation of x (B, T, D) by scale, shift (B, D)."""
    h, size = wide(x), x.shape[-1:]
    h = F.layer_norm(h, size, eps=eps) if norm == "layer" else F.rms_norm(h, size, eps=eps)
    h = h * (1 + wide(scale)[:, None])
    return (h if shift is None else h + wide(shift)[:, None]).to(x.dtype)


def norm_rotary(
    qkv: Tensor, weight: Tensor, cos: Tensor | None, sin: Tensor | None, eps: float, interleaved: bool
) -> tuple[Tensor, Tensor]:
    """RMSNorm per head and rotary embedding; returns query and key (B, T, H, D).

    qkv (B, T, 3, H, D); weight (2, D); cos, sin (T, D / 2) or None.
    """
    x = wide(qkv[:, :, :2])
    x = F.rms_norm(x, x.shape[-1:], eps=eps) * wide(weight)[:, None]
    if cos is None or sin is None:
        query, key = x.to(qkv.dtype).unbind(2)
        return query.contiguous(), key.contiguous()
    first, second = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, dim=-1)
    cos, sin = cos[:, None, None].to(x.dtype), sin[:, None, None].to(x.dtype)
    turned = first * cos - second * sin, first * sin + second * cos
    out = torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)
    query, key = out.to(qkv.dtype).unbind(2)
    return query.contiguous(), key.contiguous()


def add_layer_norm(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    total = wide(x) + wide(residual)
    h = F.layer_norm(total, total.shape[-1:], wide(weight), wide(bias), eps)
    return total.to(x.dtype), h.to(x.dtype)


ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "silu": F.silu, "gelu": F.gelu}
