"""Teacher, reflow and distil stages of the material painter: a many-step flow, straightened and distilled.

Each stage writes one weights file in its folder, is resumable, and returns the average of its weights.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from models.device.layout import channels_last
from models.painter.flow import MIN_TIME, column
from models.painter.materials.condition import MaterialCondition
from models.painter.materials.flow import MaterialFlow, without_levels
from models.sampling.paths import Straight, uniform
from models.sampling.solvers import path_heun
from models.training import distributed
from models.training.data.crops import Batch, Prefetcher, to_batch
from models.training.material_painter.finish import Draw, Show, write
from models.training.material_painter.losses import anchor_loss
from models.training.run import Run, follow, learning_rate, set_rate
from models.training.times import STEP_COUNTS, end_heavy_times, sample_times, step_times

Stage = Literal["teacher", "reflow", "distil"]
RATES: dict[Stage, float] = {"teacher": 1e-3, "reflow": 4e-4, "distil": 4e-4}
EMA_DECAY = 0.999
HEUN_STEPS = 16
REAL_SHARE = 0.5  # share of reflow batches with real pairs, so that the flow does not drift from the data
OWN_SHARE = 0.5  # share of distil batches that start where the student's own steps end
LEAST_ERROR = 1e-3


@dataclass
class Coupling:
    """A batch with the start of a flow's path and the end found by Heun's method, as residual cells."""

    condition: MaterialCondition
    start: Tensor
    end: Tensor


@torch.no_grad()
def couple(flow: MaterialFlow, batch: Batch, steps: int = HEUN_STEPS) -> Coupling:
    """Integrate the flow from the starts of a batch."""
    blind = without_levels(batch.condition)
    start = flow.start(batch.condition)

    def model(residual: Tensor, t: float, step: float) -> Tensor:
        times = torch.full_like(blind.strength, t)
        return flow.predict(residual, blind, times, torch.zeros_like(times))

    return Coupling(batch.condition, start, path_heun(model, start, uniform(Straight(), steps)))


def train(
    stage: Stage,
    draw: Draw,
    flow: MaterialFlow,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    couplings: int = 0,
    show: Show | None = None,
    seed: int = 0,
) -> MaterialFlow:
    """Train one stage, starting from `flow`. couplings: number of batches that reflow and distil train on."""
    teacher = deepcopy(flow).requires_grad_(False)
    network = channels_last(flow).requires_grad_(True)
    average = deepcopy(network).requires_grad_(False)
    rate = RATES[stage]
    optimizer = torch.optim.AdamW(
        network.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    run = Run(folder, {"network": network, "average": average, "optimizer": optimizer}, steps, batch_size)
    path = folder / f"{'student' if stage == 'distil' else stage}.safetensors"
    own = seed + 7919 * distributed.rank()  # every worker draws its own batches
    coupled: list[Coupling] = []
    if stage != "teacher" and run.step < steps:
        rng = np.random.default_rng([own, 2])
        for _ in track(range(couplings), "couplings", console=Console(stderr=True)):
            coupled.append(couple(teacher, to_batch(draw(rng))))
    ahead = Prefetcher(draw, seed=own, first=run.step) if stage != "distil" else None

    def keep(done: int) -> None:
        write(average, path)
        if show:
            show(average, folder / f"grid-{done:07d}.jpg")

    try:
        for step in run.steps(keep):
            rng = np.random.default_rng([seed, step, 1])
            batch = to_batch(ahead.take()) if ahead else None
            if stage == "teacher" or (stage == "reflow" and rng.random() < REAL_SHARE):
                assert batch is not None
                loss = real_loss(network, batch, stage)
            else:
                coupling = coupled[int(rng.integers(len(coupled)))]
                reflow = stage == "reflow"
                loss = (
                    reflow_loss(network, coupling) if reflow else distil_loss(network, average, coupling, rng)
                )
            set_rate(optimizer, learning_rate(step, steps, rate))
            optimizer.zero_grad(set_to_none=True)
            distributed.backward(loss, network.parameters())
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            follow(average, network, EMA_DECAY, step)
            run.note(loss=loss.item())
    finally:
        if ahead:
            ahead.close()
    write(average, path)
    return average


def real_loss(flow: MaterialFlow, batch: Batch, stage: Stage) -> Tensor:
    """Velocity loss on real pairs."""
    draw = sample_times if stage == "teacher" else end_heavy_times
    return flow.velocity_loss(batch.picture, batch.condition, draw(len(batch.picture))).mean()


def reflow_loss(flow: MaterialFlow, coupling: Coupling) -> Tensor:
    """Velocity loss on the flow's own pairs; easy and hard samples weigh the same (Lee et al. 2024)."""
    t = end_heavy_times(len(coupling.start))
    x_t = torch.lerp(coupling.end, coupling.start, column(t))
    predicted = flow.predict(x_t, without_levels(coupling.condition), t, t * torch.rand_like(t))
    each = (predicted - coupling.end).square().mean((1, 2, 3)) / t.clamp_min(MIN_TIME) ** 2
    return (each / each.detach().clamp_min(LEAST_ERROR)).mean()


def distil_loss(
    flow: MaterialFlow, average: MaterialFlow, coupling: Coupling, rng: np.random.Generator
) -> Tensor:
    """Loss to the path's end at every time visited by one, two or four steps; the student sees all noise."""
    t, length = step_times(len(coupling.start))
    x = torch.lerp(coupling.end, coupling.start, column(t))
    if rng.random() < OWN_SHARE:
        x = reached(average, coupling, t, length)
    predicted = flow.predict(x, coupling.condition, t, length)
    bound = torch.ones_like(coupling.condition.means[:, 3:])
    made, target = (flow.picture(part, coupling.condition) for part in (predicted, coupling.end))
    return 4 * anchor_loss(made, target, bound) + (predicted - coupling.end).square().mean()


@torch.no_grad()
def reached(flow: MaterialFlow, coupling: Coupling, t: Tensor, length: Tensor) -> Tensor:
    """Return the state at times t reached by the flow's own steps of this length, (B,)."""
    x = coupling.start
    for done in range(max(STEP_COUNTS) - 1):
        now = (1 - done * length).clamp_min(MIN_TIME)
        end = flow.predict(x, coupling.condition, now, length)
        ahead = torch.lerp(end, x, column((now - length) / now))
        x = torch.where(column(now > t + MIN_TIME), ahead, x)
    return x
