"""Exact precomputation of work that depends only on the prompt, the timesteps or the weights.

Each function is pure in weights and conditions. `Saving` counts the work saved per frame: products in FLOPs
(a multiply-add is two), bytes of weights that are no longer read, and kernel launches.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Block: TypeAlias = Any  # a module of `diffusers`, with its own modules, weights and settings as attributes


@dataclass(frozen=True)
class Saving:
    """Work saved per frame: FLOPs, bytes of weights read, kernel launches."""

    flops: int = 0
    bytes: int = 0
    launches: int = 0

    def __add__(self, other: Saving) -> Saving:
        return Saving(self.flops + other.flops, self.bytes + other.bytes, self.launches + other.launches)


def weights_of(*layers: nn.Module | None) -> int:
    """Bytes of the layers' weights and biases."""
    return sum(p.nbytes for layer in layers if layer is not None for p in layer.parameters())


def prompt_keys_values(attention: Block, prompt: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a cross-attention, (B, heads, T, D), from the prompt's embedding (B, T, C).

    attention: `diffusers` Attention, whose key norm, if any, spans all heads. Keys and values depend only on
    the prompt, so frames can share them.
    """
    key, value = attention.to_k(prompt), attention.to_v(prompt)
    if attention.norm_k is not None:
        key = attention.norm_k(key)
    return tuple(part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in (key, value))


def saved_keys_values(attention: Block, prompt: Tensor) -> Saving:
    layers = attention.to_k, attention.to_v
    flops = 2 * prompt.shape[0] * prompt.shape[1] * sum(layer.weight.numel() for layer in layers)
    return Saving(flops, weights_of(*layers), 2)


def time_bias(resnet: Block, embedding: Tensor) -> Tensor:
    """Bias (C,) of a residual block's first convolution with the time embedding (1, E) folded in."""
    shift = resnet.time_emb_proj(F.silu(embedding))[0]
    return shift if resnet.conv1.bias is None else resnet.conv1.bias + shift


def saved_time_bias(resnet: Block) -> Saving:
    """Saving per residual block: the activation, the product and the sum."""
    return Saving(2 * resnet.time_emb_proj.weight.numel(), weights_of(resnet.time_emb_proj), 3)


def pack(layers: list[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """Pack linear layers with the same input into one product.

    Returns weight (sum of rows, C) and bias (sum of rows,) or None. The layers' own parameters become views
    of the result, so that no weight is stored twice.
    """
    packed = []
    for name in ("weight", "bias"):
        parts = [getattr(layer, name) for layer in layers]
        if parts[0] is None:
            packed.append(None)
            continue
        whole = torch.cat([part.detach() for part in parts])
        for part, view in zip(parts, whole.split([len(part) for part in parts]), strict=True):
            part.data = view
        packed.append(whole)
    return packed[0], packed[1]


SAVED_PACKED = Saving(launches=2)


def bias_after(first: nn.Linear, second: nn.Linear | nn.Conv2d) -> Tensor:
    """Bias of `second` with that of `first` folded in; only sums may come between the two layers."""
    weight = second.weight.flatten(1)
    carried = weight @ first.bias
    return carried if second.bias is None else second.bias + carried


def phase_weight(weight: Tensor) -> Tensor:
    """Fuse nearest upsampling by two and a 3x3 convolution: weights (O, C, 3, 3) -> (4 O, C, 2, 2).

    Several of the nine products at an output pixel read the same input pixel, so a 2x2 window with summed
    weights suffices, one for each of the four positions (row, column) in a doubled pixel. 4/9 of the work.
    """
    top = torch.stack((weight[:, :, 0], weight[:, :, 1] + weight[:, :, 2]), 2)  # (O, C, 2, 3)
    bottom = torch.stack((weight[:, :, 0] + weight[:, :, 1], weight[:, :, 2]), 2)
    phases = []
    for rows in (top, bottom):
        phases.append(torch.stack((rows[..., 0], rows[..., 1] + rows[..., 2]), 3))
        phases.append(torch.stack((rows[..., 0] + rows[..., 1], rows[..., 2]), 3))
    return torch.cat(phases).contiguous(memory_format=torch.channels_last)


def upsampled_conv(x: Tensor, phases: Tensor, bias: Tensor | None) -> Tensor:
    """conv3x3(nearest x2 of x) + bias: (N, C, H, W) -> (N, O, 2 H, 2 W), channels-last, in two launches.

    phases: from phase_weight; bias: (4 O,), the layer's bias repeated four times, or None.
    """
    count, _, height, width = x.shape
    y = F.conv2d(x, phases, bias, padding=1)
    outputs = phases.shape[0] // 4
    y = y.contiguous(memory_format=torch.channels_last)
    picture, channel, row, column = y.stride()
    # the four positions of a doubled pixel are in neighbouring cells of y: a strided view puts them in order
    view = y.as_strided(
        (count, height, 2, width, 2, outputs),
        (picture, row, row + 2 * outputs * channel, column, column + outputs * channel, channel),
    )
    return view.reshape(count, 2 * height, 2 * width, outputs).permute(0, 3, 1, 2)


def saved_phases(weight: Tensor, height: int, width: int) -> Saving:
    """Saving of `upsampled_conv` for an input of (height, width) before upsampling: 5/9 of the products.

    The phases are evaluated at one row and one column more than the input has.
    """
    whole = 2 * weight.numel() * 4 * height * width
    phases = 2 * weight.numel() // 9 * 16 * (height + 1) * (width + 1)
    return Saving(flops=whole - phases)


def keep(place: SimpleNamespace, name: str, made: list) -> bool:
    """Set an attribute to the given tensors, or copy into the existing ones if the shapes match.

    A captured graph reads fixed addresses, which a copy keeps. Returns whether the addresses are new.
    """
    held = getattr(place, name)
    if held is None or shapes(held) != shapes(made):
        setattr(place, name, made)
        return True
    for target, source in zip(flat(held), flat(made), strict=True):
        target.copy_(source)
    return False


def flat(values: list) -> list[Tensor]:
    return [part for value in values for part in (value if isinstance(value, tuple) else (value,))]


def shapes(values: list) -> list[torch.Size]:
    return [part.shape for part in flat(values)]
