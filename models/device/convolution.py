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
READABLE = all(hasattr(torch.ops.mkldnn, name) for name in ("data_ptr", "_nbytes"))  # packed weights are
PACKINGS = 64 if READABLE else 4  # sizes for which a weight is kept as packed; they want two layouts or three


class PlainConv:
    """conv + bias + skip -> relu: one op of `kernels` for the windows of 3x3, plain torch for the others."""

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
    """The same with sum and ReLU inside the convolution, as torch's inductor does.

    The layout of packed weights that oneDNN wants depends on the size of the input. Weights packed for
    another size are packed again in every call; so they are kept as packed for each size.
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
        """The weight as an input of this size wants it; sizes that want the same share it."""
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
    """The bytes of a tensor that is opaque to torch."""
    return ctypes.string_at(torch.ops.mkldnn.data_ptr(packed), torch.ops.mkldnn._nbytes(packed))


@torch.inference_mode()
def bf16_gain() -> float:
    """How many times faster than float32 this CPU runs the network's commonest convolution in bfloat16.

    On one thread, interleaved, best of PROBES: what else runs on the machine then hardly shows. 0 where
    there is none.
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
