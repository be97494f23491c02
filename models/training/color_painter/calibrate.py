"""Calibration after the finish: match the detail of real views and bring colours closer to the paint.

The finish leaves detail some 15 % low in energy, since the likeliest picture has none where detail is
uncertain, and real views pull colours away from the paint. Calibration takes the painter's own pictures,
corrects band energies and colours, and trains on them as targets from the same noise; this takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import save
from models.device.layout import channels_last
from models.painter import flow
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.training import distributed
from models.training.color_painter.finish import EMA_DECAY, STEP_SHARES, descend, predict, student_picture
from models.training.color_painter.losses import band_loss, pyramid_loss
from models.training.data.tensors import to_tensors
from models.training.evaluation.grids import save_grid
from models.training.evaluation.metrics import laplacian_pyramid
from models.training.run import Run, follow, learning_rate

RATE = 1e-4
PULL = 0.08  # share of the way from the picture's colours to the paint's, in areas of COLOR_PX
COLOR_PX = 32
MEASURED = 512  # crops used to measure the strength of detail
MOST_GAIN = 1.15
LEVELS = (2.0, 2.0, 2.0, 2.0, 8.0)  # loss weights, fine levels first
BAND_WEIGHT = 1.0  # otherwise further steps, which cannot reproduce all of the first picture, would be soft
MIXED = 0.5  # share of the finished weights in the final mix: same strength, less training noise


def train(
    batch: Callable[[], tuple[np.ndarray, ...]],
    network: PainterNetwork,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
) -> PainterNetwork:
    """Calibrate a finished painter; return the calibrated one and write painter.safetensors in `folder`.

    batch: returns `batch_size` views. Pictures of one, two and four steps learn the same target. At the end
    the weights before and after are mixed (Wortsman et al. 2022, Robust fine-tuning of zero-shot models).
    """
    before = channels_last(deepcopy(network)).requires_grad_(False)
    network = channels_last(network).requires_grad_(True)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), RATE, betas=(0.9, 0.99), fused=True)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    run = Run(folder, parts, steps, batch_size)
    gains = detail_gains(before, batch, min(MEASURED, steps * batch_size)) if run.step < steps else []
    shown = to_tensors(batch())
    counts, shares = zip(*STEP_SHARES, strict=True)
    for step in run.steps(lambda done: save_grid(folder / f"grid-{done:07d}.png", average, *shown)):
        picture, condition = to_tensors(batch())
        z = flow.start(condition, torch.randn_like(picture))
        with torch.no_grad():
            target = recast(predict(before, z, condition, 1.0, 1.0), condition, gains)
        count = int(counts[int(distributed.agreed(torch.multinomial(torch.tensor(shares), 1)))])
        made, _ = student_picture(network, average, condition, z, count)
        loss = pyramid_loss(made, target, LEVELS) + BAND_WEIGHT * band_loss(made, target)
        descend(optimizer, loss, learning_rate(step, steps, RATE, floor=0.1))
        follow(average, network, EMA_DECAY, step)
        gained = {f"gain_{level}": gain for level, gain in enumerate(gains)}
        run.note(**{f"loss_{count}": loss.item()}, **gained)
    average = deepcopy(average)  # the state from which a run resumes stays unchanged
    for mine, finished in zip(average.parameters(), before.parameters(), strict=True):
        mine.lerp_(finished, MIXED)
    save(folder / "painter.safetensors", average.state_dict(), average.config.as_dict(), dtype=torch.bfloat16)
    return average


@torch.no_grad()
def detail_gains(
    network: PainterNetwork, batch: Callable[[], tuple[np.ndarray, ...]], crops: int
) -> list[float]:
    """Return the gain of each band that makes the network's pictures as detailed as real views, finest first.

    Gains are at least 1 and at most MOST_GAIN.
    """
    mine, real, seen = torch.zeros(()), torch.zeros(()), 0
    while seen < crops:
        picture, condition = to_tensors(batch())
        made = predict(network, flow.start(condition, torch.randn_like(picture)), condition, 1.0, 1.0).clamp(
            -1, 1
        )
        mine = mine + energies(made)
        real = real + energies(picture)
        seen += len(picture)
    return distributed.agreed((real / mine).sqrt().clamp(1, MOST_GAIN)).tolist()


def energies(pictures: Tensor) -> Tensor:
    return torch.stack([band.square().sum() for band in laplacian_pyramid(pictures)[:-1]])


def recast(picture: Tensor, condition: Condition, gains: list[float]) -> Tensor:
    """Apply the gain to each band of the picture's detail, and mix in a share of the paint's colour."""
    *bands, made = laplacian_pyramid(picture)
    for band, gain in zip(reversed(bands), reversed(gains), strict=True):
        made = gain * band + F.interpolate(made, scale_factor=2, mode="bilinear", align_corners=False)
    painted = F.avg_pool2d(condition.alpha, COLOR_PX)
    missing = F.avg_pool2d(condition.sketch - picture * condition.alpha, COLOR_PX) / painted.clamp_min(0.1)
    shift = F.interpolate(missing, size=picture.shape[2:], mode="bilinear", align_corners=False)
    return (made + PULL * condition.alpha * shift).clamp(-1, 1)
