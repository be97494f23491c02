"""Patch critic on frozen features, conditioned on the sketch (hinge loss)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.device.precision import autocast
from models.training.feature_network import CHANNELS

WIDTHS = (32, 64, 64, 64)  # widths of the judges, fine scale first
PAINT = 4  # channels of the sketch: colour and alpha


class Critic(nn.Module):
    """One small judge per feature scale; spectral normalisation only (Miyato et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.judges = nn.ModuleList(Judge(*pair) for pair in zip(CHANNELS, WIDTHS, strict=True))

    def forward(self, seen: list[Tensor], paint: Tensor) -> list[Tensor]:
        """Features and sketch (B, 4, H, W) -> logits (B, 1, h, w) for each scale, float32."""
        with autocast():
            return [judge(x, paint).float() for judge, x in zip(self.judges, seen, strict=True)]


class Judge(nn.Module):
    def __init__(self, channels: int, width: int):
        super().__init__()
        mix = torch.empty(width, channels, 1, 1)
        self.mix: Tensor
        self.register_buffer("mix", nn.init.kaiming_normal_(mix))  # fixed random mixing of the features
        self.first = spectral_norm(nn.Conv2d(width + PAINT, width, 3, padding=1))
        self.second = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.last = spectral_norm(nn.Conv2d(width, 1, 1))

    def forward(self, x: Tensor, paint: Tensor) -> Tensor:
        x = torch.cat((F.conv2d(x, self.mix), F.adaptive_avg_pool2d(paint, (x.shape[2], x.shape[3]))), 1)
        x = F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)
        return self.last(x)


def critic_loss(of_real: list[Tensor], of_made: list[Tensor]) -> Tensor:
    """Hinge loss: real logits above 1, generated ones below -1 (Lim and Ye 2017)."""
    pairs = zip(of_real, of_made, strict=True)
    return torch.stack([(1 - real).relu().mean() + (1 + made).relu().mean() for real, made in pairs]).mean()


def painter_loss(of_made: list[Tensor]) -> Tensor:
    return -torch.stack([logits.mean() for logits in of_made]).mean()
