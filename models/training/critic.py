"""Patch discriminators that see (picture, sketch) at three scales, and the losses that train against them."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow import Condition
from models.network import PATCH_PX

SCALES = 3
SHIFT_PX = 8  # random shift of the grid; pictures are cut by as much
ENERGY_WINDOW_PX = 32
OPPONENT_WEIGHTS = (0.6, 0.2, 0.2)
PERTURBATION = 0.05  # of the finite differences that stand for R1 and R2


class Critic(nn.Module):
    """One patch discriminator a scale, no normalisation; the first stride falls on a new grid at each call,
    so that no grid of the painter's own strides can hide from it. Returns a list of (B, 1, h, w) scores."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.scales = nn.ModuleList(patch_critic(width) for _ in range(SCALES))

    def forward(self, picture: Tensor, condition: Condition, shift: tuple[int, int]) -> list[Tensor]:
        x = torch.cat((picture, condition.sketch, condition.alpha), 1)
        height, width = x.shape[2] - SHIFT_PX, x.shape[3] - SHIFT_PX
        x = x[:, :, shift[0] : shift[0] + height, shift[1] : shift[1] + width]
        scores = []
        for critic in self.scales:
            cells = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
            scores.append(critic(cells).float())
            x = F.avg_pool2d(x, 2)
        return scores


def patch_critic(width: int) -> nn.Sequential:
    """Cells of 2 px, then strides of 2 and 2: a score sees about 50 px at its own scale."""
    layers: list[nn.Module] = [nn.Conv2d(4 * 7, width, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    for before, after in pairwise((width, 2 * width, 3 * width)):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    layers += [nn.Conv2d(3 * width, 3 * width, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(3 * width, 1, 1))


def relativistic(better: list[Tensor], worse: list[Tensor]) -> Tensor:
    """Softplus of the pairwise difference (Jolicoeur-Martineau 2019; Huang et al. 2024, R3GAN)."""
    return torch.stack([F.softplus(w - b).mean() for b, w in zip(better, worse, strict=True)]).mean()


def roughness(critic: Critic, picture: Tensor, condition: Condition, scores: list[Tensor], shift) -> Tensor:
    """R1 (on reals) or R2 (on fakes) by finite differences: squared change of the score under small noise.

    No double backward (Lin et al. 2025, seedance APT), so it costs one more pass.
    """
    nearby = critic(picture + PERTURBATION * torch.randn_like(picture), condition, shift)
    return torch.stack([(a - b).square().mean() for a, b in zip(nearby, scores, strict=True)]).mean()


def pyramid_loss(picture: Tensor, target: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Huber distance of Laplacian pyramids, finest level first; the last weight is the low-pass rest's."""
    total = picture.new_zeros(())
    a, b = picture, target
    for weight in weights[:-1]:
        small_a, small_b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        if weight:
            detail = (a - enlarge(small_a)) - (b - enlarge(small_b))
            total = total + weight * F.huber_loss(detail, torch.zeros_like(detail), delta=0.1) * 10
        a, b = small_a, small_b
    return total + weights[-1] * F.huber_loss(a, b, delta=0.1) * 10


def energy_loss(picture: Tensor, real: Tensor, levels: int) -> Tensor:
    """How far the strength of detail is from a real one's: for each band and 32 px, light and colour apart.

    A picture regressed on many possible ones is too soft in light and speckled in colour, for what cannot be
    foreseen averages out. This asks for as much detail of each kind as there is in the real view, wherever
    its lines may fall. Squared difference of standard deviations over the real one's mean square.
    """
    total = picture.new_zeros(())
    a, b = opponent(picture), opponent(real)
    for level in range(levels):
        small_a, small_b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        window = ENERGY_WINDOW_PX >> level
        mine, theirs = (
            F.avg_pool2d((x - enlarge(small)).square(), window).add(1e-5).sqrt()
            for x, small in ((a, small_a), (b, small_b))
        )
        each = (mine - theirs).square().mean((0, 2, 3)) / theirs.square().mean((0, 2, 3))
        total = total + (each * each.new_tensor(OPPONENT_WEIGHTS)).sum()
        a, b = small_a, small_b
    return total


def opponent(picture: Tensor) -> Tensor:
    """(B, 3, H, W) RGB -> light, red against blue, and green against both, orthonormal."""
    red, green, blue = picture.unbind(1)
    light, warm, green = red + green + blue, red - blue, 2 * green - red - blue
    return torch.stack((light / 3**0.5, warm / 2**0.5, green / 6**0.5), 1)


def phase_loss(picture: Tensor) -> Tensor:
    """How much the fine detail prefers certain places of the 4 px cell that the network writes at once.

    Real pictures know no such cells: over a whole picture, mean and energy of the detail are much the same at
    all of its 16 places. A grid is where they differ.
    """
    detail = picture - enlarge(F.avg_pool2d(picture, 2))
    places = F.pixel_unshuffle(detail, PATCH_PX).unflatten(1, (picture.shape[1], -1)).flatten(3)
    energy = places.square().mean(3)
    mean_energy = energy.mean(2, keepdim=True).add(1e-4)
    bias = places.mean(3).square() / mean_energy
    return bias.mean() + ((energy - mean_energy) / mean_energy).square().mean()


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
