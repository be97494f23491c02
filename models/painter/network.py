"""The painter's network: a small, strictly local U-Net of 3x3 convolutions at 1/4, 1/8 and 1/16 scale.

Only convolutions mix positions, and nothing normalises over space, so a stroke cannot change a pixel beyond
the receptive radius. Time, step size, strength and mood enter as one bias for each convolution, which costs
nothing per frame while they are fixed. Every activation is a ReLU after the sum of a convolution and its
skip, a sequence that oneDNN, cuDNN and a Triton kernel can fuse into one pass.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.api import MOOD_AXES
from models.painter.flow import Condition

PATCH_PX = 4
TIME_WAVES = 8


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a PainterNetwork.

    widths: channels at 1/4, 1/8 and 1/16 scale. blocks: 3x3 residual convolutions, encoder to decoder.
    """

    widths: tuple[int, int, int] = (48, 96, 160)
    blocks: tuple[int, int, int, int, int] = (1, 1, 3, 1, 1)
    embedding: int = 128
    moods: int = len(MOOD_AXES)

    def as_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> NetworkConfig:
        listed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**listed)


class PainterNetwork(nn.Module):
    """U-Net (residual, condition, t, step) -> (B, 3, H, W), float. H and W are multiples of 16."""

    def __init__(self, config: NetworkConfig | None = None):
        super().__init__()
        self.config = config = config or NetworkConfig()
        fine, middle, coarse = config.widths
        patch = PATCH_PX**2
        b = config.blocks
        self.embed = Embedding(config)
        self.stem = nn.Conv2d(7 * patch, fine, 1)
        self.fine_in = chain(fine, b[0])
        self.to_middle = conv3(fine, middle)
        self.middle_in = chain(middle, b[1])
        self.to_coarse = conv3(middle, coarse)
        self.coarse = chain(coarse, b[2])
        self.from_coarse = nn.Conv2d(coarse, middle, 1)
        self.middle_out = chain(middle, b[3])
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.fine_out = chain(fine, b[4])
        self.head = conv3(fine, 3 * patch)
        self.gate = nn.Conv2d(fine, 3 * patch, 1)  # factor of each pixel's own residual in the output
        self.bias_of = nn.Linear(config.embedding, sum(width for _, width in self.biased()))
        self.reset()

    def biased(self) -> list[tuple[nn.Conv2d, int]]:
        """Convolutions that take a bias from the condition, in order, with their output channels."""
        layers = [self.stem, *self.fine_in, self.to_middle, *self.middle_in, self.to_coarse, *self.coarse]
        layers += [*self.middle_out, *self.fine_out]
        return [(layer, layer.out_channels) for layer in layers]

    def reset(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(cast(Tensor, module.bias))
        for layers in (self.fine_in, self.middle_in, self.coarse, self.middle_out, self.fine_out):
            for layer in layers:
                # keeps the variance of a chain of skips near one
                cast(nn.Conv2d, layer).weight.data.mul_(0.4)
        self.head.weight.data.mul_(0.1)
        icnr(self.head.weight.data)
        nn.init.zeros_(self.gate.weight)
        nn.init.normal_(self.bias_of.weight, std=0.02)
        nn.init.zeros_(self.bias_of.bias)

    def biases(self, t: Tensor, step: Tensor, strength: Tensor, mood: Tensor) -> list[Tensor]:
        """Biases (B, channels) of the layers of `biased()`: each layer's own plus the condition's shift."""
        widths = [width for _, width in self.biased()]
        shifts = self.bias_of(self.embed(t, step, strength, mood)).split(widths, dim=1)
        return [layer.bias + shift for (layer, _), shift in zip(self.biased(), shifts, strict=True)]

    def forward(self, residual: Tensor, condition: Condition, t: Tensor, step: Tensor) -> Tensor:
        x = torch.cat((residual, condition.sketch, condition.alpha), 1)
        return self.body(x, self.biases(t, step, condition.strength, condition.mood))

    def body(self, x: Tensor, biases: list[Tensor]) -> Tensor:
        """Run the convolutions: (B, 7, H, W) of noisy residual, sketch and alpha -> (B, 3, H, W)."""
        bias = iter(biases)
        residual = x[:, :3]
        x = F.pixel_unshuffle(x, PATCH_PX).contiguous(memory_format=torch.channels_last)
        fine = self.run_chain(self.fine_in, biased_relu(self.stem, x, next(bias)), bias)
        middle = biased_relu(self.to_middle, F.avg_pool2d(fine, 2), next(bias))
        middle = self.run_chain(self.middle_in, middle, bias)
        coarse = biased_relu(self.to_coarse, F.avg_pool2d(middle, 2), next(bias))
        coarse = self.run_chain(self.coarse, coarse, bias)
        middle = (middle + enlarge(self.from_coarse(coarse))).relu()
        middle = self.run_chain(self.middle_out, middle, bias)
        fine = (fine + enlarge(self.from_middle(middle))).relu()
        fine = self.run_chain(self.fine_out, fine, bias)
        gate = F.pixel_shuffle(self.gate(fine), PATCH_PX)
        return F.pixel_shuffle(self.head(fine), PATCH_PX) + gate * residual

    def run_chain(self, layers: nn.ModuleList, x: Tensor, bias) -> Tensor:
        for layer in layers:
            x = biased_relu(cast(nn.Conv2d, layer), x, next(bias), skip=x)
        return x

    def receptive_radius_px(self) -> int:
        """Upper bound of the distance at which an input pixel affects the output, from the layer shapes."""
        b = self.config.blocks
        fine, middle, coarse = b[0] + b[4] + 1, 1 + b[1] + b[3], 1 + b[2]
        # pooling to cells of 16 px and enlarging add less than one coarse cell; the softened sketch reaches
        # two fine cells further than the paper
        return (fine + 2 * middle + 4 * coarse + 4 + 2) * PATCH_PX

    def gflop(self, height_px: int, width_px: int) -> float:
        """GFLOP of one evaluation: two for each multiply-add of the convolutions, in 1e9."""
        scale = {**{id(m): 16 for m in (self.to_coarse, *self.coarse, self.from_coarse)}}
        scale.update(
            {id(m): 8 for m in (self.to_middle, *self.middle_in, *self.middle_out, self.from_middle)}
        )
        macs = 0
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                side = scale.get(id(module), PATCH_PX)
                macs += module.weight.numel() * (height_px // side) * (width_px // side)
        return 2 * macs / 1e9


class Embedding(nn.Module):
    """Embed time, step size, strength and mood in one vector of length `config.embedding`."""

    waves: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        waves = torch.exp(torch.linspace(0, math.log(32), TIME_WAVES, dtype=torch.float32)) * math.pi
        self.register_buffer("waves", waves, persistent=False)
        self.first = nn.Linear(3 * 2 * TIME_WAVES + config.moods, config.embedding)
        self.second = nn.Linear(config.embedding, config.embedding)

    def forward(self, t: Tensor, step: Tensor, strength: Tensor, mood: Tensor) -> Tensor:
        angles = torch.stack((t, step, strength), 1)[:, :, None] * self.waves / 2
        waves = torch.cat((angles.sin(), angles.cos()), 2).flatten(1)
        return F.silu(self.second(F.silu(self.first(torch.cat((waves, mood * 2 - 1), 1)))))


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def chain(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(conv3(width, width) for _ in range(count))


def biased_relu(layer: nn.Conv2d, x: Tensor, bias: Tensor, skip: Tensor | None = None) -> Tensor:
    """Compute relu(conv(x) + bias + skip); bias (B, C), or (C,) shared by the batch."""
    if bias.dim() == 1:
        y = F.conv2d(x, layer.weight, bias.to(x.dtype), padding=layer.padding)
    else:
        y = F.conv2d(x, layer.weight, None, padding=layer.padding)
        y = y + bias[:, :, None, None].to(y.dtype)
    return (y if skip is None else y + skip).relu()


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def icnr(weight: Tensor) -> None:
    """Initialise all sub-pixels of an output colour alike, against checkerboards (Aitken et al. 2017)."""
    per_color = PATCH_PX**2
    for color in range(weight.shape[0] // per_color):
        rows = slice(color * per_color, (color + 1) * per_color)
        weight[rows] = weight[rows.start].clone()
