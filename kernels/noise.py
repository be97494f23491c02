"""Counter-based noise anchored to the canvas: a function of (seed, position, channel) and of nothing else.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") with the seed as key and the
counter (x, y, channel // 4, 0); Box-Muller turns its four words into the four normals of four channels. So any
crop equals the crop of the whole, and two canvases, or two devices, have the same noise at the same place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORD = 0xFFFFFFFF
MAX_POSITION = 1 << 20
ROWS_AT_ONCE = 64  # keeps the intermediate words in the cache


def words(seed: int, x: Tensor, y: Tensor, block: int) -> list[Tensor]:
    """The four 32-bit words at positions x, y (int64, broadcastable), as int64 in 0..2^32-1."""
    key = [seed & WORD, (seed >> 32) & WORD]
    x, y = torch.broadcast_tensors(x, y)
    counter = [x, y, torch.full_like(x, block), torch.zeros_like(x)]
    for _ in range(ROUNDS):
        high0, low0 = multiply(counter[0], MULTIPLIERS[0])
        high1, low1 = multiply(counter[2], MULTIPLIERS[1])
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + WEYL[0]) & WORD, (key[1] + WEYL[1]) & WORD]
    return counter


def multiply(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low words of a 32x32-bit product; the product's int64 wraps, so its high half is masked."""
    product = a * b
    return (product >> 32) & WORD, product & WORD


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
    """(channels, height, width) standard normal values at canvas rows y0.. and columns x0...

    seed: any integer, taken modulo 2^64. Raises ValueError for positions outside 0..2^20.
    """
    if min(x0, y0) < 0 or max(x0 + width, y0 + height) > MAX_POSITION:
        raise ValueError(f"noise is anchored at positions 0..{MAX_POSITION}, not {x0},{y0} +{width}x{height}")
    out = torch.empty((channels, height, width), dtype=dtype, device=device)
    x = torch.arange(x0, x0 + width, device=device)[None, :]
    for top in range(0, height, ROWS_AT_ONCE):
        bottom = min(height, top + ROWS_AT_ONCE)
        y = torch.arange(y0 + top, y0 + bottom, device=device)[:, None]
        for block in range((channels + 3) // 4):
            values = box_muller(words(seed, x, y, block))
            for lane, value in enumerate(values[: channels - 4 * block]):
                out[4 * block + lane, top:bottom] = value
    return out


def box_muller(bits: list[Tensor]) -> list[Tensor]:
    """Four words -> four normal values in float32 (Box and Muller 1958)."""
    scale = 2.0**-32
    out = []
    for first, second in (bits[:2], bits[2:]):
        radius = torch.sqrt(-2 * torch.log((first.double() + 0.5) * scale))
        angle = (second.double() + 0.5) * (2 * math.pi * scale)
        out += [(radius * torch.cos(angle)).float(), (radius * torch.sin(angle)).float()]
    return out
