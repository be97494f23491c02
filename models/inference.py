"""The painter's network made ready for one picture at a time: packed for oneDNN, one op a convolution."""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.conv import conv3x3
from models import flow
from models.network import PATCH_PX, PainterNetwork, enlarge

PROBES = 5
INPUTS = 7  # residual 3, sketch 3, alpha 1


class Body:
    """PainterNetwork.body with the unshuffle folded into a strided stem and every ReLU and skip fused."""

    def __init__(self, network: PainterNetwork, dtype: torch.dtype):
        self.dtype = dtype
        self.config = network.config
        fine = network.config.widths[0]
        device = network.stem.weight.device
        fused = device.type == "cpu" and torch.backends.mkldnn.is_available()
        conv = OneDnnConv if fused else PlainConv
        self.path = f"oneDNN fused, {dtype}".replace("torch.", "") if fused else f"torch, {device.type}"
        stem = network.stem.weight.view(fine, INPUTS, PATCH_PX, PATCH_PX)
        self.stem = conv(stem, None, dtype, stride=PATCH_PX)
        self.head = conv(network.head.weight, network.head.bias, dtype, padding=1)
        self.gate = conv(network.gate.weight, network.gate.bias, dtype)
        for name in ("to_middle", "to_coarse"):
            setattr(self, name, conv(getattr(network, name).weight, None, dtype, padding=1))
        for name in ("from_coarse", "from_middle"):
            layer = getattr(network, name)
            setattr(self, name, conv(layer.weight, layer.bias, dtype))
        for name in ("fine_in", "middle_in", "coarse", "middle_out", "fine_out"):
            setattr(self, name, [conv(m.weight, None, dtype, padding=1) for m in getattr(network, name)])

    def __call__(self, x: Tensor, biases: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(1, 7, H, W) channels-last of self.dtype -> head and gate, (1, 48, H/4, W/4) each."""
        bias = iter(biases)
        fine = run(self.fine_in, self.stem(x, next(bias), relu=True), bias)
        middle = self.to_middle(F.avg_pool2d(fine, 2), next(bias), relu=True)
        middle = run(self.middle_in, middle, bias)
        coarse = self.to_coarse(F.avg_pool2d(middle, 2), next(bias), relu=True)
        coarse = run(self.coarse, coarse, bias)
        middle = middle.add_(enlarge(self.from_coarse(coarse))).relu_()
        middle = run(self.middle_out, middle, bias)
        fine = fine.add_(enlarge(self.from_middle(middle))).relu_()
        fine = run(self.fine_out, fine, bias)
        return self.head(fine), self.gate(fine)

    def denoise(self, residual: Tensor, paint: Tensor, t: float, biases: list[Tensor]) -> Tensor:
        """flow.denoise for a batch of one, of the residual: picture minus sketch.

        x_t - E[x_t | sketch] moves on a straight path of its own, from its share of noise to the picture
        minus the sketch, so the samplers run on it as they are. residual: (1, 3, H, W) float32. paint:
        (1, 4, H, W), sketch and alpha. Returns the predicted residual of the picture.
        """
        x = self.pack(residual, paint, t)
        return self.unpack(*self(x, biases), x, residual, t)

    def pack(self, residual: Tensor, paint: Tensor, t: float) -> Tensor:
        """The network's input, (1, 7, H, W) channels-last of self.dtype."""
        c_in = flow.scales(torch.tensor([t]))[0].item()
        x = torch.empty((1, INPUTS, *residual.shape[2:]), dtype=self.dtype, device=residual.device)
        x[:, :3] = residual if c_in == 1 else residual * c_in
        x[:, 3:] = paint
        return x.contiguous(memory_format=torch.channels_last)

    def unpack(self, head: Tensor, gate: Tensor, x: Tensor, residual: Tensor, t: float) -> Tensor:
        """Head, gate and residual -> predicted residual of the picture, (1, 3, H, W) float32."""
        _, c_skip, c_out = (c.item() for c in flow.scales(torch.tensor([t])))
        out = shuffled(head).float().addcmul_(shuffled(gate).float(), x[:, :3].float()).mul_(c_out)
        return out if c_skip == 0 else out.add_(residual, alpha=c_skip)


def shuffled(cells: Tensor) -> Tensor:
    """(1, 3 * 16, h, w) channels-last -> (1, 3, 4h, 4w) contiguous: pixel_shuffle in one copy."""
    _, _, height, width = cells.shape
    parts = cells.permute(0, 2, 3, 1).reshape(height, width, 3, PATCH_PX, PATCH_PX)
    return parts.permute(2, 0, 3, 1, 4).reshape(1, 3, height * PATCH_PX, width * PATCH_PX)


def run(layers: list, x: Tensor, bias) -> Tensor:
    for layer in layers:
        x = layer(x, next(bias), skip=x, relu=True)
    return x


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
        y = F.conv2d(x, self.weight, bias, self.stride, self.padding)
        if skip is not None:
            y = y.add_(skip)
        return y.relu_() if relu else y


class OneDnnConv(PlainConv):
    """The same with weights packed once, sum and ReLU inside the convolution, as torch's inductor does."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, stride=1, padding=0):
        super().__init__(weight, bias, dtype, stride=stride, padding=padding)
        self.window = ([padding] * 2, [stride] * 2, [1, 1], 1)
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(self.weight.to_mkldnn(), *self.window, None)

    def __call__(
        self, x: Tensor, bias: Tensor | None = None, skip: Tensor | None = None, relu=False
    ) -> Tensor:
        bias = self.bias if bias is None else bias
        after = "relu" if relu else "none"
        if skip is None:
            return torch.ops.mkldnn._convolution_pointwise(x, self.weight, bias, *self.window, after, [], "")
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, skip, self.weight, bias, *self.window, "add", 1.0, after, [], ""
        )


@torch.inference_mode()
def bf16_gain() -> float:
    """How many times faster than float32 this CPU runs the network's commonest convolution in bfloat16.

    On one thread, interleaved, best of PROBES: what else runs on the machine then hardly shows.
    """
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
