"""Picture quality metrics without a downloaded network. Pictures are (N, 3, H, W) float in [-1, 1]."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 7
PATCHES_PER_PICTURE = 128
PROJECTIONS = 256
LEVELS = 4


def laplacian_pyramid(pictures: Tensor, levels: int = LEVELS) -> list[Tensor]:
    """Return the band-pass levels, finest first, and the low-pass residual last (Burt and Adelson 1983)."""
    bands = []
    for _ in range(levels - 1):
        small = F.avg_pool2d(pictures, 2)
        bands.append(pictures - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False))
        pictures = small
    return [*bands, pictures]


def patches(level: Tensor, generator: torch.Generator) -> Tensor:
    """Return (N * PATCHES_PER_PICTURE, 3 * PATCH^2) patches at random places drawn from the generator."""
    count, _, height, width = level.shape
    ys = torch.randint(height - PATCH + 1, (count, PATCHES_PER_PICTURE), generator=generator)
    xs = torch.randint(width - PATCH + 1, (count, PATCHES_PER_PICTURE), generator=generator)
    windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (N, 3, h, w, PATCH, PATCH), a view
    rows = torch.arange(count)[:, None]
    return windows.permute(0, 2, 3, 1, 4, 5)[rows, ys, xs].flatten(0, 1).flatten(1)


def sliced_wasserstein(a: Tensor, b: Tensor, *, seed: int = 0) -> list[float]:
    """Return the sliced Wasserstein distance at each pyramid level, finest first.

    Mean over random directions of the L1 distance of sorted projections of patches, normalised by the
    statistics of `b` (Karras et al. 2018, Progressive GAN).
    """
    distances = []
    for level_a, level_b in zip(laplacian_pyramid(a), laplacian_pyramid(b), strict=True):
        set_a = patches(level_a, torch.Generator().manual_seed(seed))
        set_b = patches(level_b, torch.Generator().manual_seed(seed + 1))
        mean, std = level_b.mean((0, 2, 3)), level_b.std((0, 2, 3)).clamp_min(1e-6)
        scale = std.repeat_interleave(PATCH**2)
        shift = mean.repeat_interleave(PATCH**2)
        generator = torch.Generator().manual_seed(seed + 2)
        directions = F.normalize(torch.randn(set_a.shape[1], PROJECTIONS, generator=generator), dim=0)
        count = min(len(set_a), len(set_b))
        sorted_a = (((set_a[:count] - shift) / scale) @ directions).sort(0).values
        sorted_b = (((set_b[:count] - shift) / scale) @ directions).sort(0).values
        distances.append((sorted_a - sorted_b).abs().mean().item())
    return distances


def swd(a: Tensor, b: Tensor, *, seed: int = 0) -> float:
    """Return the mean of `sliced_wasserstein` over the levels."""
    return float(np.mean(sliced_wasserstein(a, b, seed=seed)))


def random_features(pictures: Tensor, seed: int) -> Tensor:
    """Return (N, features): means and deviations of a random convolution network's activations."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        widths = (3, 32, 64, 128)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.ReLU()]
        network = nn.Sequential(*layers).requires_grad_(False)
    found = []
    for chunk in pictures.split(16):
        x = chunk
        stats = []
        for layer in network:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                x = x / x.square().mean().sqrt().clamp_min(1e-6)
                stats += [x.mean((2, 3)), x.std((2, 3))]
        found.append(torch.cat(stats, 1))
    return torch.cat(found)


def kid_random(a: Tensor, b: Tensor, seeds: int = 5) -> tuple[float, float]:
    """Return the kernel distance on features of random networks: mean and standard deviation over seeds.

    The distance is the unbiased squared MMD with the cubic kernel (Binkowski et al. 2018, KID).
    """
    values = []
    for seed in range(seeds):
        fa, fb = random_features(a, seed), random_features(b, seed)
        mean, std = fb.mean(0), fb.std(0).clamp_min(1e-6)
        fa, fb = (fa - mean) / std, (fb - mean) / std

        def kernel(u: Tensor, v: Tensor) -> Tensor:
            return (u @ v.T / u.shape[1] + 1) ** 3

        n, m = len(fa), len(fb)
        within_a = (kernel(fa, fa).sum() - kernel(fa, fa).diagonal().sum()) / (n * (n - 1))
        within_b = (kernel(fb, fb).sum() - kernel(fb, fb).diagonal().sum()) / (m * (m - 1))
        values.append((within_a + within_b - 2 * kernel(fa, fb).mean()).item())
    return float(np.mean(values)), float(np.std(values))


def sharpness(a: Tensor, b: Tensor) -> list[float]:
    """Return the energy of each band of `a` over that of `b`, finest first; 1 is as sharp as real."""
    bands = zip(laplacian_pyramid(a)[:-1], laplacian_pyramid(b)[:-1], strict=True)
    return [(x.square().mean() / y.square().mean()).item() for x, y in bands]


def to_lab(pictures: Tensor) -> np.ndarray:
    """Convert sRGB (N, 3, h, w) in [-1, 1] to CIE L*a*b*, D65: (N, h, w, 3)."""
    rgb = pictures.add(1).div(2).clamp(0, 1).permute(0, 2, 3, 1).contiguous().numpy().astype(np.float32)
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2Lab) for picture in rgb])


def sketch_error(pictures: Tensor, sketch: Tensor, alpha: Tensor) -> float:
    """Return the mean CIE76 colour difference of picture and sketch at 1/32 scale, over fully painted cells.

    sketch: colour times alpha.
    """
    painted = F.avg_pool2d(alpha, 32)
    ours = to_lab(F.avg_pool2d(pictures * alpha, 32) / painted.clamp_min(1e-3))
    theirs = to_lab(F.avg_pool2d(sketch, 32) / painted.clamp_min(1e-3))
    cells = painted[:, 0].numpy() > 0.99
    if not cells.any():
        return float("nan")
    return float(np.linalg.norm(ours - theirs, axis=-1)[cells].mean())


def nearest_patch(
    a: Tensor, training: Tensor, *, side: int = 16, per_picture: int = 8, seed: int = 0
) -> float:
    """Return the median distance of patches of `a` to the nearest of `training`, without mean colours."""
    generator = torch.Generator().manual_seed(seed)

    def cut(pictures: Tensor, count: int) -> Tensor:
        _, _, height, width = pictures.shape
        found = []
        for picture in pictures:
            for _ in range(count):
                y = int(torch.randint(height - side + 1, (), generator=generator))
                x = int(torch.randint(width - side + 1, (), generator=generator))
                found.append(picture[:, y : y + side, x : x + side].flatten())
        cuts = torch.stack(found)
        return cuts - cuts.mean(1, keepdim=True)

    return torch.cdist(cut(a, per_picture), cut(training, 4 * per_picture)).min(1).values.median().item()
