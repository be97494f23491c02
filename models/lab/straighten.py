"""Rectified flow and reflow on two-dimensional distributions, yielding snapshots during training.

Liu et al. 2022, "Flow Straight and Fast": a flow trained on independent pairs (z, x) has paths that bend
where the straight lines between pairs cross. Trained again on pairs (z, end of z's own path), fewer lines
cross and paths are straighter, until one Euler step ends close to where many do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from models.api import ModelError
from models.lab.plane import Set, set_of

STAGES = ("flow", "reflow", "reflow twice")
BATCH = 512
RATE = 6e-3
PAIRS = 16_384  # maximum number of couplings of a reflow, limited to what it can train on
HEUN_STEPS = 24
PATH_STEPS = 32
SHOWN = 400  # points that are drawn and that the figures are computed on
JUDGED = 4096  # points used for the distances to the target
WIDTH = 96


@dataclass(frozen=True, eq=False)
class Snapshot:
    """State of a training stage at one moment.

    starts, one_step, target: (SHOWN, 2) float32. paths: (PATH_STEPS + 1, SHOWN, 2), from start to end.
    bend, arc, one_step_distance, many_step_distance: see `figures`.
    """

    stage: int
    name: str
    step: int
    steps: int
    seconds: float
    loss: float
    bend: float
    arc: float
    one_step_distance: float
    many_step_distance: float
    starts: np.ndarray
    paths: np.ndarray
    one_step: np.ndarray
    target: np.ndarray

    def numbers(self) -> dict:
        names = ("loss", "bend", "arc", "one_step_distance", "many_step_distance")
        return {
            "stage": self.name,
            "step": self.step,
            **{name: round(getattr(self, name), 5) for name in names},
        }


class Field(nn.Module):
    """Network of the velocity v(x, t), (B, 2) and (B,) -> (B, 2), with three hidden layers."""

    def __init__(self):
        super().__init__()
        sizes = (2 + 1 + 4, WIDTH, WIDTH, WIDTH)
        layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
        self.body = nn.Sequential(*layers, nn.Linear(WIDTH, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angle = t[:, None] * torch.tensor([1.0, 2.0]) * torch.pi
        return self.body(torch.cat((x, t[:, None], angle.sin(), angle.cos()), 1))


@torch.no_grad()
def follow(field: Field, x: Tensor, steps: int, *, heun: bool = False) -> Tensor:
    """Return the path of each point from t=1 to t=0: (steps + 1, B, 2)."""
    path = [x]
    for index in range(steps):
        t, t_next = 1 - index / steps, 1 - (index + 1) / steps
        slope = field(x, torch.full((len(x),), t))
        if heun:
            ahead = x + (t_next - t) * slope
            slope = (slope + field(ahead, torch.full((len(x),), t_next))) / 2
        x = x + (t_next - t) * slope
        path.append(x)
    return torch.stack(path)


def distance(a: Tensor, b: Tensor, directions: int = 64) -> float:
    """Sliced Wasserstein distance of two equally large point sets: mean difference of sorted projections."""
    angle = torch.arange(directions) * (torch.pi / directions)
    rays = torch.stack((angle.cos(), angle.sin()))
    return ((a @ rays).sort(0).values - (b @ rays).sort(0).values).abs().mean().item()


def straightness(path: Tensor) -> tuple[float, float]:
    """Return (bend, arc) of paths (K + 1, B, 2).

    bend: integral of |velocity - chord|^2 over the mean |chord|^2. arc: length over chord.
    """
    steps = len(path) - 1
    chord = path[-1] - path[0]
    slopes = (path[1:] - path[:-1]) * steps
    bend = (slopes - chord).square().sum(2).mean() / chord.square().sum(1).mean()
    arc = slopes.norm(dim=2).mean(0).sum() / chord.norm(dim=1).sum()
    return bend.item(), arc.item()


def straighten(
    source: str, target: str, *, steps: int = 1800, frames: int = 36, seed: int = 0
) -> Iterator[Snapshot]:
    """Train the three stages, yielding `frames` snapshots of each; the last one shows the trained stage.

    steps: optimizer steps per stage. frames: limited to one per step. The same seed gives the same numbers.
    Raises ModelError for an unknown name and for fewer than one step.
    """
    if steps < 1:
        raise ModelError(f"a stage needs at least one step, not {steps}")
    return train(set_of(source), set_of(target), steps, min(frames, steps), seed)


def train(from_set: Set, to_set: Set, steps: int, frames: int, seed: int) -> Iterator[Snapshot]:
    draw = torch.Generator().manual_seed(seed)
    judged = torch.Generator().manual_seed(seed + 1)
    starts, targets = from_set(JUDGED, judged), to_set(JUDGED, judged)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        field = Field()
    pairs: tuple[Tensor, Tensor] | None = None
    began = time.perf_counter()
    every = max(1, steps // frames)
    for stage, name in enumerate(STAGES):
        if stage:
            z = from_set(min(PAIRS, steps * BATCH), draw)
            pairs = z, follow(field, z, HEUN_STEPS, heun=True)[-1]
            field = deepcopy(field)
        optimizer = torch.optim.Adam(field.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, RATE / 50)
        total = 0.0
        for step in range(1, steps + 1):
            if pairs is None:
                z, x = from_set(BATCH, draw), to_set(BATCH, draw)
            else:
                rows = torch.randint(len(pairs[0]), (BATCH,), generator=draw)
                z, x = pairs[0][rows], pairs[1][rows]
            t = torch.rand(BATCH, generator=draw)
            loss = (field(x + t[:, None] * (z - x), t) - (z - x)).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            if step % every == 0 or step == steps:
                seconds = time.perf_counter() - began
                mean = total / (every if step % every == 0 else step % every)
                total = 0.0
                last = step == steps
                yield snapshot(field, (stage, name, step, steps, seconds, mean), starts, targets, whole=last)


Moment = tuple[int, str, int, int, float, float]  # stage, its name, step, steps, seconds, mean loss


def snapshot(field: Field, moment: Moment, starts: Tensor, targets: Tensor, *, whole: bool) -> Snapshot:
    """Evaluate the field. whole: compute the distances on all points, not only on those that are drawn."""
    count = len(starts) if whole else SHOWN
    path = follow(field, starts[:count], PATH_STEPS)
    one_step = follow(field, starts[:count], 1)[-1]
    bend, arc = straightness(path)
    return Snapshot(
        *moment,
        bend,
        arc,
        distance(one_step, targets[:count]),
        distance(path[-1], targets[:count]),
        starts[:SHOWN].numpy(),
        path[:, :SHOWN].numpy(),
        one_step[:SHOWN].numpy(),
        targets[:SHOWN].numpy(),
    )
