"""Convolution + bias + skip + ReLU as one op: by oneDNN on a CPU, by `kernels` or cuDNN on a GPU."""

from __future__ import annotations

import ctypes
import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import reference
from kernels.ops.conv import conv3x3
from models.device import precision

PROBES = 5
READABLE = all(hasattr(torch.ops.mkldnn, name) for name in ("data_ptr", "_nbytes"))  # of packed weights
PACKINGS = 64 if READABLE else 4  # input sizes cached per weight, in two or three layouts


class PlainConv:
    """conv + bias + skip -> ReLU: one op of `kernels` for 3x3 windows, plain torch for the others."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, stride=1, padding=0):
        self.weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.to(dtype)
        self.stride, self.padding = stride, padding

    def __call__(
        self, x: Tensor, bias: Tensor | None = None, skip: Tensor | None = None, relu=False
    ) -> Tensor:
        bias = self.bias if bias is None else bias
        if self.padding == 1 and self.stride == 1:
            return conv3x3(x, self.weight, bias, skip=skip, activation="relu" if relu else "none")
        with reference.exact_convolution():
            y = F.conv2d(x, self.weight, bias, self.stride, self.padding)
        if skip is not None:
            y = y.add_(skip)
        return y.relu_() if relu else y


class OneDnnConv(PlainConv):
    """PlainConv on oneDNN, with sum and ReLU inside the convolution, as torch's inductor does.

    The layout of packed weights that oneDNN expects depends on the size of the input. Weights packed for
    another size are packed again in every call, so a packed copy is cached for each size.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, stride=1, padding=0):
        super().__init__(weight, bias, dtype, stride=stride, padding=padding)
        self.window = ([padding] * 2, [stride] * 2, [1, 1], 1)
        self.weight = self.weight.to_mkldnn()
        self.packed: dict[torch.Size, Tensor] = {}

    def __call__(
        self, x: Tensor, bias: Tensor | None = None, skip: Tensor | None = None, relu=False
    ) -> Tensor:
        packed = self.pack(x.shape)
        bias = self.bias if bias is None else bias
        after = "relu" if relu else "none"
        if skip is None:
            return torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *self.window, after, [], "")
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, skip, packed, bias, *self.window, "add", 1.0, after, [], ""
        )

    def pack(self, size: torch.Size) -> Tensor:
        """Return the weight packed for this input size; sizes with the same layout share one copy."""
        packed = self.packed.get(size)
        if packed is None:
            reorder = torch._C._nn.mkldnn_reorder_conv2d_weight  # pyright: ignore[reportAttributeAccessIssue]
            packed = reorder(self.weight, *self.window, list(size))
            if READABLE:
                wanted = contents(packed)
                packed = next((one for one in self.packed.values() if contents(one) == wanted), packed)
            if len(self.packed) == PACKINGS:
                self.packed.pop(next(iter(self.packed)))
            self.packed[size] = packed
        return packed


def contents(packed: Tensor) -> bytes:
    """Return the bytes of an opaque (oneDNN) tensor."""
    return ctypes.string_at(torch.ops.mkldnn.data_ptr(packed), torch.ops.mkldnn._nbytes(packed))


@torch.inference_mode()
def bf16_gain() -> float:
    """Speed-up of bfloat16 over float32 on this CPU, for the network's most frequent convolution.

    Measured on one thread, interleaved, best of PROBES, so that other programs hardly affect it. Returns 0
    where bfloat16 is not supported.
    """
    if not precision.has_bf16("cpu"):
        return 0.0
    sides = []
    for dtype in (torch.bfloat16, torch.float32):
        conv = OneDnnConv(torch.zeros(96, 96, 3, 3), None, dtype, padding=1)
        x = torch.zeros((1, 32, 32, 96), dtype=dtype).permute(0, 3, 1, 2)
        sides.append((conv, x, torch.zeros(96, dtype=dtype)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = [math.inf, math.inf]
    for _ in range(PROBES):
        for at, (conv, x, bias) in enumerate(sides):
            begin = time.perf_counter()
            conv(x, bias, relu=True)
            best[at] = min(best[at], time.perf_counter() - begin)
    torch.set_num_threads(threads)
    return best[1] / best[0]
