"""Input generators of the ops, for tests, benchmarks and shape-only runs.

Each function takes (make, shape, dtype, **options) and returns the positional arguments of the op, its plan
and its reference; shape is that of the op's cost function.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kernels import reference
from kernels.ops import noise, paper

Make = Callable[..., Tensor]


def maker(device: str = "cpu", seed: int = 0) -> Make:
    """Return a function (*shape, dtype, scale, mean) -> normal values, or random bytes if dtype is uint8."""
    generator = None if device == "meta" else torch.Generator(device).manual_seed(seed)

    def make(
        *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0, mean: float = 0.0
    ) -> Tensor:
        if device == "meta":
            return torch.empty(shape, dtype=dtype, device=device)
        if dtype == torch.uint8:
            return torch.randint(0, 256, shape, dtype=dtype, device=device, generator=generator)
        return (torch.randn(shape, device=device, generator=generator) * scale + mean).to(dtype)

    return make


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def noise_inputs(
    make: Make, shape: tuple, dtype: torch.dtype, seed: int = 7, x0: int = 0, y0: int = 0
) -> tuple:
    out = make(*shape, dtype=dtype)
    return out, noise.anchor(seed, x0=x0, y0=y0, device=out.device)


def paper_inputs(
    make: Make, shape: tuple, dtype: torch.dtype, given: bool = False, planar: bool = False
) -> tuple:
    sheet = make(*shape, 4, dtype=torch.uint8)
    if given:
        return sheet, 0.0, make(1).fill_(0.6), make(1, 3, *shape), None, dtype, planar
    return sheet, 0.6, None, None, noise.anchor(5, x0=3, device=sheet.device), dtype, planar


def picture_inputs(make: Make, shape: tuple, dtype: torch.dtype, planar: bool = False) -> tuple:
    x = make(1, 3, *shape, dtype=dtype, scale=0.7)
    return (x if planar else last(x),)


def groupnorm_inputs(
    make: Make, shape: tuple, dtype: torch.dtype, groups: int = 32, silu: bool = True
) -> tuple:
    weights = make(shape[1], dtype=dtype, scale=0.2, mean=1), make(shape[1], dtype=dtype, scale=0.2)
    return last(make(*shape, dtype=dtype, mean=0.5)), groups, *weights, 1e-5, silu


def glu_inputs(
    make: Make, shape: tuple, dtype: torch.dtype, activation: str = "gelu", gate_first: bool = False
) -> tuple:
    return make(*shape, dtype=dtype), activation, gate_first


def linear_glu_inputs(
    make: Make,
    shape: tuple,
    dtype: torch.dtype,
    activation: str = "gelu",
    gate_first: bool = False,
    biased: bool = True,
) -> tuple:
    rows, inner, width = shape
    weight = make(2 * width, inner, dtype=dtype, scale=inner**-0.5)
    bias = make(2 * width, dtype=dtype, scale=0.2) if biased else None
    return make(rows, inner, dtype=dtype), weight, bias, activation, gate_first


def conv_inputs(
    make: Make,
    shape: tuple,
    dtype: torch.dtype,
    skipped: bool = True,
    activation: str = "relu",
    stride: int = 1,
) -> tuple:
    count, inputs, height, width, outputs = shape
    weight = last(make(outputs, inputs, 3, 3, dtype=dtype, scale=(9 * inputs) ** -0.5))
    bias = make(outputs, dtype=dtype, scale=0.2)
    skip = None
    if skipped:
        skip = last(make(count, outputs, -(-height // stride), -(-width // stride), dtype=dtype))
    return last(make(count, inputs, height, width, dtype=dtype)), weight, bias, skip, activation, stride


def modulate_inputs(
    make: Make,
    shape: tuple,
    dtype: torch.dtype,
    norm: str = "layer",
    shifted: bool = True,
    wide: bool = False,
) -> tuple:
    gate, scale, shift = make(shape[0], 3 * shape[2], dtype=dtype, scale=0.5).chunk(3, dim=1)
    scale = make(shape[0], shape[2], scale=0.5) if wide else scale  # a norm's gain stays float32
    return *(make(*shape, dtype=dtype) for _ in "xy"), gate, scale, shift if shifted else None, norm, 1e-6


def norm_modulate_inputs(make: Make, shape: tuple, dtype: torch.dtype, **options) -> tuple:
    x, _, _, *rest = modulate_inputs(make, shape, dtype, **options)
    return x, *rest


def rotary_inputs(
    make: Make, shape: tuple, dtype: torch.dtype, interleaved: bool = True, turned: bool = True
) -> tuple:
    batch, tokens, heads, width = shape
    packed = make(batch, tokens, 3 * heads * width + 64, dtype=dtype)  # a product with more columns than QKV
    qkv = packed[:, :, : 3 * heads * width].unflatten(2, (3, heads, width))
    angles = make(tokens, width // 2)
    tables = (angles.cos(), angles.sin()) if turned else (None, None)
    return qkv, make(2, width, dtype=dtype, scale=0.2, mean=1), *tables, 1e-6, interleaved


def layernorm_inputs(make: Make, shape: tuple, dtype: torch.dtype) -> tuple:
    weights = make(shape[-1], dtype=dtype, scale=0.2, mean=1), make(shape[-1], dtype=dtype, scale=0.2)
    return make(*shape, dtype=dtype), make(*shape, dtype=dtype), *weights, 1e-5


def paper_reference(sheet, value, strength, values, anchor, dtype, planar) -> tuple:
    if values is None:
        values = reference.normal_(torch.empty((3, *sheet.shape[:2]), device=sheet.device), anchor)[None]
    layout = torch.contiguous_format if planar else torch.channels_last
    return reference.paper_in(sheet, value if strength is None else strength, values, dtype, layout)


def paper_entry(sheet, value, strength, values, anchor, dtype, planar) -> tuple:
    layout = torch.contiguous_format if planar else torch.channels_last
    strength = value if strength is None else strength
    return paper.paper_in(sheet, strength, noise=values, anchor=anchor, dtype=dtype, memory_format=layout)
