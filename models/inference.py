"""The painter's network made ready for one picture at a time: packed for oneDNN, one op a convolution."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from models import flow
from models.flow import Condition
from models.network import PATCH_PX, PainterNetwork, enlarge

PADDED_CHANNELS = 8  # residual 3, sketch 3, alpha 1, and one of zeros so that loads are whole


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
        stem = network.stem.weight.view(fine, 7, PATCH_PX, PATCH_PX)
        stem = F.pad(stem, (0, 0, 0, 0, 0, PADDED_CHANNELS - 7))
        self.stem = conv(stem, None, dtype, stride=PATCH_PX)
        self.head = conv(network.head.weight, network.head.bias, dtype, padding=1)
        for name in ("to_middle", "to_coarse"):
            setattr(self, name, conv(getattr(network, name).weight, None, dtype, padding=1))
        for name in ("from_coarse", "from_middle"):
            layer = getattr(network, name)
            setattr(self, name, conv(layer.weight, layer.bias, dtype))
        for name in ("fine_in", "middle_in", "coarse", "middle_out", "fine_out"):
            setattr(self, name, [conv(m.weight, None, dtype, padding=1) for m in getattr(network, name)])

    def __call__(self, x: Tensor, biases: list[Tensor]) -> Tensor:
        """(1, 8, H, W) channels-last of self.dtype -> (1, 3, H, W)."""
        bias = iter(biases)
        fine = run(self.fine_in, self.stem(x, next(bias), relu=True), bias)
        middle = self.to_middle(F.avg_pool2d(fine, 2), next(bias), relu=True)
        middle = run(self.middle_in, middle, bias)
        coarse = self.to_coarse(F.avg_pool2d(middle, 2), next(bias), relu=True)
        coarse = run(self.coarse, coarse, bias)
        middle = middle.add_(enlarge(self.from_coarse(coarse))).relu_()
        middle = run(self.middle_out, middle, bias)
        fine = fine.add_(enlarge(self.from_middle(middle))).relu_()
        return F.pixel_shuffle(self.head(run(self.fine_out, fine, bias)), PATCH_PX)

    def denoise(self, x_t: Tensor, condition: Condition, t: float, biases: list[Tensor]) -> Tensor:
        """flow.denoise for a batch of one at one time: float32 in and out."""
        c_in, c_skip, c_out = (float(c) for c in flow.scales(torch.tensor([t])))
        residual = torch.sub(x_t, condition.sketch, alpha=1 - t * float(condition.strength))
        height, width = x_t.shape[2:]
        x = torch.empty((1, height, width, PADDED_CHANNELS), dtype=self.dtype, device=x_t.device)
        x = x.permute(0, 3, 1, 2)
        torch.mul(residual, c_in, out=residual) if c_in != 1 else None
        x[:, 0:3], x[:, 3:6], x[:, 6:7], x[:, 7:] = residual, condition.sketch, condition.alpha, 0
        out = torch.add(condition.sketch, self(x, biases), alpha=c_out)
        return out if c_skip == 0 else out.add_(residual, alpha=c_skip / c_in)

    @torch.inference_mode()
    def seconds(self, side_px: int) -> float:
        """Best of a few evaluations at side_px squared, after a warm-up."""
        x = torch.zeros((1, side_px, side_px, PADDED_CHANNELS), dtype=self.dtype).permute(0, 3, 1, 2)
        widths = self.widths()
        biases = [torch.zeros(width, dtype=self.dtype) for width in widths]
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            self(x, biases)
            times.append(time.perf_counter() - begin)
        return min(times)

    def widths(self) -> list[int]:
        """Channels of each bias, in the order of PainterNetwork.biased()."""
        fine, middle, coarse = self.config.widths
        b = self.config.blocks
        counts = ((fine, 1 + b[0]), (middle, 1 + b[1]), (coarse, 1 + b[2]), (middle, b[3]), (fine, b[4]))
        return [width for width, count in counts for _ in range(count)]


def run(layers: list, x: Tensor, bias) -> Tensor:
    for layer in layers:
        x = layer(x, next(bias), skip=x, relu=True)
    return x


class PlainConv:
    """conv + bias + skip -> relu in plain torch."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, stride=1, padding=0):
        self.weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.to(dtype)
        self.stride, self.padding = stride, padding

    def __call__(
        self, x: Tensor, bias: Tensor | None = None, skip: Tensor | None = None, relu=False
    ) -> Tensor:
        bias = self.bias if bias is None else bias
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
