"""Network of the material-aware painter: a U-Net of 3x3 convolutions at 1/4, 1/8 and 1/16 scale.

The network is strictly local: only convolutions mix positions, and nothing normalises over space. Every 3x3
convolution pads by replication, which avoids a dark frame at the paper's border. Time, step size, strength,
mood and look enter as one bias for each convolution; unit noise of 1/8 to 1/32 scale is added where its level
begins. Neither costs anything per frame while condition and seed are fixed. Every activation is a ReLU after
the sum of a convolution and its skip, a sequence that oneDNN, cuDNN and Triton fuse into one pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.api import LOOKS, MOOD_AXES
from models.painter.flow import CELL_PX
from models.painter.materials.condition import MATERIAL_CHANNELS, MaterialCondition
from models.painter.materials.noise import LEVEL_CHANNELS, PLACES

COLORS = 3 * PLACES
# residual, paint, materials, height, noise of 1/4 scale: 128, a multiple of 32
STEM_CHANNELS = COLORS + 4 * PLACES + MATERIAL_CHANNELS + 1 + LEVEL_CHANNELS
TIME_WAVES = 8


@dataclass(frozen=True)
class MaterialConfig:
    """Sizes of a MaterialNetwork.

    widths: channels at 1/4, 1/8 and 1/16 scale, multiples of 32, which fill matrix tiles.
    blocks: 3x3 residual convolutions at 1/4, 1/8 (encoder), 1/16, 1/8, 1/4 (decoder).
    """

    widths: tuple[int, int, int] = (64, 128, 224)
    blocks: tuple[int, int, int, int, int] = (1, 1, 3, 1, 2)
    embedding: int = 128
    moods: int = len(MOOD_AXES)
    looks: tuple[str, ...] = LOOKS

    def as_dict(self) -> dict:
        """Config as stored in a checkpoint; `kind` distinguishes it from the first painter's."""
        return {"kind": "materials", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict) -> MaterialConfig:
        """Inverse of `as_dict`. Raises TypeError for values that are no config of this network."""
        rest: dict[str, Any] = {key: value for key, value in values.items() if key != "kind"}
        for key, value in rest.items():
            rest[key] = tuple(value) if isinstance(value, list) else value
        return cls(**rest)


PAINTER = MaterialConfig()
PAINTER_SMALL = MaterialConfig(widths=(32, 96, 160))


class MaterialNetwork(nn.Module):
    """U-Net (residual cells, condition, t, step) -> head (B, 48, h, w) and gate (B, 16, h, w), float.

    H and W are multiples of 32; h, w = H / 4, W / 4.
    """

    def __init__(self, config: MaterialConfig | None = None):
        super().__init__()
        self.config = config = config or MaterialConfig()
        fine, middle, coarse = config.widths
        b = config.blocks
        self.embed = Embedding(config)
        self.stem = nn.Conv2d(STEM_CHANNELS, fine, 1)
        self.fine_in = chain(fine, b[0])
        self.to_middle = conv3(fine, middle)
        self.middle_noise = nn.Conv2d(LEVEL_CHANNELS, middle, 1, bias=False)
        self.middle_in = chain(middle, b[1])
        self.to_coarse = conv3(middle, coarse)
        self.coarse_noise = nn.Conv2d(2 * LEVEL_CHANNELS, coarse, 1, bias=False)  # noise of 1/16, 1/32 scale
        self.coarse = chain(coarse, b[2])
        self.from_coarse = nn.Conv2d(coarse, middle, 1)
        self.middle_out = chain(middle, b[3])
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.fine_out = chain(fine, b[4])
        self.head = conv3(fine, COLORS + PLACES)
        self.bias_of = nn.Linear(config.embedding, sum(width for _, width in self.biased()))
        self.reset()

    def biased(self) -> list[tuple[nn.Conv2d, int]]:
        """Convolutions that take a bias from the condition, in order, with their output channels."""
        layers = [self.stem, *self.fine_in, self.to_middle, *self.middle_in, self.to_coarse, *self.coarse]
        layers += [*self.middle_out, *self.fine_out]
        return [(layer, layer.out_channels) for layer in layers if isinstance(layer, nn.Conv2d)]

    def reset(self) -> None:
        """Initialise the weights: skip chains keep a variance near one, the output is near the sketch."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layers in (self.fine_in, self.middle_in, self.coarse, self.middle_out, self.fine_out):
            for weight in layers.parameters():
                weight.data.mul_(0.4)
        for noise in (self.middle_noise, self.coarse_noise):
            noise.weight.data.mul_(0.5)
        weight = self.head.weight.data
        weight[:COLORS].mul_(0.3)
        weight[COLORS:] = 0
        for color in range(3):  # same weights for a cell's pixels, against checkerboards (Aitken et al. 2017)
            weight[color * PLACES : (color + 1) * PLACES] = weight[color * PLACES].clone()
        nn.init.normal_(self.bias_of.weight, std=0.02)
        nn.init.zeros_(self.bias_of.bias)

    def biases(self, t: Tensor, step: Tensor, strength: Tensor, mood: Tensor, look: Tensor) -> list[Tensor]:
        """Biases (B, channels) of the layers of `biased()`: each layer's own plus the condition's shift."""
        widths = [width for _, width in self.biased()]
        shifts = self.bias_of(self.embed(t, step, strength, mood, look)).split(widths, dim=1)
        own = [layer.bias for layer, _ in self.biased()]
        return [shift if bias is None else bias + shift for bias, shift in zip(own, shifts, strict=True)]

    def forward(self, residual: Tensor, condition: MaterialCondition, t: Tensor, step: Tensor) -> Tensor:
        """Evaluate the network on a residual (B, 48, h, w) of about unit variance.

        Returns (B, 64, h, w): head, then gate.
        """
        parts = (
            residual,
            F.pixel_unshuffle(condition.paint, CELL_PX),
            condition.materials,
            condition.height,
            condition.noise.levels[0],
        )
        given = self.biases(t, step, condition.strength, condition.mood, condition.look)
        return self.body(torch.cat(parts, 1), condition.noise.levels[1:], given)

    def body(self, x: Tensor, levels: tuple[Tensor, ...], biases: list[Tensor]) -> Tensor:
        """Run the convolutions. x: (B, 128, h, w). levels: noise of 1/8, 1/16 and 1/32 scale."""
        bias = iter(biases)
        of_middle = self.middle_noise(levels[0])
        of_coarse = self.coarse_noise(torch.cat((levels[1], enlarge(levels[2])), 1))
        x = x.contiguous(memory_format=torch.channels_last)
        fine = run_chain(self.fine_in, biased_relu(self.stem, x, next(bias)), bias)
        middle = biased_relu(self.to_middle, F.avg_pool2d(fine, 2), next(bias), skip=of_middle)
        middle = run_chain(self.middle_in, middle, bias)
        coarse = biased_relu(self.to_coarse, F.avg_pool2d(middle, 2), next(bias), skip=of_coarse)
        coarse = run_chain(self.coarse, coarse, bias)
        middle = (middle + enlarge(self.from_coarse(coarse))).relu()
        middle = run_chain(self.middle_out, middle, bias)
        fine = (fine + enlarge(self.from_middle(middle))).relu()
        fine = run_chain(self.fine_out, fine, bias)
        return F.conv2d(edged(fine), self.head.weight, self.head.bias)

    def receptive_radius_px(self) -> int:
        """Largest distance at which a pixel of the paper affects the picture, from the layer shapes.

        The range of affected cells is traced through the layers in both directions from each pixel of a
        coarse cell: convolutions widen it, pooling and enlarging align it to their cells.
        """
        b = self.config.blocks
        most = 0
        for pixel in range(4 * CELL_PX):
            low = high = pixel // CELL_PX
            low, high = (low - b[0]) // 2, (high + b[0]) // 2
            low, high = (low - 1 - b[1]) // 2, (high + 1 + b[1]) // 2
            low, high = low - 1 - b[2], high + 1 + b[2]
            low, high = 2 * low - b[3], 2 * high + 1 + b[3]
            low, high = 2 * low - b[4] - 1, 2 * high + 1 + b[4] + 1
            most = max(most, CELL_PX * high + CELL_PX - 1 - pixel, pixel - CELL_PX * low)
        return most

    def gflop(self, height_px: int, width_px: int) -> float:
        """GFLOP of one evaluation: two for each multiply-add of the convolutions, in 1e9."""
        coarse = {self.to_coarse, self.coarse_noise, *self.coarse, self.from_coarse}
        middle = {self.to_middle, self.middle_noise, *self.middle_in, *self.middle_out, self.from_middle}
        macs = 0
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                side = 16 if module in coarse else 8 if module in middle else CELL_PX
                macs += module.weight.numel() * (height_px // side) * (width_px // side)
        return 2 * macs / 1e9


class Embedding(nn.Module):
    """Embed time, step size, strength, mood and look in one vector of length `config.embedding`."""

    waves: Tensor

    def __init__(self, config: MaterialConfig):
        super().__init__()
        waves = torch.exp(torch.linspace(0, math.log(32), TIME_WAVES, dtype=torch.float32)) * math.pi
        self.register_buffer("waves", waves, persistent=False)
        self.first = nn.Linear(3 * 2 * TIME_WAVES + config.moods, config.embedding)
        self.look = nn.Embedding(len(config.looks), config.embedding)
        self.second = nn.Linear(config.embedding, config.embedding)

    def forward(self, t: Tensor, step: Tensor, strength: Tensor, mood: Tensor, look: Tensor) -> Tensor:
        angles = torch.stack((t, step, strength), 1)[:, :, None] * self.waves / 2
        waves = torch.cat((angles.sin(), angles.cos()), 2).flatten(1)
        given = self.first(torch.cat((waves, mood * 2 - 1), 1)) + self.look(look)
        return F.silu(self.second(F.silu(given)))


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution without padding; `edged` pads its input."""
    return nn.Conv2d(inputs, outputs, 3)


def chain(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(conv3(width, width) for _ in range(count))


def run_chain(layers: nn.ModuleList, x: Tensor, bias: Iterator[Tensor]) -> Tensor:
    for layer in layers:
        assert isinstance(layer, nn.Conv2d)
        x = biased_relu(layer, x, next(bias), skip=x)
    return x


def edged(x: Tensor) -> Tensor:
    """Pad by replication, by one position on every side."""
    return F.pad(x, (1, 1, 1, 1), mode="replicate")


def biased_relu(layer: nn.Conv2d, x: Tensor, bias: Tensor, *, skip: Tensor | None = None) -> Tensor:
    """Compute relu(conv(x) + bias + skip); bias (B, C), one for each row of the batch."""
    x = edged(x) if layer.kernel_size[0] == 3 else x
    y = F.conv2d(x, layer.weight) + bias[:, :, None, None]
    return (y if skip is None else y + skip).relu()


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
