"""Segmentation critics: classify each place by material or as generated (Sushko et al. 2021, OASIS).

Each critic has one head of MATERIALS + 1 classes per look; the last class is "made" (generated). Weights use
spectral normalisation (Miyato et al. 2018).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.api import LOOKS, MATERIALS
from models.training.feature_network import CHANNELS

MADE = len(MATERIALS)  # class of generated places
CLASSES = MADE + 1
LEAST_SHARE, WEIGHT_RANGE, SHARE_RATE = 0.005, (0.3, 4.0), 0.02


class FeatureCritic(nn.Module):
    """U-Net decoder on frozen features of 1/4, 1/8 and 1/16 scale, with logits at 1/4 scale."""

    def __init__(self, widths: tuple[int, int, int] = (64, 96, 96)):
        super().__init__()
        fine, middle, coarse = widths
        self.coarse = normed(CHANNELS[3], coarse)
        self.middle = normed(coarse + CHANNELS[2], middle)
        self.fine = normed(middle + CHANNELS[1], fine)
        self.head = nn.Conv2d(fine, CLASSES * len(LOOKS), 1)

    def forward(self, features: list[Tensor], look: Tensor) -> Tensor:
        """features: finest first. look: (B,) int64. Returns (B, 13, h, w) float32."""
        _, fine, middle, coarse = features
        x = F.leaky_relu(self.coarse(coarse), 0.2)
        x = F.leaky_relu(self.middle(torch.cat((enlarged(x, middle), middle), 1)), 0.2)
        x = F.leaky_relu(self.fine(torch.cat((enlarged(x, fine), fine), 1)), 0.2)
        return of_look(self.head(x).float(), look)


class PixelCritic(nn.Module):
    """Three convolutions on pixels, with logits at 1/4 scale; covers what the features cannot see."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)):
        super().__init__()
        self.fine, self.middle, self.coarse = (
            normed(before, after) for before, after in zip((3, *widths[:2]), widths, strict=True)
        )
        self.head = nn.Conv2d(widths[2], CLASSES * len(LOOKS), 1)

    def forward(self, pixels: Tensor, look: Tensor) -> Tensor:
        """pixels: (B, 3, H, W) in [-1, 1]. Returns (B, 13, H/4, W/4) float32."""
        x = F.leaky_relu(self.fine(pixels.contiguous(memory_format=torch.channels_last)), 0.2)
        x = F.leaky_relu(self.middle(F.avg_pool2d(x, 2)), 0.2)
        x = F.leaky_relu(self.coarse(F.avg_pool2d(x, 2)), 0.2)
        return of_look(self.head(x).float(), look)


class ClassWeights(nn.Module):
    """Inverse-frequency weights of the materials, from a moving average over batches."""

    shares: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shares", torch.full((MADE,), 1 / MADE))

    @torch.no_grad()
    def update(self, labels: Tensor) -> Tensor:
        """labels: int64, -1 unknown. Returns (13,) weights; the weight of "made" is 1."""
        counts = torch.bincount(labels[labels >= 0].flatten(), minlength=MADE).float()
        self.shares.lerp_(counts / max(1, labels.numel()), SHARE_RATE)
        weights = (1 / (MADE * self.shares.clamp_min(LEAST_SHARE))).clamp(*WEIGHT_RANGE)
        return torch.cat((weights, weights.new_ones(1)))


def critic_loss(of_real: Tensor, of_made: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy of real places with their material and of generated places with the class "made".

    labels: (B, h, w) int64, -1 unknown.
    """
    real = F.cross_entropy(of_real, labels, weight=weights, ignore_index=-1)
    made = torch.full_like(labels, MADE)
    return real.nan_to_num() + F.cross_entropy(of_made, made)  # nan if a batch has no known place


def painter_loss(of_made: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Loss for reading each place as the wanted material, or as not "made" where none is wanted (-1)."""
    log_shares = F.log_softmax(of_made, 1)
    target = wanted.clamp_min(0)
    painted = -log_shares.gather(1, target[:, None])[:, 0] * weights[target]
    free = -torch.log1p(-log_shares[:, MADE].exp().clamp_max(1 - 1e-6))
    return torch.where(wanted >= 0, painted, free).mean()


def damping(logits: Tensor, disturbed: Tensor, deviation: float) -> Tensor:
    """Gradient penalty by finite differences: how fast logits change with the judged picture.

    Needs no second derivatives (Mescheder et al. 2018, R1; finite differences as in Lin et al. 2025).
    """
    return (disturbed - logits).square().mean() / deviation**2


def normed(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    """Upsample by two and crop to the size of `like`."""
    return F.interpolate(x, scale_factor=2)[..., : like.shape[2], : like.shape[3]]


def of_look(logits: Tensor, look: Tensor) -> Tensor:
    """Select the head of each row's look: (B, LOOKS * 13, h, w) -> (B, 13, h, w)."""
    heads = logits.unflatten(1, (len(LOOKS), CLASSES))
    return heads[torch.arange(len(look)), look]
