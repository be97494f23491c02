"""Fused per-head RMSNorm + rotary position embedding on the packed output of a QKV product."""

from __future__ import annotations

import torch
from torch import Tensor

import kernels
from kernels import reference
from kernels.dispatch import Launch, ceil_div, jit, power_of_two, register, tl

TILE = 4096  # values per program


def norm_rotary(
    qkv: Tensor,
    weight: Tensor,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
    *,
    eps: float = 1e-6,
    interleaved: bool = True,
) -> tuple[Tensor, Tensor]:
    """Query and key (B, T, H, D) after per-head RMSNorm and rotary position embedding.

    See Zhang and Sennrich 2019; Su et al. 2021. qkv: (B, T, 3, H, D), last stride 1, any other strides; the
    value, its third part, is not changed. weight: (2, D), the norm's gains for query and key. cos, sin:
    (T, D / 2) of any strides, or None for no rotation. interleaved: pairs are neighbours (FLUX, Z-Image),
    else the same position of two halves. Raises ValueError for an odd D.
    """
    if qkv.shape[-1] % 2:
        raise ValueError(f"a head of {qkv.shape[-1]} values cannot be turned in pairs")
    chosen = reference.norm_rotary if kernels.active(qkv, weight) == "reference" else OP
    return chosen(qkv, weight, cos, sin, eps, interleaved)


def cost(shape: tuple[int, int, int, int], dtype: torch.dtype) -> tuple[int, int]:
    """(FLOPs, bytes) of one call; shape: (B, T, H, D). The tables are float32."""
    batch, tokens, heads, width = shape
    values = 2 * batch * tokens * heads * width
    return 8 * values, 2 * values * dtype.itemsize + 2 * width * dtype.itemsize + tokens * width * 4


@jit
def rotary_kernel(
    qkv,
    weight,
    cos,
    sin,
    query,
    key,
    rows,
    tokens,
    heads,
    width,
    batch_stride,
    token_stride,
    part_stride,
    head_stride,
    table_row,
    table_pair,
    eps,
    TURNED: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """One program: ROWS heads of query or key."""
    part = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = (row // heads) % tokens
    start = (row // (heads * tokens)).to(tl.int64) * batch_stride + token.to(tl.int64) * token_stride
    start += (row % heads) * head_stride + part * part_stride
    pair = tl.arange(0, HALF)
    half = width // 2
    known = (row < rows)[:, None] & (pair < half)[None, :]
    target = row.to(tl.int64)[:, None] * width
    if INTERLEAVED:
        i = tl.arange(0, 2 * HALF)
        inside = (row < rows)[:, None] & (i < width)[None, :]
        x = tl.load(qkv + start[:, None] + i[None, :], inside, other=0).to(tl.float32)
        x = x / tl.sqrt_rn(tl.sum(x * x, 1) / width + eps)[:, None]
        x *= tl.load(weight + part * width + i, i < width, other=0).to(tl.float32)[None, :]
        a, b = tl.split(tl.reshape(x, (ROWS, HALF, 2)))
    else:
        at = qkv + start[:, None] + pair[None, :]
        a = tl.load(at, known, other=0).to(tl.float32)
        b = tl.load(at + half, known, other=0).to(tl.float32)
        scale = 1.0 / tl.sqrt_rn((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / width + eps)[:, None]
        gain = weight + part * width + pair
        a *= scale * tl.load(gain, pair < half, other=0).to(tl.float32)[None, :]
        b *= scale * tl.load(gain + half, pair < half, other=0).to(tl.float32)[None, :]
    if TURNED:
        table = token[:, None] * table_row + pair[None, :] * table_pair
        c = tl.load(cos + table, known, other=0).to(tl.float32)
        s = tl.load(sin + table, known, other=0).to(tl.float32)
        turned, other = a * c - b * s, a * s + b * c
    else:
        turned, other = a, b
    out = query + target if part == 0 else key + target
    if INTERLEAVED:
        pairs = tl.reshape(tl.join(turned, other), (ROWS, 2 * HALF))
        # the same constexpr as above chooses this branch
        tl.store(out + i[None, :], pairs, inside)  # pyright: ignore[reportPossiblyUnboundVariable]
    else:
        tl.store(out + pair[None, :], turned, known)
        tl.store(out + half + pair[None, :], other, known)


def empty(qkv: Tensor) -> tuple[Tensor, Tensor]:
    batch, tokens, _, heads, width = qkv.shape
    return qkv.new_empty((batch, tokens, heads, width)), qkv.new_empty((batch, tokens, heads, width))


def plan(
    qkv: Tensor, weight: Tensor, cos: Tensor | None, sin: Tensor | None, eps: float, interleaved: bool
) -> tuple[list[Launch], tuple[Tensor, Tensor]]:
    """Return the launch, and the query and key that it fills."""
    qkv = qkv if qkv.stride(-1) == 1 else qkv.contiguous()
    query, key = empty(qkv)
    batch, tokens, heads, width = query.shape
    half = power_of_two(width // 2)
    rows = max(1, TILE // (2 * half))
    if cos is None or sin is None:
        tables, table_strides = (qkv, qkv), (0, 0)
    else:
        tables = (cos, sin) if cos.stride() == sin.stride() else (cos.contiguous(), sin.contiguous())
        table_strides = tables[0].stride()
    args = (qkv, weight.contiguous(), *tables, query, key, batch * tokens * heads, tokens, heads, width)
    args += (*qkv.stride()[:4], *table_strides, eps)
    constants = {"TURNED": cos is not None, "INTERLEAVED": interleaved, "ROWS": rows, "HALF": half}
    return [Launch(rotary_kernel, (ceil_div(batch * tokens * heads, rows), 2), args, constants)], (query, key)


OP = register(
    "norm_rotary(Tensor qkv, Tensor weight, Tensor? cos, Tensor? sin, float eps, bool interleaved) "
    "-> (Tensor, Tensor)",
    plan,
    lambda qkv, weight, cos, sin, eps, interleaved: empty(qkv),
)
