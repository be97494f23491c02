"""Losses of the student and the finish: pyramid, band strength, texture, features, grid and variety."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.painter.flow import Condition
from models.painter.network import PATCH_PX

TEXTURE_LEVELS = 4  # levels of the Laplacian pyramid, finest first
WINDOW_PX = 64  # side of the windows in which textures are compared
WINDOWS = 2  # windows per level and call
PATCH = 7
PROJECTIONS = 48
PLACES = 576  # feature places to compare, drawn randomly
FEATURE_PROJECTIONS = 64
FLAT = 0.06  # paint that differs less than this from its surroundings counts as flat
FAINT = 0.025  # detail weaker than this, in [-1, 1], has little weight: smooth skies are not all grain


def pyramid_loss(picture: Tensor, target: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Huber distance of Laplacian pyramids, finest level first; the last weight is the residual's."""
    total = picture.new_zeros(())
    a, b = picture, target
    for weight in weights[:-1]:
        small_a, small_b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        if weight:
            detail = (a - enlarge(small_a)) - (b - enlarge(small_b))
            total = total + weight * F.huber_loss(detail, torch.zeros_like(detail), delta=0.1) * 10
        a, b = small_a, small_b
    return total + weights[-1] * F.huber_loss(a, b, delta=0.1) * 10


def band_loss(picture: Tensor, real: Tensor) -> Tensor:
    """Difference in strength of detail of each picture, at each level of the pyramid.

    Compares energies, not their logarithms, which are right on average even if smooth pictures are twice too
    rough and rough ones half too smooth. On its own this loss is met by the cheapest pattern, such as a grid,
    so it needs other losses on form.
    """
    total = picture.new_zeros(())
    for _ in range(TEXTURE_LEVELS):
        low_a, low_b = F.avg_pool2d(picture, 2), F.avg_pool2d(real, 2)
        mine = (picture - enlarge(low_a)).square().mean((1, 2, 3))
        theirs = (real - enlarge(low_b)).square().mean((1, 2, 3))
        total = total + ((mine - theirs) / (theirs.mean() + FAINT**2)).square().mean() / TEXTURE_LEVELS
        picture, real = low_a, low_b
    return total


def texture_loss(picture: Tensor, real: Tensor) -> Tensor:
    """Sliced Wasserstein distance between the patches of two pictures, window by window.

    (B, 3, H, W) in [-1, 1], H = W a multiple of 16, at least 64. A picture regressed on many possible ones is
    too soft, since unpredictable detail averages out. This loss requires the same patches as in the real
    view, at any position (Heitz et al. 2021, A sliced Wasserstein loss for neural texture synthesis), at
    TEXTURE_LEVELS scales. Patches are taken at one random place of the cell that the network writes at once,
    so that no grid of the network goes unseen, and together with colour and position, so that grass stays
    out of the sky.
    """
    total = picture.new_zeros(())
    a, b = opponent(picture), opponent(real)
    for level in range(TEXTURE_LEVELS):
        low_a, low_b = (enlarge(F.avg_pool2d(x, 2)) for x in (a, b))
        for _ in range(WINDOWS):
            total = total + window_distance(a - low_a, low_a.detach(), b - low_b, low_b, level) / WINDOWS
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return total


def window_distance(band_a: Tensor, low_a: Tensor, band_b: Tensor, low_b: Tensor, level: int) -> Tensor:
    """Squared distance of two sets of patches in a random window of one pyramid level.

    Detail is weighted relative to the painter's own strength of detail. The real picture's is unknown at
    generation, and a weight that depends on the outcome favours the flattest of all outcomes.
    """
    stride, room = max(1, PATCH_PX >> level), band_a.shape[2] - PATCH + 1
    count = min(WINDOW_PX >> level, room) // stride
    side, border = count * stride, PATCH // 2
    y, x = torch.randint(room - side + 1, (2,)).tolist()
    whole = np.s_[:, :, y : y + side + PATCH - 1, x : x + side + PATCH - 1]
    middles = np.s_[:, :, y + border : y + border + side : stride, x + border : x + border + side : stride]

    strength = band_a[whole].detach().square().mean((2, 3), keepdim=True).add(FAINT**2).sqrt()
    colors = [low[middles].flatten(2) for low in (low_a, low_b)]
    mean, spread = colors[1].mean(2, keepdim=True), colors[1].std(2, keepdim=True) + 0.05
    place = torch.stack(torch.meshgrid(*[torch.linspace(-1.7, 1.7, count)] * 2, indexing="ij")).flatten(1)

    filters = random_filters(PROJECTIONS)
    of_color, of_place = (torch.randn(PROJECTIONS, n) * torch.rand(PROJECTIONS, 1) for n in (3, 2))
    projected = []
    for band, color in zip((band_a, band_b), colors, strict=True):
        patches = F.conv2d(band[whole] / strength, filters, stride=stride).flatten(2)
        projected.append(patches + of_color @ ((color - mean) / spread) / 3**0.5 + of_place @ place)
    mine, theirs = ranked(*projected)
    return (mine - theirs).square().mean(2).clamp_max(25).mean()


def grid_loss(picture: Tensor) -> Tensor:
    """Penalty for fine detail that depends on the position in the 4 px cell that the network writes at once.

    Real pictures have no such cells: over a whole picture, mean and energy of the detail are nearly equal at
    all 16 places. A grid shows as a difference: the energy share of the means, and the spread of energies.
    """
    detail = picture - enlarge(F.avg_pool2d(picture, 2))
    places = F.pixel_unshuffle(detail, PATCH_PX).unflatten(1, (picture.shape[1], -1)).flatten(3)
    energy = places.square().mean(3)
    mean_energy = energy.mean(2, keepdim=True).add(1e-4)
    share = places.mean(3).square() / mean_energy
    return share.mean() + ((energy - mean_energy) / mean_energy).square().mean()


def feature_loss(seen: list[Tensor], real: list[Tensor], paint: Tensor) -> Tensor:
    """Distance of two pictures as sets of features, each together with the paint at its place.

    seen, real: (B, C, h, w) of the feature network, one for each scale; paint: (B, 4, H, W). Uses the same
    transport as `texture_loss`: forms may be at any position, so that they can come from noise.
    """
    total = paint.new_zeros(())
    for mine, theirs in zip(seen, real, strict=True):
        below = F.adaptive_avg_pool2d(paint, (mine.shape[2], mine.shape[3])).flatten(2)
        mine, theirs = mine.flatten(2), theirs.flatten(2)
        mean, spread = theirs.mean((0, 2), keepdim=True), theirs.std((0, 2), keepdim=True)
        scale = spread + 0.05 * theirs.std()
        if mine.shape[2] > PLACES:
            at = torch.randperm(mine.shape[2])[:PLACES]
            mine, theirs, below = mine[..., at], theirs[..., at], below[..., at]
        channels = mine.shape[1]
        of_feature = F.normalize(torch.randn(FEATURE_PROJECTIONS, channels), dim=1) * channels**0.5 / 3
        of_paint = torch.randn(FEATURE_PROJECTIONS, paint.shape[1]) * 2 * torch.rand(FEATURE_PROJECTIONS, 1)
        where = of_paint @ below
        mine, theirs = (of_feature @ ((x - mean) / scale) + where for x in (mine, theirs))
        total = total + F.huber_loss(*ranked(mine, theirs)) / len(seen)
    return total


def variety_loss(picture: Tensor, condition: Condition) -> Tensor:
    """Similarity of the detail of two pictures made from one sketch and two noises.

    picture: (2 B, 3, H, W), the second half from the sketches of the first. Where the paint is flat and noise
    was available, shared detail is a pattern of the network's own cells, which no real view has.
    """
    half = len(picture) // 2
    paint = torch.cat((condition.sketch, condition.alpha), 1)[:half]
    around = F.avg_pool2d(paint, 9, 1, 4, count_include_pad=False)
    edge = F.max_pool2d((paint - around).abs().amax(1, keepdim=True), 9, 1, 4)
    flat = (edge < FLAT).float()
    noisy = (3 * condition.strength[:half]).clamp_max(1)
    total = picture.new_zeros(())
    for _ in range(TEXTURE_LEVELS):
        detail = (picture - enlarge(F.avg_pool2d(picture, 2))) * flat.repeat(2, 1, 1, 1)
        one, other = detail.flatten(1).split(half)
        energy = (one.square().sum(1) * other.square().sum(1) + 1e-2).sqrt()
        total = total + (noisy * (one * other).sum(1).relu() / energy).mean() / TEXTURE_LEVELS
        picture, flat = F.avg_pool2d(picture, 2), -F.max_pool2d(-flat, 2)
    return total


def ranked(mine: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Sort both along their last dimension, the optimal pairing in one dimension. No gradient to `theirs`."""
    order = torch.from_numpy(np.argsort(mine.detach().numpy(), axis=-1))  # several times faster than torch's
    return mine.gather(-1, order), torch.from_numpy(np.sort(theirs.detach().numpy(), axis=-1))


def random_filters(count: int) -> Tensor:
    """Return (count, 3, PATCH, PATCH) unit directions: some of one colour, half of them of 3 x 3 pixels."""
    filters = torch.randn(count, 3, PATCH, PATCH) * (torch.rand(count, 3, 1, 1) < 0.6)
    filters[: count // 2] *= F.pad(torch.ones(3, 3), [(PATCH - 3) // 2] * 4)
    return filters / filters.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None, None]


def opponent(picture: Tensor) -> Tensor:
    """Convert RGB (B, 3, H, W) to light, red against blue, and green against both; orthonormal."""
    red, green, blue = picture.unbind(1)
    light, warm, green = red + green + blue, red - blue, 2 * green - red - blue
    return torch.stack((light / 3**0.5, warm / 2**0.5, green / 6**0.5), 1)


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
