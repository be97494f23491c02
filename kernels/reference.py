"""Every op in plain torch: the truth that the kernels are held to, and what runs on a CPU.

Half precision is widened to float32 on the way in and rounded once on the way out; float64 stays float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
PHILOX_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
PHILOX_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
PHILOX_ROUNDS = 10
CACHED_POSITIONS = 1 << 14  # Philox works on so many at once: its words stay in the cache, and in one thread
BAND_POSITIONS = 1 << 18  # Box-Muller works on so many: few parallel regions, each long enough to pay


def philox(seed: int, counter: Sequence[Tensor]) -> list[Tensor]:
    """Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    seed: the 64-bit key. counter: four int64 tensors of 32-bit words, broadcastable. Returns four such tensors.
    """
    key = [seed & WORD, (seed >> 32) & WORD]
    c0, c1, c2, c3 = counter
    for _ in range(PHILOX_ROUNDS):
        p0, p1 = c0 * PHILOX_MULTIPLIERS[0], c2 * PHILOX_MULTIPLIERS[1]
        # the high word of a product is masked, for int64 wraps; c1 and c3 stay unmasked until they get there
        c0, c1 = (p1 >> 32).bitwise_xor(c1 ^ key[0]).bitwise_and_(WORD), p1
        c2, c3 = (p0 >> 32).bitwise_xor(c3 ^ key[1]).bitwise_and_(WORD), p0
        key = [(word + step) & WORD for word, step in zip(key, PHILOX_KEY_STEPS, strict=True)]
    return list(torch.broadcast_tensors(c0, c1 & WORD, c2, c3 & WORD))


def box_muller(bits: Tensor) -> list[Tensor]:
    """(4, ...) words -> four standard normal values in float64 (Box and Muller 1958), from 24 bits of each word.

    24 bits, because float32 holds them exactly: a kernel and this function then start from the same numbers.
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
