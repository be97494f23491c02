"""Work that a fixed prompt, fixed timesteps or fixed weights make needless, taken out exactly.

Each fold is a pure function of weights and conditions. Its saving is what one frame no longer does, counted
by `saving`: products in FLOPs (a multiply-add is two), bytes of weights that are no longer read, and
launches.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Block: TypeAlias = Any  # a module of `diffusers`, whose attributes are its own modules, weights and settings


@dataclass(frozen=True)
class Saving:
    """What one frame no longer does."""

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

    attention: `diffusers` Attention, whose norm of keys, if it has one, spans all heads. They depend on the
    prompt alone, so a frame need not make them.
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
    """(C,) the bias of a residual block's first convolution with a time embedding (1, E) folded in."""
    shift = resnet.time_emb_proj(F.silu(embedding))[0]
    return shift if resnet.conv1.bias is None else resnet.conv1.bias + shift


def saved_time_bias(resnet: Block) -> Saving:
    """The activation, the product and the sum of each residual block."""
    return Saving(2 * resnet.time_emb_proj.weight.numel(), weights_of(resnet.time_emb_proj), 3)


def pack(layers: list[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of several products of one input as one product: (sum of rows, C), (sum of rows,) or
    None.

    The layers' own parameters become views of it, so that no weight lies in memory twice.
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
    """The bias of `second` when `first`, whose output reaches it through sums alone, leaves its own out."""
    weight = second.weight.flatten(1)
    carried = weight @ first.bias
    return carried if second.bias is None else second.bias + carried


def phase_weight(weight: Tensor) -> Tensor:
    """(4 O, C, 2, 2) from (O, C, 3, 3): nearest upsampling by two and the convolution after it, as one.

    Of the nine products at an output pixel several meet the same input pixel: a window of 2x2 with summed
    weights is left, another for each of the four places (row, column) in a doubled pixel. 4/9 of the work.
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

    phases: from phase_weight; bias: (4 O,), the layer's own four times over, or None.
    """
    count, _, height, width = x.shape
    y = F.conv2d(x, phases, bias, padding=1)
    outputs = phases.shape[0] // 4
    y = y.contiguous(memory_format=torch.channels_last)
    picture, channel, row, column = y.stride()
    # the places of a doubled pixel lie in neighbouring cells of y: one strided view has them in order
    view = y.as_strided(
        (count, height, 2, width, 2, outputs),
        (picture, row, row + 2 * outputs * channel, column, column + outputs * channel, channel),
    )
    return view.reshape(count, 2 * height, 2 * width, outputs).permute(0, 3, 1, 2)


def saved_phases(weight: Tensor, height: int, width: int) -> Saving:
    """5/9 of the products of a convolution whose input is (height, width) before it is doubled.

    The phases are evaluated at one row and one column more than there are pixels.
    """
    whole = 2 * weight.numel() * 4 * height * width
    phases = 2 * weight.numel() // 9 * 16 * (height + 1) * (width + 1)
    return Saving(flops=whole - phases)


def keep(place: SimpleNamespace, name: str, made: list) -> bool:
    """Set an attribute of tensors, or copy into those that are there: a captured graph reads their places.

    Returns whether the places are new.
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
