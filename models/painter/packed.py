"""The painter's network packed for inference: oneDNN weights, one fused op for each convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.device.convolution import OneDnnConv, PlainConv
from models.painter import flow, patches
from models.painter.network import PainterNetwork, enlarge
from models.sampling.paths import Straight, uniform
from models.sampling.solvers import ddim

Lap = Callable[[str], None]
Ends = Callable[[Tensor], tuple[Tensor, Tensor]]
INPUTS = 7  # residual 3, sketch 3, alpha 1


def no_lap(stage: str) -> None:
    """Stage callback that does nothing."""


class PackedNetwork:
    """PainterNetwork.body on 4x4 cells, with fused ReLUs and skips and the softening folded into the stem."""

    to_middle: PlainConv
    to_coarse: PlainConv
    from_coarse: PlainConv
    from_middle: PlainConv
    fine_in: list[PlainConv]
    middle_in: list[PlainConv]
    coarse: list[PlainConv]
    middle_out: list[PlainConv]
    fine_out: list[PlainConv]

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
        self.paint_stem = conv(
            torch.einsum("fcp,pij->fcij", of_paint, share), torch.zeros(fine, device=device), dtype
        )
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
        """Head and gate in one convolution, with the gate's 1x1 window padded to 3x3.

        Where matrix tiles multiply bfloat16, one wider convolution is faster than two.
        """
        gate = F.pad(network.gate.weight, (1, 1, 1, 1))
        bias = torch.cat([layer.bias for layer in (network.head, network.gate) if layer.bias is not None])
        both = conv(torch.cat((network.head.weight, gate)), bias, self.dtype, padding=1)

        def ends(fine: Tensor) -> tuple[Tensor, Tensor]:
            head, gate = both(fine).split(patches.COLORS, 1)
            return head, gate

        return ends

    def apart(self, network: PainterNetwork, conv: type[PlainConv]) -> Ends:
        """Head and gate as two convolutions: in float32 the number of multiplications sets the time."""
        head = conv(network.head.weight, network.head.bias, self.dtype, padding=1)
        gate = conv(network.gate.weight, network.gate.bias, self.dtype)
        return lambda fine: (head(fine), gate(fine))

    def __call__(self, x: Tensor, paint: Tensor, biases: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Evaluate the network; returns head and gate, (1, 48, h, w) each.

        x: (1, 48, h, w) noisy residual. paint: first result of `read`. biases: (channels,) for each layer.
        """
        bias = iter(biases)
        fine = run(self.fine_in, self.stem(x, next(bias), skip=paint, relu=True), bias)
        middle = self.to_middle(F.avg_pool2d(fine, 2), next(bias), relu=True)
        middle = run(self.middle_in, middle, bias)
        coarse = self.to_coarse(F.avg_pool2d(middle, 2), next(bias), relu=True)
        coarse = run(self.coarse, coarse, bias)
        # enlarge first, so that the sum and the ReLU fuse into the convolution; separate passes cost more
        middle = self.from_coarse(enlarge(coarse), skip=middle, relu=True)
        middle = run(self.middle_out, middle, bias)
        fine = self.from_middle(enlarge(middle), skip=fine, relu=True)
        fine = run(self.fine_out, fine, bias)
        return self.ends(fine)

    def frame(
        self, planes: Tensor, noise: Tensor, share: Tensor, biases: Tensor, lap: Lap = no_lap
    ) -> Tensor:
        """Compute a whole frame with tensor operations only, so that a CUDA graph can capture it.

        planes: (4, H, W) uint8 paper. noise: (1, 48, h, w) float32 cells. share: (1,) float32, 1 - strength.
        biases: (steps, all channels), one row per step. lap: called with the name of each stage that ends; it
        may raise between steps. Returns 3 * H * W + 1 bytes: the picture's planes, then 1 if all values are
        finite, else 0.
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

        residual = ddim(model, start, uniform(Straight(), steps))
        finite = residual.sum().isfinite().view(1).to(torch.uint8)
        picture = torch.cat((self.picture(residual, spread).flatten(), finite))
        lap("decode")
        return picture

    def read(self, planes: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the paper's part of the stem, and sketch and alpha times `share`, (1, 96, h, w).

        The second result is the paper's cell means convolved with `patches.spreading`.
        """
        mean = patches.bordered(patches.means(planes))
        paint = self.paint_stem(mean.to(self.dtype))
        mean[:, 3:].mul_(share)
        return paint, self.spread(mean)

    def start(self, noise: Tensor, spread: Tensor) -> Tensor:
        """Residual at t=1: noise cells times 1 - alpha * share. Equals flow.start minus its sketch."""
        return torch.addcmul(noise, noise, spread[:, patches.COLORS :], value=-1)

    def pack(self, residual: Tensor, t: float) -> Tensor:
        """Network input: the residual scaled to unit variance, (1, 48, h, w) of self.dtype."""
        c_in = scales(t)[0]
        return (residual if c_in == 1 else residual * c_in).to(self.dtype)

    def unpack(self, out: tuple[Tensor, Tensor], residual: Tensor, t: float) -> Tensor:
        """Predict the picture's residual from head, gate and residual, (1, 48, h, w) float32.

        x_t - E[x_t | sketch] follows a straight path, from its share of noise to the picture minus the
        sketch, so the samplers apply to it unchanged.
        """
        c_in, c_skip, c_out = scales(t)
        head, gate = out
        made = head.float().addcmul_(gate.float(), residual, value=c_in).mul_(c_out)
        return made if c_skip == 0 else made.add_(residual, alpha=c_skip)

    def picture(self, residual: Tensor, spread: Tensor) -> Tensor:
        """Add the residual to the sketch; returns (3, H, W) uint8."""
        picture = torch.add(spread[:, : patches.COLORS], residual, alpha=127.5)
        return patches.to_pixels(picture.clamp_(0, 255).to(torch.uint8))


def scales(t: float) -> list[float]:
    """flow.scales of one time. Sets float32 explicitly: while another model loads, the default may differ."""
    return [scale.item() for scale in flow.scales(torch.tensor([t], dtype=torch.float32))]


def run(layers: list, x: Tensor, bias) -> Tensor:
    for layer in layers:
        x = layer(x, next(bias), skip=x, relu=True)
    return x
