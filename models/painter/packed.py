"""The painter's network made ready for one picture at a time: packed for oneDNN, one op a convolution."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.ops.conv import conv3x3
from models.device import precision
from models.painter import flow, patches
from models.painter.network import PainterNetwork, enlarge
from models.sampling.flow_samplers import euler, uniform_times

Lap = Callable[[str], None]
Ends = Callable[[Tensor], tuple[Tensor, Tensor]]
PROBES = 5
READABLE = all(hasattr(torch.ops.mkldnn, name) for name in ("data_ptr", "_nbytes"))  # packed weights are
PACKINGS = 64 if READABLE else 4  # sizes for which a weight is kept as packed; they want two layouts or three
INPUTS = 7  # residual 3, sketch 3, alpha 1


def no_lap(stage: str) -> None:
    """Nobody measures."""


class Body:
    """PainterNetwork.body on cells: every ReLU and skip fused, the softened sketch folded into the stem."""

    def __init__(self, network: PainterNetwork, dtype: torch.dtype):
        self.dtype = dtype
        self.widths = [width for _, width in network.biased()]
        self.channels = network.config.widths
        fine = self.channels[0]
        device = network.stem.weight.device
        fused = device.type == "cpu" and torch.backends.mkldnn.is_available()
        conv = OneDnnConv if fused else PlainConv
        self.path = f"oneDNN fused, {dtype}".replace("torch.", "") if fused else f"torch, {device.type}"
        stem = network.stem.weight.view(fine, INPUTS * patches.PLACES, 1, 1)
        self.stem = conv(stem[:, : patches.COLORS], None, dtype)
        of_paint = stem[:, patches.COLORS :].reshape(fine, 4, patches.PLACES).float()
        share = patches.bilinear().to(device)
        self.paint_stem = conv(torch.einsum("fcp,pij->fcij", of_paint, share), torch.zeros(fine), dtype)
        weight, bias = patches.spreading()
        self.spread = conv(weight.to(device), bias.to(device), torch.float32)
        self.ends = self.joined(network, conv) if dtype == torch.bfloat16 else self.apart(network, conv)
        for name in ("to_middle", "to_coarse"):
            setattr(self, name, conv(getattr(network, name).weight, None, dtype, padding=1))
        for name in ("from_coarse", "from_middle"):
            layer = getattr(network, name)
            setattr(self, name, conv(layer.weight, layer.bias, dtype))
        for name in ("fine_in", "middle_in", "coarse", "middle_out", "fine_out"):
            setattr(self, name, [conv(m.weight, None, dtype, padding=1) for m in getattr(network, name)])

    def joined(self, network: PainterNetwork, conv: type[PlainConv]) -> Ends:
        """Head and gate in one convolution, the gate's 1x1 window as the middle of a 3x3 one.

        Where matrix tiles multiply bfloat16, wider is faster than once more.
        """
        gate = F.pad(network.gate.weight, (1, 1, 1, 1))
        bias = torch.cat((network.head.bias, network.gate.bias))
        both = conv(torch.cat((network.head.weight, gate)), bias, self.dtype, padding=1)
        return lambda fine: both(fine).split(patches.COLORS, 1)

    def apart(self, network: PainterNetwork, conv: type[PlainConv]) -> Ends:
        """Head and gate each by themselves: in float32 every multiplication counts."""
        head = conv(network.head.weight, network.head.bias, self.dtype, padding=1)
        gate = conv(network.gate.weight, network.gate.bias, self.dtype)
        return lambda fine: (head(fine), gate(fine))

    def __call__(self, x: Tensor, paint: Tensor, biases: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """x: (1, 48, h, w), noisy residual; paint: what `read` made -> head and gate, (1, 48, h, w) each."""
        bias = iter(biases)
        fine = run(self.fine_in, self.stem(x, next(bias), skip=paint, relu=True), bias)
        middle = self.to_middle(F.avg_pool2d(fine, 2), next(bias), relu=True)
        middle = run(self.middle_in, middle, bias)
        coarse = self.to_coarse(F.avg_pool2d(middle, 2), next(bias), relu=True)
        coarse = run(self.coarse, coarse, bias)
        # enlarged first: sum and ReLU then ride on the convolution, which costs less than passes of their own
        middle = self.from_coarse(enlarge(coarse), skip=middle, relu=True)
        middle = run(self.middle_out, middle, bias)
        fine = self.from_middle(enlarge(middle), skip=fine, relu=True)
        fine = run(self.fine_out, fine, bias)
        return self.ends(fine)

    def frame(
        self, planes: Tensor, noise: Tensor, share: Tensor, biases: Tensor, lap: Lap = no_lap
    ) -> Tensor:
        """A whole frame, as work on tensors alone, so that a CUDA graph can hold it.

        planes: (4, H, W) uint8 paper. noise: (1, 48, h, w) float32 cells. share: (1,) float32, 1 - strength.
        biases: (steps, all channels), one row a step. Returns 3 * H * W + 1 bytes: the picture's planes, and
        1 where all of it is finite. lap: told the name of each stage that ends; may raise between steps.
        """
        steps = len(biases)
        paint, spread = self.read(planes, share)
        start = self.start(noise, spread)

        def model(residual: Tensor, t: float, step: float) -> Tensor:
            x = self.pack(residual, t)
            lap("start")
            out = self(x, paint, biases[round((1 - t) * steps)].split(self.widths))
            lap("denoise")
            made = self.unpack(out, residual, t)
            lap("decode")
            return made

        residual = euler(model, start, uniform_times(steps))
        finite = residual.sum().isfinite().view(1).to(torch.uint8)
        picture = torch.cat((self.picture(residual, spread).flatten(), finite))
        lap("decode")
        return picture

    def read(self, planes: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Paper -> its part of the stem, and `cells.spreading` of it (1, 96, h, w), alpha times `share`."""
        mean = patches.bordered(patches.means(planes))
        paint = self.paint_stem(mean.to(self.dtype))
        mean[:, 3:].mul_(share)
        return paint, self.spread(mean)

    def start(self, noise: Tensor, spread: Tensor) -> Tensor:
        """The residual at t=1: noise cells, less of them where paint covers. flow.start minus its sketch."""
        return torch.addcmul(noise, noise, spread[:, patches.COLORS :], value=-1)

    def pack(self, residual: Tensor, t: float) -> Tensor:
        """The network's input: the residual of unit variance, (1, 48, h, w) of self.dtype."""
        c_in = scales(t)[0]
        return (residual if c_in == 1 else residual * c_in).to(self.dtype)

    def unpack(self, out: tuple[Tensor, Tensor], residual: Tensor, t: float) -> Tensor:
        """Head and gate, and the residual -> predicted residual of the picture, (1, 48, h, w) float32.

        x_t - E[x_t | sketch] moves on a straight path of its own, from its share of noise to the picture
        minus the sketch, so the samplers run on it as they are.
        """
        c_in, c_skip, c_out = scales(t)
        head, gate = out
        out = head.float().addcmul_(gate.float(), residual, value=c_in).mul_(c_out)
        return out if c_skip == 0 else out.add_(residual, alpha=c_skip)

    def picture(self, residual: Tensor, spread: Tensor) -> Tensor:
        """The sketch plus its residual, as (3, H, W) uint8."""
        picture = torch.add(spread[:, : patches.COLORS], residual, alpha=127.5)
        return patches.to_pixels(picture.clamp_(0, 255).to(torch.uint8))


def scales(t: float) -> list[float]:
    """flow.scales of one time. Its dtype is said: while another model loads, the default may be another."""
    return [scale.item() for scale in flow.scales(torch.tensor([t], dtype=torch.float32))]


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
            reorder = torch._C._nn.mkldnn_reorder_conv2d_weight
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
