"""Stage 3, distil: train one network for one, two and four steps of the straightened flow."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import save
from models.device.layout import channels_last
from models.device.precision import autocast
from models.painter import flow
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.training import distributed
from models.training.color_painter.couplings import Couplings
from models.training.color_painter.losses import pyramid_loss
from models.training.color_painter.reflow import HEUN_STEPS
from models.training.data.tensors import to_tensors
from models.training.evaluation.grids import save_grid
from models.training.run import Run, follow, learning_rate, set_rate
from models.training.times import STEP_COUNTS, step_times

RATE = 4e-4
EMA_DECAY = 0.999
BOOTSTRAP_SHARE = 1 / 4  # share of a batch that learns a long step from two short ones (Frans et al. 2024)
AGREEMENT_SHARE = 2 / 3  # share of a batch reached by own steps, to agree with the one-step picture
LEVELS = (2.0, 1.5, 1.0, 1.0, 1.0)  # weights of the pyramid, fine levels first: plain L2 blurs


def train(
    batch: Callable[[], tuple[np.ndarray, ...]],
    flow_network: PainterNetwork,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    coupled_batches: int,
) -> PainterNetwork:
    """Distil `flow_network`; return the averaged student and write student.safetensors in `folder`."""
    network = channels_last(deepcopy(flow_network)).requires_grad_(True)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    run = Run(folder, {"network": network, "average": average, "optimizer": optimizer}, steps, batch_size)
    couplings = None
    if run.step < steps:
        couplings = Couplings.make(flow_network, batch, batches=coupled_batches, steps=HEUN_STEPS)
    shown = to_tensors(batch())
    short = max(1, int(batch_size * BOOTSTRAP_SHARE))
    own = slice(batch_size - int(batch_size * AGREEMENT_SHARE), batch_size)
    for step in run.steps(lambda done: save_grid(folder / f"grid-{done:07d}.png", average, *shown)):
        assert couplings is not None  # there are steps left
        z, picture, condition = couplings.draw(batch_size)
        t, length = step_times(batch_size)
        t[:short], length[:short] = step_times(short, STEP_COUNTS[:-1])  # their half steps are trained too
        target = picture.clone()
        target[own] = one_step(average, z[own], condition.rows(own))
        x_t = flow.interpolate(target, z, t)
        x_t[own] = reached(average, z[own], condition.rows(own), t[own], length[own])
        target[:short] = two_steps(
            average, x_t[:short], condition.rows(slice(short)), t[:short], length[:short]
        )
        with autocast():
            predicted = flow.denoise(network, x_t, condition, t, length).float()
        loss = pyramid_loss(predicted, target, LEVELS)
        set_rate(optimizer, learning_rate(step, steps, RATE))
        optimizer.zero_grad(set_to_none=True)
        distributed.backward(loss, network.parameters())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        follow(average, network, EMA_DECAY, step)
        run.note(loss=loss.item())
    save(folder / "student.safetensors", average.state_dict(), average.config.as_dict(), dtype=torch.bfloat16)
    return average


@torch.no_grad()
def one_step(network: PainterNetwork, z: Tensor, condition: Condition) -> Tensor:
    """Return the one-step picture from the noise, which further steps are trained to keep."""
    whole = torch.ones(len(z))
    with autocast():
        return flow.denoise(network, z, condition, whole, whole).float().clamp(-1, 1)


@torch.no_grad()
def reached(network: PainterNetwork, z: Tensor, condition: Condition, t: Tensor, length: Tensor) -> Tensor:
    """Return the state at times t reached from z by the network's own steps of this length, (B,).

    Not the picture mixed with noise: the next step has to handle what a step leaves out or adds.
    """
    x = z
    for done in range(max(STEP_COUNTS) - 1):
        now = (1 - done * length).clamp_min(flow.MIN_TIME)
        with autocast():
            picture = flow.denoise(network, x, condition, now, length).float()
        ahead = torch.lerp(picture, x, flow.column((now - length) / now))
        x = torch.where(flow.column(now > t + flow.MIN_TIME), ahead, x)
    return x


@torch.no_grad()
def two_steps(network: PainterNetwork, x: Tensor, condition: Condition, t: Tensor, length: Tensor) -> Tensor:
    """Return the picture predicted after two half steps: the target of one step of the whole length."""
    half = length / 2
    with autocast():
        first = flow.denoise(network, x, condition, t, half).float()
    slope = flow.velocity(x, first, t)
    middle = x - flow.column(half) * slope
    left = t - half
    with autocast():
        second = flow.denoise(network, middle, condition, left, half).float()
    mean = (slope + flow.velocity(middle, second, left)) / 2
    return (x - flow.column(t) * mean).clamp(-1, 1)
