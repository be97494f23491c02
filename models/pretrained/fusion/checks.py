"""Checks of whether a block can be fused, and helpers that the fused passes share."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from kernels.ops.groupnorm import group_norm_silu
from kernels.ops.norm_modulate import norm_modulate
from models.pretrained.fusion import precompute
from models.pretrained.fusion.precompute import Block


class Unfit(Exception):
    """Raised when a block cannot be fused; the message is the reason."""


def demand(holds: bool, reason: str) -> None:
    if not holds:
        raise Unfit(reason)


def tokens(x: Tensor) -> Tensor:
    """View (N, C, H, W) channels-last as (N, H W, C)."""
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(1, 2)


def norm_of(x: Tensor, norm: nn.GroupNorm, *, silu: bool = True) -> Tensor:
    return group_norm_silu(x, norm.num_groups, norm.weight, norm.bias, norm.eps, silu)


def gain_of(norm: Any) -> Tensor:
    """Weights of an RMSNorm minus one, for `rms`: (1, D), float32 for weights near zero."""
    weight = norm.weight if type(norm).__name__ == "RMSNorm" else None
    if weight is None:
        raise Unfit("its norm is no RMSNorm with weights")
    return weight.float()[None] - 1


def rms(x: Tensor, gain: Tensor, eps: float, shift: Tensor | None = None) -> Tensor:
    """RMS norm of x (B, T, D), times 1 + gain, plus shift; gain and shift: (1, D)."""
    rows = len(x)
    shift = None if shift is None else shift.expand(rows, -1)
    return norm_modulate(x, gain.expand(rows, -1), shift, norm="rms", eps=eps)


def phases_of(conv: nn.Conv2d) -> SimpleNamespace:
    bias = None if conv.bias is None else conv.bias.repeat(4)
    return SimpleNamespace(phases=precompute.phase_weight(conv.weight), bias=bias, keeps=False, adds=False)


def served(block: Block) -> bool:
    """Whether the running frame was given a row of modulations."""
    row = getattr(block.fused, "row", None)
    return row is not None and row.values is not None


def modulations_of(block: Block, make: Callable, embedding: object) -> tuple[Tensor, ...]:
    """Modulations of a block: read from the frame's row if it has one, else computed from the embedding."""
    if not served(block):
        return make(block, embedding)
    row = block.fused.row
    return tuple(row.values[place].view(dtype).view(shape) for place, dtype, shape in block.fused.places)
