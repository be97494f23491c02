"""Material recognition `reads` and Fréchet distance `fd` on frozen features of EfficientNet-Lite0.

reads: share of places whose material a linear probe recognises in the picture, averaged over materials. The
probe is trained on real views, on features at 1/16 scale with those of 1/8 and 1/4 pooled to it.
fd: Fréchet distance (Heusel et al. 2017) of means and deviations of features over tiles of 64 px, between a
set of pictures and the real pictures that their sketches were made from, at 1/4, 1/8 and 1/16 scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.api import MATERIALS
from models.device.precision import autocast
from models.training import feature_network
from models.training.feature_network import CHANNELS, FeatureNetwork

SCALES = (4, 8, 16)  # pixels per place of the features used
PLACE_PX, TILE_PX = 16, 64
CHUNK = 4
PROBE_STEPS, PROBE_BATCH, PROBE_RATE = 400, 4096, 2e-2
LEAST_PLACES = 40  # minimum places of a material to count in the mean


def features_of(network: FeatureNetwork, pictures: Sequence[np.ndarray]) -> Iterator[list[Tensor]]:
    """Yield the features of each picture, (H, W, 3) uint8, at SCALES: (C, h, w) float32."""
    for picture in pictures:
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad(), autocast():
            found = network(pixels)
        yield [part[0].float() for part in found[1:]]


def place_features(features: list[Tensor]) -> Tensor:
    """Return (places, C): all scales pooled to 1/16, one row per place."""
    size = (features[-1].shape[1], features[-1].shape[2])
    pooled = [F.adaptive_avg_pool2d(part[None], size)[0] for part in features]
    return torch.cat(pooled).flatten(1).T


def tile_statistics(features: Tensor, scale: int) -> Tensor:
    """Return (tiles, 2 C) from (C, h, w) at 1/scale: mean and standard deviation over tiles of TILE_PX."""
    side = TILE_PX // scale
    tiles = features.unfold(1, side, side).unfold(2, side, side).flatten(3)  # (C, rows, columns, side^2)
    statistics = torch.cat((tiles.mean(3), tiles.std(3)))
    return statistics.flatten(1).T


def place_labels(labels: np.ndarray) -> Tensor:
    """Return the most common label of each place: (H, W) uint8, 0 unknown -> (places,) int64, -1 unknown."""
    counts = F.one_hot(torch.from_numpy(np.ascontiguousarray(labels)).long(), len(MATERIALS) + 1)
    shares = F.avg_pool2d(counts.permute(2, 0, 1)[None].float(), PLACE_PX)[0]
    most, found = shares.max(0)
    return torch.where(most > 0.5, found - 1, -torch.ones_like(found)).flatten()


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of the normal distributions fitted to two sets of rows, in float64."""
    a, b = a.double(), b.double()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    of_a, of_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(of_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    both = torch.linalg.eigvalsh(root @ of_b @ root).clamp_min(0).sqrt().sum()
    return (gap + of_a.trace() + of_b.trace() - 2 * both).item()


@dataclass(frozen=True)
class Judged:
    """Features of a set of pictures: one row per place, and one row per tile for each of SCALES."""

    places: Tensor
    tiles: tuple[Tensor, ...]

    @classmethod
    def of(cls, network: FeatureNetwork, pictures: Sequence[np.ndarray]) -> Judged:
        places, tiles = [], [[] for _ in SCALES]
        for features in features_of(network, pictures):
            places.append(place_features(features))
            for rows, part, scale in zip(tiles, features, SCALES, strict=True):
                rows.append(tile_statistics(part, scale))
        return cls(torch.cat(places), tuple(torch.cat(rows) for rows in tiles))

    def fd(self, real: Judged) -> list[float]:
        """Return the Fréchet distance to a set of real pictures at 1/4, 1/8 and 1/16."""
        return [frechet(mine, theirs) for mine, theirs in zip(self.tiles, real.tiles, strict=True)]


class Probe:
    """Linear classifier of materials on the features of single places, trained on real views."""

    def __init__(self, places: Tensor, labels: Tensor, *, seed: int = 0):
        """places: (N, C). labels: (N,) int64, -1 unknown."""
        known = labels >= 0
        x, y = places[known], labels[known]
        self.mean, self.spread = x.mean(0), x.std(0) + 1e-3
        x = (x - self.mean) / self.spread
        counts = torch.bincount(y, minlength=len(MATERIALS)).float()
        weights = torch.where(counts > 0, len(y) / (counts.clamp_min(1) * len(MATERIALS)), 0.0)
        generator = torch.Generator().manual_seed(seed)
        self.layer = nn.Linear(sum(CHANNELS[1:]), len(MATERIALS))
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        optimizer = torch.optim.Adam(self.layer.parameters(), PROBE_RATE)
        for step in range(PROBE_STEPS):
            rows = torch.randint(len(x), (PROBE_BATCH,), generator=generator)
            loss = F.cross_entropy(self.layer(x[rows]), y[rows], weight=weights.clamp_max(20))
            for group in optimizer.param_groups:
                group["lr"] = PROBE_RATE * (1 - step / PROBE_STEPS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.no_grad()
    def reads(self, places: Tensor, labels: Tensor) -> float:
        """Return the share of recognised places, averaged over materials with at least LEAST_PLACES."""
        right = self.layer((places - self.mean) / self.spread).argmax(1) == labels
        shares = [
            right[labels == material].float().mean().item()
            for material in range(len(MATERIALS))
            if (labels == material).sum() >= LEAST_PLACES
        ]
        return float(np.mean(shares)) if shares else float("nan")


def load_features() -> FeatureNetwork:
    return feature_network.load()
