"""Ground truth of every op in float64, computed by definition; shares no code with the reference.

Each function takes the op's positional arguments, tensors of any dtype on any device, and returns its results
as float64 arrays, or bytes as uint8. The code favours clarity over speed.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def array(x: Tensor) -> np.ndarray:
    """Convert a tensor of any strides to a float64 array; integers keep their dtype."""
    x = x.detach().cpu()
    return (x.double() if x.is_floating_point() else x).numpy()


def normal(out: Tensor, anchor: Tensor) -> tuple[np.ndarray]:
    """Anchored noise: Philox4x32-10 at (x, y, channel // 4, 0), two pairs of values from each four words."""
    channels, height, width = out.shape
    seed, x0, y0 = anchor.tolist()
    low = np.uint64(0xFFFFFFFF)
    planes = []
    for block in range(-(-channels // 4)):
        y, x = np.mgrid[y0 : y0 + height, x0 : x0 + width].astype(np.uint64)
        words = [x, y, np.full_like(x, block), np.zeros_like(x)]
        first, second = (seed % 2**64) % 2**32, (seed % 2**64) >> 32
        for _ in range(10):
            a, b = words[0] * np.uint64(0xD2511F53), words[2] * np.uint64(0xCD9E8D57)
            words = [
                (b >> np.uint64(32)) ^ words[1] ^ np.uint64(first),
                b & low,
                (a >> np.uint64(32)) ^ words[3] ^ np.uint64(second),
                a & low,
            ]
            first, second = (first + 0x9E3779B9) % 2**32, (second + 0xBB67AE85) % 2**32
        uniform = [(word >> np.uint64(8)).astype(np.float64) for word in words]
        for radial, angular in (uniform[:2], uniform[2:]):
            radius = np.sqrt(-2 * np.log((radial + 1) / 2**24))
            turn = 2 * np.pi * angular / 2**24
            planes += [radius * np.cos(turn), radius * np.sin(turn)]
    return (np.stack(planes[:channels]),)


def paper_in(sheet, value, strength, values, anchor, dtype, planar) -> tuple[np.ndarray, ...]:
    pixels = array(sheet).astype(np.float64).transpose(2, 0, 1)[None]
    alpha = pixels[:, 3:] / 255
    sketch = alpha * (2 * pixels[:, :3] / 255 - 1)
    keep = 1 - (value if strength is None else array(strength).item())
    if values is None:
        values = normal(sheet.new_empty((3, *sheet.shape[:2])), anchor)[0][None]
    else:
        values = array(values)
    return keep * sketch + (1 - keep * alpha) * values, sketch, alpha


def picture_out(picture) -> tuple[np.ndarray]:
    levels = np.floor(255 * (array(picture)[0] + 1) / 2 + 0.5)
    return (np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0),)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + torch.special.erf(torch.from_numpy(x / math.sqrt(2))).numpy()) / 2


ACTIVATIONS = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * sigmoid(x),
    "gelu": gelu,
}


def group_norm_silu(x, groups, weight, bias, eps, silu) -> tuple[np.ndarray]:
    x, weight, bias = (array(t) for t in (x, weight, bias))
    parts = x.reshape(len(x), groups, -1)
    parts = parts - parts.mean(-1, keepdims=True)
    parts = parts / np.sqrt((parts**2).mean(-1, keepdims=True) + eps)
    y = parts.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]
    return (ACTIVATIONS["silu" if silu else "none"](y),)


def halves(x: np.ndarray, activation: str, gate_first: bool) -> np.ndarray:
    middle = x.shape[-1] // 2
    value, gate = x[..., :middle], x[..., middle:]
    if gate_first:
        value, gate = gate, value
    return value * ACTIVATIONS[activation](gate)


def glu(x, activation, gate_first) -> tuple[np.ndarray]:
    return (halves(array(x), activation, gate_first),)


def linear_glu(x, weight, bias, activation, gate_first) -> tuple[np.ndarray]:
    product = array(x) @ array(weight).T
    return (halves(product if bias is None else product + array(bias), activation, gate_first),)


def conv3x3(x, weight, bias, skip, activation, stride) -> tuple[np.ndarray]:
    x, weight = array(x), array(weight)
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).transpose(0, 2, 3, 1)  # (N, H + 2, W + 2, C)
    total = np.zeros(())
    for row in range(3):
        for column in range(3):
            seen = padded[:, row : row + height : stride, column : column + width : stride]
            total = total + seen @ weight[:, :, row, column].T
    total = total.transpose(0, 3, 1, 2)
    if bias is not None:
        total = total + array(bias)[:, None, None]
    if skip is not None:
        total = total + array(skip)
    return (ACTIVATIONS[activation](total),)


def norm_modulate(x, scale, shift, norm, eps) -> tuple[np.ndarray]:
    x = x if isinstance(x, np.ndarray) else array(x)
    if norm == "layer":
        x = x - x.mean(-1, keepdims=True)
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * (1 + array(scale))[:, None]
    return (y if shift is None else y + array(shift)[:, None],)


def gate_norm_modulate(x, y, gate, scale, shift, norm, eps) -> tuple[np.ndarray, np.ndarray]:
    total = array(x) + array(gate)[:, None] * array(y)
    return total, *norm_modulate(total, scale, shift, norm, eps)


def norm_rotary(qkv, weight, cos, sin, eps, interleaved) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for part in range(2):
        x = array(qkv)[:, :, part]
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * array(weight)[part]
        if cos is not None:
            middle = x.shape[-1] // 2
            real = slice(0, None, 2) if interleaved else slice(0, middle)
            imaginary = slice(1, None, 2) if interleaved else slice(middle, None)
            turned = (x[..., real] + 1j * x[..., imaginary]) * (array(cos) + 1j * array(sin))[:, None]
            x = np.empty_like(x)
            x[..., real], x[..., imaginary] = turned.real, turned.imag
        found.append(x)
    return found[0], found[1]


def add_layer_norm(x, residual, weight, bias, eps) -> tuple[np.ndarray, np.ndarray]:
    total = array(x) + array(residual)
    centred = total - total.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return total, centred / deviation * array(weight) + array(bias)
